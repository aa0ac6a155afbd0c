"""What a forward pass, a schedule and a training iteration cost, counted on meta tensors: no memory, no arithmetic."""

import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from swd.counting import Cost, count
from swd.models.adapters import AdapterBank
from swd.models.base import TextCondition
from swd.models.discriminator import Discriminator
from swd.models.sd3 import SD3Denoiser
from swd.schedule import ScaleSchedule, latent_size
from swd.training.config import DistillConfig
from swd.training.data import Batch
from swd.training.rng import StepRandom
from swd.training.step import DistillationStep

SD35_TEXT_TOKENS = 333  # 77 of CLIP and 256 of T5


def on_meta(module: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """The architecture of a diffusers or transformers model without its weights, LoRA layers left out.

    Args:
        module: with the ``config`` that its class is built from.
        dtype: of the copy; that of the module when absent.
    """
    kind = type(module)
    with torch.device("meta"):
        made = kind(**_arguments(kind, module.config)) if hasattr(kind, "from_config") else kind(module.config)
    return nn.Module.to(
        made, dtype or next(module.parameters()).dtype
    ).eval()  # diffusers' own warns of float32 modules


def _arguments(kind: type[nn.Module], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the class is built from; a config of diffusers holds more, and ``from_config`` warns of it."""
    known = inspect.signature(kind.__init__).parameters
    return {name: value for name, value in config.items() if name in known}


def forward_cost(
    transformer: nn.Module,
    side: int,
    *,
    batch: int = 1,
    text_tokens: int = SD35_TEXT_TOKENS,
    aspect: float = 1.0,
) -> Cost:
    """One evaluation of an SD3 transformer.

    Args:
        transformer: SD3Transformer2DModel; only its config and dtype matter.
        side: latent side of the square of the same area.
        batch: images.
        text_tokens: of all text encoders together.
        aspect: width / height.

    Raises:
        ValueError: the patch size does not divide ``side``, or the network has no positions for it.
    """
    patch, positions = transformer.config.patch_size, transformer.config.pos_embed_max_size
    schedule = ScaleSchedule((side,), (1.0, 0.0))
    schedule.check_patch(patch)
    schedule.check_size(patch * positions, aspect=aspect, multiple=patch)
    size = latent_size(side, aspect=aspect, multiple=patch)
    dtype = next(transformer.parameters()).dtype
    return _forward(transformer.to_json_string(), dtype, size, batch, text_tokens)


@cache
@torch.no_grad()
def _forward(config: str, dtype: torch.dtype, size: tuple[int, int], batch: int, text_tokens: int) -> Cost:
    """Schedules come back to the same sides, and tables to the same schedules."""
    with torch.device("meta"):
        made = SD3Transformer2DModel(**_arguments(SD3Transformer2DModel, json.loads(config)))
    denoiser = SD3Denoiser(nn.Module.to(made, dtype).eval())
    x_t = torch.empty(batch, denoiser.latent_channels, *size, device="meta", dtype=dtype)
    sigma, cond = torch.empty(batch, device="meta"), _condition(denoiser, batch, text_tokens)
    counted = count(lambda: denoiser.velocity(x_t, sigma, cond))
    return replace(counted, tokens=batch * size[0] * size[1] // denoiser.patch_size**2)


def schedule_cost(
    transformer: nn.Module,
    schedule: ScaleSchedule,
    *,
    batch: int = 1,
    text_tokens: int = SD35_TEXT_TOKENS,
    guidance: bool = False,
    aspect: float = 1.0,
) -> Cost:
    """All evaluations of a schedule; with guidance each is a doubled batch.

    Raises:
        ValueError: the schedule does not fit the network.
    """
    rows = 2 * batch if guidance else batch
    sides = dict.fromkeys(schedule.scales)
    costs = {
        side: forward_cost(transformer, side, batch=rows, text_tokens=text_tokens, aspect=aspect) for side in sides
    }
    return sum((costs[side] for side in schedule.scales), Cost())


@torch.no_grad()
def text_cost(encoder: nn.Module, tokens: int, *, batch: int = 1) -> Cost:
    """One text encoder of transformers (CLIP, T5) over ``tokens`` tokens for each prompt."""
    model = on_meta(encoder)
    ids = torch.zeros(batch, tokens, dtype=torch.int64, device="meta")
    return count(lambda: model(input_ids=ids))


@torch.no_grad()
def decode_cost(vae: nn.Module, side: int, *, batch: int = 1) -> Cost:
    """Decoding of latents of that side, by an AutoencoderKL or AutoencoderTiny."""
    model = on_meta(vae)
    dtype = next(model.parameters()).dtype
    latents = torch.empty(batch, model.config.latent_channels, side, side, device="meta", dtype=dtype)
    return count(lambda: model.decode(latents))


def weight_bytes(*modules: nn.Module | None) -> int:
    """Memory of the parameters of the modules that are there."""
    present = [module for module in modules if module is not None]
    return sum(p.numel() * p.element_size() for module in present for p in module.parameters())


def training_cost(
    transformer: nn.Module, config: DistillConfig, *, text_tokens: int = SD35_TEXT_TOKENS, batch: int = 1
) -> dict[str, Cost]:
    """Every pass of one training iteration, by name, averaged over the steps of the schedule.

    The training step itself runs, forward and backward, on meta tensors of float32; its optimisers do not.

    Args:
        transformer: SD3Transformer2DModel; only its config matters.
        config: of the run; its batch size and devices do not matter here.
        text_tokens: of all text encoders together.
        batch: samples.

    Raises:
        ValueError: the schedule does not fit the network.
    """
    schedule = config.schedule()
    denoiser = _CountedDenoiser(on_meta(transformer, torch.float32))
    schedule.check_patch(denoiser.patch_size)
    schedule.check_size(denoiser.max_side)
    with torch.device("meta"):
        bank = AdapterBank(denoiser, rank=config.rank, alpha=config.alpha, seed=0)
    if config.gradient_checkpointing:
        bank.enable_gradient_checkpointing()
    head = Discriminator(denoiser.inner_dim).to("meta") if config.uses_gan else None
    cond, empty = (_condition(denoiser, rows, text_tokens) for rows in (batch, 1))
    step = DistillationStep(config, schedule, bank, head, empty)
    pairs = Counter(zip(schedule.scales, (schedule.scales[0], *schedule.scales[:-1]), strict=True))
    total: dict[str, Cost] = {}
    for (side, lower), steps in pairs.items():
        latents = (torch.empty(batch, denoiser.latent_channels, s, s, device="meta") for s in (side, lower))
        for name, cost in _step_passes(step, denoiser, Batch(*latents, cond)).items():
            total[name] = total.get(name, Cost()) + cost * steps
    return {name: replace(cost, **_shares(cost, schedule.num_steps)) for name, cost in total.items()}


def _step_passes(step: DistillationStep, denoiser: "_CountedDenoiser", batch: Batch) -> dict[str, Cost]:
    """Passes of an iteration at one scale; the place in the schedule only moves sigma."""
    passes: dict[str, Cost] = {}
    updates = {
        "fake": (step.fake, step.config.fake_updates if step.config.uses_fake else 0),
        "student": (step.student, 1),
    }
    for update, (loss, times) in updates.items():
        if not times:
            continue
        denoiser.start(step.bank)
        with step.bank.trainable(update):
            total = loss(batch, 0, StepRandom(0, 0, update, range(len(batch.target)))).total
            denoiser.passes["backward"] = count(total.backward)
        passes |= {f"{update} update: {name}": cost * times for name, cost in denoiser.passes.items()}
    return passes


def _shares(cost: Cost, steps: int) -> dict[str, int]:
    return {"flops": cost.flops // steps, "bytes": cost.bytes // steps, "tokens": cost.tokens // steps}


class _CountedDenoiser(SD3Denoiser):
    """Keeps the cost of every pass under the name of the model in use."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__(transformer)
        self.start(None)

    def start(self, bank: AdapterBank | None) -> None:
        """Forget the passes so far; ``bank`` says which model is in use."""
        self.bank, self.passes = bank, dict[str, Cost]()

    def forward(self, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        """As the denoiser does."""
        return self._counted("x0", super().forward, x_t, sigma, cond)

    def features(self, x_t: Tensor, sigma: Tensor, cond: TextCondition, blocks: Sequence[int]) -> list[Tensor]:
        """As the denoiser does."""
        return self._counted("features", super().features, x_t, sigma, cond, blocks)

    def _counted(self, what: str, run: Callable[..., Any], x_t: Tensor, *rest: Any) -> Any:
        found: list[Any] = []
        cost = count(lambda: found.append(run(x_t, *rest)))
        name = f"{(self.bank and self.bank.active) or 'teacher'} {what}"
        cost = replace(cost, tokens=x_t[:, 0].numel() // self.patch_size**2)
        self.passes[name] = self.passes.get(name, Cost()) + cost
        return found[0]


def _condition(denoiser: SD3Denoiser, rows: int, text_tokens: int) -> TextCondition:
    config = denoiser.transformer.config
    embeds = torch.empty(rows, text_tokens, config.joint_attention_dim, device="meta", dtype=denoiser.dtype)
    return TextCondition(embeds, torch.empty(rows, config.pooled_projection_dim, device="meta", dtype=denoiser.dtype))
