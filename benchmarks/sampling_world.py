"""Who samples in the benchmarks: our pipeline, plain and fast, and diffusers' own, all on the same checkpoint."""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from repro.profiles import sd35_architecture
from repro.stages.images import load_pipeline, text_encoders
from repro.stages.plain_diffusers import plain_call
from repro.stages.random_weights import random_pipeline
from repro.stages.timing import Clock, PeakMemory, copy_bytes, device_name, free_bytes, matmul_flops
from repro.worlds.mini.scenes import sample_scene
from swd.backbones import backbone_of, denoiser_of
from swd.backbones.fast import FastOptions
from swd.cost import decode_cost, forward_cost, prompt_cost, schedule_cost, weight_bytes
from swd.cost.counting import Cost
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.schedule import preset

WEIGHTS = Path(__file__).parents[1] / "repro" / "worlds" / "mini" / "weights"
PROVIDERS = ("plain", "fast", "diffusers")
ARCHITECTURES = {"sd35-medium": sd35_architecture.MEDIUM, "sd35-large": sd35_architecture.LARGE}
Draw = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """What is drawn, where.

    Attributes:
        model: "mini" with its shipped student (adapter not merged, as it is loaded), or an SD3.5 with random weights.
        schedule: preset.
        batch: images, each of its own prompt and seed.
        device, dtype: of all networks.
    """

    model: str
    schedule: str
    batch: int
    device: str
    dtype: str

    @property
    def id(self) -> str:
        return f"{self.schedule}-batch{self.batch}-{self.dtype}-{self.device}"


CASES = [
    *(Case("mini", name, batch, "cpu", "float32") for name in ("mini-6", "mini-full-6") for batch in (1, 8)),
    *(
        Case(model, name, batch, "cuda", "bfloat16")
        for model in ARCHITECTURES
        for name in ("sd35-6", "sd35-full-6")
        for batch in (1, 8)
    ),
]
PARAMETERS = [pytest.param(case, id=f"{case.model}-{case.id}") for case in CASES]


def skip_unless_it_fits(case: Case) -> None:
    if case.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, torch sees none")
    pipeline.cache_clear()  # another model may hold the memory
    gc.collect()  # compiled blocks refer to themselves
    needed, free = needed_bytes(case), free_bytes(torch.device(case.device))
    if needed > free:
        pytest.skip(f"needs about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free")


def skeleton(case: Case) -> ScalewiseStableDiffusion3Pipeline:
    """The architecture of a case, without weights where they are random."""
    if case.model == "mini":
        return pipeline(case.model, case.device, case.dtype)
    architecture = {**sd35_architecture.PIPELINE, "transformer": ARCHITECTURES[case.model]}
    return random_pipeline(architecture, torch.device("meta"), getattr(torch, case.dtype))


def needed_bytes(case: Case) -> int:
    """Weights, those that adapters are merged into twice, and activations of the largest step or of decoding."""
    pipe = skeleton(case)
    merged = (pipe.transformer,) if case.model == "mini" else ()
    networks = (pipe.transformer, *merged, pipe.vae, *text_encoders(pipe))
    side = preset(case.schedule).scales[-1]
    tokens = backbone_of(pipe).count_text_tokens(pipe, pipe.config.max_sequence_length)
    step = forward_cost(denoiser_of(pipe), side, batch=case.batch, text_tokens=tokens)
    return weight_bytes(*networks) + max(step.peak_bytes, decode_cost(pipe.vae, side, batch=case.batch).peak_bytes)


@lru_cache(maxsize=1)
def pipeline(model: str, device: str, dtype: str) -> ScalewiseStableDiffusion3Pipeline:
    """The checkpoint of a case; the last one is kept, for three providers share it."""
    if model == "mini":
        made = load_pipeline(WEIGHTS / "pipeline", dtype, torch.device(device))
        made.load_lora_weights(WEIGHTS / "adapters" / "scalewise_6")
        return made
    architecture = {**sd35_architecture.PIPELINE, "transformer": ARCHITECTURES[model]}
    made = random_pipeline(architecture, torch.device(device), getattr(torch, dtype))
    made.set_progress_bar_config(disable=True)
    return made


@cache
def roof(device: str, dtype: str) -> tuple[float, float]:
    """FLOP/s of matrix products, and bytes per second of the memory, as measured."""
    return matmul_flops(torch.device(device), getattr(torch, dtype)), copy_bytes(torch.device(device))


def drawing(case: Case, provider: str) -> Draw:
    """A call that draws a batch from text to pixels. No prompt is kept: every call encodes all of them."""
    if provider not in PROVIDERS:
        raise ValueError(f"provider must be one of {', '.join(PROVIDERS)}, got {provider!r}")
    pipe = pipeline(case.model, case.device, case.dtype)
    prompts = [f"{sample_scene(number).caption}" for number in range(case.batch)]
    if provider == "diffusers":
        return _diffusers(case, pipe, prompts)
    twin = ScalewiseStableDiffusion3Pipeline(**pipe.components, max_sequence_length=pipe.config.max_sequence_length)
    twin.set_progress_bar_config(disable=True)
    if provider == "fast":
        twin.enable_fast(FastOptions(prompt_cache=0))
    seeds = list(range(case.batch))
    return lambda: twin(prompts, schedule=case.schedule, seeds=seeds, output_type="pt").images


def _diffusers(case: Case, pipe: ScalewiseStableDiffusion3Pipeline, prompts: list[str]) -> Draw:
    call = plain_call(pipe, preset(case.schedule))
    return lambda: (
        call(
            prompts,
            output_type="pt",
            max_sequence_length=pipe.config.max_sequence_length,
            generator=torch.Generator().manual_seed(0),
        ).images
    )


def seconds(draw: Draw, device: str) -> float:
    clock = Clock(torch.device(device))
    clock.mark()
    draw()
    clock.mark()
    return clock.spans()[0]


def peak_bytes(draw: Draw, device: str) -> int:
    memory = PeakMemory(torch.device(device))
    memory.restart()
    draw()
    return memory.bytes()


def cost(case: Case) -> Cost:
    """Of a batch from text to pixels, adapters merged."""
    pipe, schedule = skeleton(case), preset(case.schedule)
    t5 = pipe.config.max_sequence_length
    tokens = backbone_of(pipe).count_text_tokens(pipe, t5)
    steps = schedule_cost(denoiser_of(pipe), schedule, batch=case.batch, text_tokens=tokens)
    text = prompt_cost(pipe, t5, batch=case.batch)
    return text + steps + decode_cost(pipe.vae, schedule.scales[-1], batch=case.batch)


def describe(case: Case, taken: Mapping[str, list[float]]) -> dict[str, Any]:
    """Configuration, and how near each provider comes to the least time that FLOPs and bytes allow the device."""
    work, (flops_rate, bytes_rate) = cost(case), roof(case.device, case.dtype)
    least = max(work.flops / flops_rate, work.bytes / bytes_rate)
    return {
        "model": case.model,
        "schedule": case.schedule,
        "batch_size": case.batch,
        "dtype": case.dtype,
        "device": device_name(torch.device(case.device)),
        "flops": work.flops,
        "bytes": work.bytes,
        "seconds": dict(taken),
        "share_of_roofline": {name: least / median(times) for name, times in taken.items()},
    }
