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

from swd.backbones.base import Condition, Denoiser
from swd.cost.counting import Cost, count
from swd.cost.meta import meta_condition, on_meta
from swd.data.cache import Batch
from swd.lora.bank import AdapterBank
from swd.rng import StepRandom
from swd.training.config import DistillConfig
from swd.training.discriminator import Discriminator
from swd.training.objectives import TrainingStep, new_step
from swd.training.options import Checkpointing
from swd.training.step import DistillationStep, FakeStepResult, StudentStepResult

MEMORY_SHARE = 0.8  # of what is free: fragments, and buffers of the libraries, take the rest


def training_cost(
    denoiser: Denoiser, config: DistillConfig, *, text_tokens: int | None = None, batch: int = 1
) -> dict[str, Cost]:
    """Every pass of one training iteration, by name, averaged over the steps of the schedule.

    The training step itself runs, forward and backward, on meta tensors of float32; its optimisers do not. What losses
    compute from the passes, under a hundredth of the whole, counts on the way back alone.

    Args:
        denoiser: only the config of its network matters.
        config: of the run; its batch size and devices do not matter here.
        text_tokens: of all text encoders together; as published when absent.
        batch: samples.

    Raises:
        ValueError: the schedule does not fit the network.
    """
    empty = _published(denoiser, text_tokens)
    step, counted = _meta_step(denoiser, config, empty)
    cond = empty.repeat(batch)
    steps, patch = Counter(step.schedule.scales), denoiser.patch_size
    ordered = sorted(steps)
    # a quadratic polynomial of the image tokens: three sides tell all, and the largest holds the peak of memory
    sides = {ordered[0], ordered[len(ordered) // 2], ordered[-1]}
    passes = {(side // patch) ** 2: _step_passes(step, counted, side, cond) for side in sides}
    found: dict[str, Cost] = {}
    for name, at_largest in passes[(ordered[-1] // patch) ** 2].items():
        known = {tokens: at_side[name] for tokens, at_side in passes.items()}
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


def update_bytes(denoiser: Denoiser, config: DistillConfig, *, text_tokens: int | None = None, batch: int = 1) -> int:
    """Most memory that the intermediate tensors of one update hold at the largest scale, in float32."""
    return _update_bytes(denoiser, config, _published(denoiser, text_tokens), batch)


def _update_bytes(denoiser: Denoiser, config: DistillConfig, empty: Condition, batch: int) -> int:
    step, counted = _meta_step(denoiser, config, empty)
    counted.start(None, counting=False)
    drawn = _meta_batch(counted, max(step.schedule.scales), empty.repeat(batch))
    random, updates = StepRandom(0, 0, "", range(batch)), config.fake_updates
    runs: list[Callable[[], Any]] = [lambda: step.student(drawn, 0, random).total.backward()]
    if isinstance(step, DistillationStep) and config.uses_fake:
        runs.append(lambda: step.fake(drawn, 0, random).total.backward())
        if config.share_student_pass and config.micro_batch_size is None:
            runs.append(lambda: step.samples([drawn] * updates, 0, [random] * updates))
    peaks = []
    for run, model in zip(runs, ("student", "fake", "student"), strict=False):
        with step.bank.trainable(model):
            peaks.append(count(run).peak_bytes)
    return max(peaks)


def choose_checkpointing(
    denoiser: Denoiser, config: DistillConfig, empty: Condition, *, batch: int, free_bytes: int
) -> Checkpointing:
    """The mode of gradient checkpointing that computes least again and fits into ``free_bytes``.

    Activations are counted on meta tensors: those of float32, halved under autocast. The student's pass for all fake
    updates is left out: it keeps nothing for a way back, so no mode makes it smaller. "full" is what is left when
    nothing fits.

    Args:
        denoiser: only the config of its network matters.
        config: of the run.
        empty: condition of the empty prompt, one row; only its shapes matter.
        batch: samples of a pass.
        free_bytes: what may be taken.
    """
    config = replace(config, share_student_pass=False)
    empty = empty.to("meta", torch.float32)
    share = 1.0 if config.precision == "no" else 0.5
    for mode in ("off", "half") if config.compile else ("off", "selective", "half"):
        needed = _update_bytes(denoiser, replace(config, gradient_checkpointing=mode), empty, batch)
        if share * needed < MEMORY_SHARE * free_bytes:
            return mode
    return "full"


def _published(denoiser: Denoiser, text_tokens: int | None) -> Condition:
    """A condition of one row in float32, as long as the family's is in print unless told otherwise."""
    tokens = denoiser.backbone.text_tokens if text_tokens is None else text_tokens
    return meta_condition(denoiser, 1, tokens).to(dtype=torch.float32)


def _meta_step(denoiser: Denoiser, config: DistillConfig, empty: Condition) -> tuple[TrainingStep, "_CountedDenoiser"]:
    if config.pdm_method == "triton":  # which runs on a GPU only; its products are those of the strips in torch
        config = replace(config, pdm_method="chunked")
    schedule = config.schedule()
    counted = _CountedDenoiser(denoiser.backbone.denoiser(on_meta(denoiser.network, torch.float32)))
    schedule.check_process(counted.process.name)
    schedule.check_patch(counted.patch_size)
    schedule.check_size(counted.max_side)
    with torch.device("meta"):
        bank: AdapterBank[Denoiser] = AdapterBank(
            counted, rank=config.rank, alpha=config.alpha, names=config.adapters, seed=0
        )
    if config.gradient_checkpointing in ("selective", "half", "full"):
        bank.enable_gradient_checkpointing(config.gradient_checkpointing)
    head = Discriminator(counted.feature_dim(config.feature_block)).to("meta") if config.uses_gan else None
    return new_step(config, schedule, bank, head, empty), counted


def _meta_batch(denoiser: Denoiser, side: int, cond: Condition) -> Batch:
    target = torch.empty(len(cond), denoiser.latent_channels, side, side, device="meta")
    return Batch(target, target, cond)


def _step_passes(step: TrainingStep, denoiser: "_CountedDenoiser", side: int, cond: Condition) -> dict[str, Cost]:
    """Passes of an iteration at one scale; the place in the schedule only moves sigma."""
    passes: dict[str, Cost] = {}
    batch = _meta_batch(denoiser, side, cond)
    updates: dict[str, tuple[Callable[..., StudentStepResult | FakeStepResult], int]] = {}
    if isinstance(step, DistillationStep) and step.config.uses_fake:
        updates["fake"] = (step.fake, step.config.fake_updates)
    updates["student"] = (step.student, 1)
    for update, (loss, times) in updates.items():
        denoiser.start(step.bank)
        with step.bank.trainable(update):
            total = loss(batch, 0, StepRandom(0, 0, update, range(len(batch.target)))).total
            denoiser.passes["backward"] = count(total.backward)
        passes |= {f"{update} update: {name}": cost * times for name, cost in denoiser.passes.items()}
    return passes


class _CountedDenoiser(Denoiser):
    """Any denoiser; keeps the cost of every pass under the name of the model in use."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(
            denoiser.network,
            denoiser.backbone,
            latent_channels=denoiser.latent_channels,
            patch_size=denoiser.patch_size,
            max_side=denoiser.max_side,
            inner_dim=denoiser.inner_dim,
        )
        self._denoiser = denoiser
        self.start(None)

    def start(self, bank: AdapterBank[Denoiser] | None, *, counting: bool = True) -> None:
        """Forget the passes so far; ``bank`` says which model is in use."""
        self.bank, self.passes, self._counting = bank, dict[str, Cost](), counting

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Those of the denoiser."""
        return self._denoiser.blocks

    @property
    def units(self) -> Sequence[nn.Module]:
        """Those of the denoiser."""
        return self._denoiser.units

    def feature_dim(self, block: int) -> int:
        """That of the denoiser."""
        return self._denoiser.feature_dim(block)

    def predict(self, x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        """As the denoiser does, not counted by itself."""
        return self._denoiser.predict(x_t, sigma, cond)

    def tokens(self, block_output: Any) -> Tensor:
        """As the denoiser does."""
        return self._denoiser.tokens(block_output)

    def forward(self, x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        """As the denoiser does."""
        found: Tensor = self._counted("x0", self._denoiser.forward, x_t, sigma, cond)
        return found

    def features(self, x_t: Tensor, sigma: Tensor, cond: Any, blocks: Sequence[int]) -> list[Tensor]:
        """As the denoiser does."""
        found: list[Tensor] = self._counted("features", self._denoiser.features, x_t, sigma, cond, blocks)
        return found

    def with_features(
        self, x_t: Tensor, sigma: Tensor, cond: Any, blocks: Sequence[int], *, detach: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """As the denoiser does, counted once."""
        whole = partial(self._denoiser.with_features, detach=detach)
        found: tuple[Tensor, list[Tensor]] = self._counted("x0 and features", whole, x_t, sigma, cond, blocks)
        return found

    def _counted(self, what: str, run: Callable[..., Any], x_t: Tensor, *rest: Any) -> Any:
        if not self._counting:
            return run(x_t, *rest)
        found: list[Any] = []
        cost = count(lambda: found.append(run(x_t, *rest)))
        name = f"{(self.bank and self.bank.active) or 'teacher'} {what}"
        cost = replace(cost, tokens=x_t[:, 0].numel() // self.patch_size**2)
        self.passes[name] = self.passes.get(name, Cost()) + cost
        return found[0]
