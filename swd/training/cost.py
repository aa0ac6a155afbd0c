"""The passes of a training iteration, counted on meta tensors: no memory, no arithmetic."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from swd.backbones.base import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.cost.counting import Cost, count
from swd.cost.inference import SD35_TEXT_TOKENS
from swd.cost.meta import meta_condition, on_meta
from swd.data.cache import Batch
from swd.lora.bank import AdapterBank
from swd.rng import StepRandom
from swd.training.config import Checkpointing, DistillConfig
from swd.training.discriminator import Discriminator
from swd.training.step import DistillationStep

MEMORY_SHARE = 0.8  # of what is free: fragments, and buffers of the libraries, take the rest


def training_cost(
    transformer: nn.Module, config: DistillConfig, *, text_tokens: int = SD35_TEXT_TOKENS, batch: int = 1
) -> dict[str, Cost]:
    """Every pass of one training iteration, by name, averaged over the steps of the schedule.

    The training step itself runs, forward and backward, on meta tensors of float32; its optimisers do not. What losses
    compute from the passes, under a hundredth of the whole, counts on the way back alone.

    Args:
        transformer: SD3Transformer2DModel; only its config matters.
        config: of the run; its batch size and devices do not matter here.
        text_tokens: of all text encoders together.
        batch: samples.

    Raises:
        ValueError: the schedule does not fit the network.
    """
    step, denoiser = _meta_step(transformer, config, text_tokens)
    cond = meta_condition(denoiser, batch, text_tokens)
    steps, patch = Counter(step.schedule.scales), denoiser.patch_size
    ordered = sorted(steps)
    # a quadratic polynomial of the image tokens: three sides tell all, and the largest holds the peak of memory
    sides = {ordered[0], ordered[len(ordered) // 2], ordered[-1]}
    counted = {(side // patch) ** 2: _step_passes(step, denoiser, side, cond) for side in sides}
    found: dict[str, Cost] = {}
    for name, at_largest in counted[(ordered[-1] // patch) ** 2].items():
        known = {tokens: passes[name] for tokens, passes in counted.items()}
        total = sum((_interpolate(known, (side // patch) ** 2) * times for side, times in steps.items()), Cost())
        mean = _weighted([(Fraction(1, step.schedule.num_steps), total)])
        found[name] = replace(mean, peak_bytes=at_largest.peak_bytes)
    return found


def _interpolate(known: Mapping[int, Cost], tokens: int) -> Cost:
    """The polynomial through the known costs."""
    others = {at: [other for other in known if other != at] for at in known}
    shares = {at: prod((Fraction(tokens - o, at - o) for o in others[at]), start=Fraction(1)) for at in known}
    return _weighted([(shares[at], cost) for at, cost in known.items()])


def _weighted(terms: Sequence[tuple[Fraction | int, Cost]]) -> Cost:
    """A linear combination, in whole numbers."""
    names = ("flops", "bytes", "tokens", "peak_bytes")
    return Cost(*(round(sum(weight * getattr(cost, name) for weight, cost in terms)) for name in names))


def update_bytes(
    transformer: nn.Module, config: DistillConfig, *, text_tokens: int = SD35_TEXT_TOKENS, batch: int = 1
) -> int:
    """Most memory that the intermediate tensors of one update hold at the largest scale, in float32."""
    step, denoiser = _meta_step(transformer, config, text_tokens)
    denoiser.start(None, counting=False)
    drawn = _meta_batch(denoiser, max(step.schedule.scales), meta_condition(denoiser, batch, text_tokens))
    random, updates = StepRandom(0, 0, "", range(batch)), config.fake_updates if config.uses_fake else 0
    runs = [lambda: step.student(drawn, 0, random).total.backward()]
    if updates:
        runs.append(lambda: step.fake(drawn, 0, random).total.backward())
    if updates and config.share_student_pass and config.micro_batch_size is None:
        runs.append(lambda: step.samples([drawn] * updates, 0, [random] * updates))
    peaks = []
    for run, model in zip(runs, ("student", "fake", "student"), strict=False):
        with step.bank.trainable(model):
            peaks.append(count(run).peak_bytes)
    return max(peaks)


def choose_checkpointing(
    transformer: nn.Module, config: DistillConfig, *, text_tokens: int, batch: int, free_bytes: int
) -> Checkpointing:
    """The mode of gradient checkpointing that computes least again and fits into ``free_bytes``.

    Activations are counted on meta tensors: those of float32, halved under autocast. The student's pass for all fake
    updates is left out: it keeps nothing for a way back, so no mode makes it smaller. "full" is what is left when
    nothing fits.
    """
    config = replace(config, share_student_pass=False)
    share = 1.0 if config.mixed_precision == "no" else 0.5
    for mode in ("off", "half") if config.compile else ("off", "selective", "half"):
        needed = update_bytes(
            transformer, replace(config, gradient_checkpointing=mode), text_tokens=text_tokens, batch=batch
        )
        if share * needed < MEMORY_SHARE * free_bytes:
            return mode
    return "full"


def _meta_step(
    transformer: nn.Module, config: DistillConfig, text_tokens: int
) -> tuple[DistillationStep, "_CountedDenoiser"]:
    if config.pdm_method == "triton":  # which runs on a GPU only; its products are those of the strips in torch
        config = replace(config, pdm_method="chunked")
    schedule = config.schedule()
    denoiser = _CountedDenoiser(on_meta(transformer, torch.float32))
    schedule.check_patch(denoiser.patch_size)
    schedule.check_size(denoiser.max_side)
    with torch.device("meta"):
        bank = AdapterBank(denoiser, rank=config.rank, alpha=config.alpha, seed=0)
    if config.gradient_checkpointing in ("selective", "half", "full"):
        bank.enable_gradient_checkpointing(config.gradient_checkpointing)
    head = Discriminator(denoiser.inner_dim).to("meta") if config.uses_gan else None
    return DistillationStep(config, schedule, bank, head, meta_condition(denoiser, 1, text_tokens)), denoiser


def _meta_batch(denoiser: SD3Denoiser, side: int, cond: TextCondition) -> Batch:
    target = torch.empty(len(cond), denoiser.latent_channels, side, side, device="meta")
    return Batch(target, target, cond)


def _step_passes(
    step: DistillationStep, denoiser: "_CountedDenoiser", side: int, cond: TextCondition
) -> dict[str, Cost]:
    """Passes of an iteration at one scale; the place in the schedule only moves sigma."""
    passes: dict[str, Cost] = {}
    batch = _meta_batch(denoiser, side, cond)
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


class _CountedDenoiser(SD3Denoiser):
    """Keeps the cost of every pass under the name of the model in use."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__(transformer)
        self.start(None)

    def start(self, bank: AdapterBank | None, *, counting: bool = True) -> None:
        """Forget the passes so far; ``bank`` says which model is in use."""
        self.bank, self.passes, self._inside = bank, dict[str, Cost](), not counting

    def forward(self, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        """As the denoiser does."""
        return self._counted("x0", super().forward, x_t, sigma, cond)

    def features(self, x_t: Tensor, sigma: Tensor, cond: TextCondition, blocks: Sequence[int]) -> list[Tensor]:
        """As the denoiser does."""
        return self._counted("features", super().features, x_t, sigma, cond, blocks)

    def with_features(
        self, x_t: Tensor, sigma: Tensor, cond: TextCondition, blocks: Sequence[int], *, detach: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """As the denoiser does; the ``forward`` inside is not counted again."""
        whole = partial(super().with_features, detach=detach)
        found: tuple[Tensor, list[Tensor]] = self._counted("x0 and features", whole, x_t, sigma, cond, blocks)
        return found

    def _counted(self, what: str, run: Callable[..., Any], x_t: Tensor, *rest: Any) -> Any:
        if self._inside:
            return run(x_t, *rest)
        found: list[Any] = []
        self._inside = True
        cost = count(lambda: found.append(run(x_t, *rest)))
        self._inside = False
        name = f"{(self.bank and self.bank.active) or 'teacher'} {what}"
        cost = replace(cost, tokens=x_t[:, 0].numel() // self.patch_size**2)
        self.passes[name] = self.passes.get(name, Cost()) + cost
        return found[0]
