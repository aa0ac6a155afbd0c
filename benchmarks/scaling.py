"""What training costs at the paper's scale, counted without a GPU: the tables of docs/scaling.md.

    python benchmarks/scaling.py

Memory and FLOPs are counted on the published architectures, on meta tensors, one model after another: about ten minutes
on one core. A count is no measurement; docs/scaling.md says what has been measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from repro.harness.files import ROOT
from repro.harness.needs import TFLOPS
from repro.kinds.support.measure import random_pipeline_of
from repro.profiles import load_profile
from swd.backbones import backbone_of, denoiser_of
from swd.cost import weight_bytes
from swd.cost.meta import on_meta
from swd.interrupts import ended_by_ctrl_c
from swd.lora.bank import AdapterBank
from swd.train import parse
from swd.training.config import DistillConfig
from swd.training.cost import training_cost, update_bytes
from swd.training.memory import BYTES_PER_PARAMETER
from swd.training.options import Checkpointing

GIB = 2**30
GPUS = 8
SAVED_SHARE = 0.5  # of float32: under autocast, what is kept for the way back is bfloat16
MODES: tuple[Checkpointing, ...] = ("full", "half", "off")  # from least memory to least work
MODELS = {"SD3.5 Medium": "sd35-medium", "SD3.5 Large": "sd35-large", "SDXL": "sdxl", "FLUX.1-dev": "flux"}


@dataclass(frozen=True)
class Distilled:
    """A model and the study in ``studies/`` that distils it."""

    profile: str

    @cached_property
    def config(self) -> DistillConfig:
        """Of the study, in bfloat16."""
        study = str(ROOT / "studies" / f"{self.profile}.toml")
        words = ["--study", study, "--pipeline", "none", "--data", "none", "--output", "none"]
        return replace(parse(words).distill, mixed_precision="bf16")

    @cached_property
    def _pipeline(self) -> Any:
        return random_pipeline_of(load_profile(self.profile))

    @cached_property
    def _tokens(self) -> int:
        backbone = backbone_of(self._pipeline)
        return backbone.count_text_tokens(self._pipeline, backbone.token_length(self._pipeline))

    @cached_property
    def weights(self) -> int:
        """Bytes of the frozen network in bfloat16."""
        return weight_bytes(denoiser_of(self._pipeline).network)

    @cached_property
    def largest_unit(self) -> int:
        """Bytes of its largest block: what sharding gathers at once, twice where it reads ahead."""
        return max(weight_bytes(unit) for unit in denoiser_of(self._pipeline).units)

    @cached_property
    def sharded(self) -> float:
        """Bytes of a GPU that holds its share of every block, two blocks gathered, and whole what lies outside them."""
        blocks = sum(weight_bytes(unit) for unit in denoiser_of(self._pipeline).units)
        return blocks / GPUS + (self.weights - blocks) + 2 * self.largest_unit

    @cached_property
    def adapters(self) -> int:
        """Bytes of adapters, their optimisers and averages in float32, with the gradients of one of them."""
        denoiser = denoiser_of(self._pipeline)
        with torch.device("meta"):
            twin = denoiser.backbone.denoiser(on_meta(denoiser.network))
            bank: AdapterBank[Any] = AdapterBank(twin, rank=self.config.rank, alpha=self.config.alpha, seed=0)
        numbers = sum(parameter.numel() for name in bank.names for parameter in bank.parameters(name))
        return numbers * BYTES_PER_PARAMETER + numbers // len(bank.names) * 4

    def activations(self, mode: Checkpointing) -> int:
        """Bytes that the update of one image holds at the largest scale."""
        config = replace(self.config, gradient_checkpointing=mode, micro_batch_size=1)
        return int(SAVED_SHARE * update_bytes(denoiser_of(self._pipeline), config, text_tokens=self._tokens))

    def hours(self, tflops: float) -> float:
        """Of the whole training on all GPUs, at so many TFLOP/s each, without recomputation."""
        passes = training_cost(denoiser_of(self._pipeline), self.config, text_tokens=self._tokens)
        flops = sum(cost.flops for cost in passes.values()) * self.config.batch_size * self.config.iterations
        return flops / (GPUS * tflops * 1e12 * 3600)


def rows() -> Iterator[list[str]]:
    """A row for each model: memory of a GPU in GiB, and hours."""
    for name, profile in MODELS.items():
        model = Distilled(profile)
        sizes = [model.weights, model.sharded, model.adapters, *map(model.activations, MODES)]
        config = model.config
        yield [
            name,
            *(f"{size / GIB:.1f}" for size in sizes),
            f"{config.batch_size} x {config.iterations:,}",
            f"{model.hours(TFLOPS):.1f}",
        ]


def main() -> None:
    """Print the table as Markdown, row by row."""
    heads = ["Model", "Base whole", f"Base over {GPUS}", "Adapters", *(f"Image, {mode}" for mode in MODES)]
    heads += ["Batch x iterations", f"Hours on {GPUS} GPUs"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for row in rows():
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    with ended_by_ctrl_c():
        main()
