"""What an iteration computes, by the objective of a run: the only place that knows which there are."""

from collections.abc import Callable, Mapping

from torch import nn

from swd.backbones.base import Condition, Denoiser
from swd.lora.bank import AdapterBank
from swd.schedule import ScaleSchedule
from swd.training.config import DistillConfig
from swd.training.consistency import ConsistencyStep
from swd.training.options import Objective
from swd.training.step import DistillationStep

TrainingStep = DistillationStep | ConsistencyStep


def new_step(
    config: DistillConfig,
    schedule: ScaleSchedule,
    bank: AdapterBank[Denoiser],
    discriminator: nn.Module | None,
    empty: Condition,
) -> TrainingStep:
    """The losses of a run.

    Args:
        config: of the run; its ``objective`` decides.
        schedule: the student's scales and sigmas.
        bank: the networks, with the adapters that ``config.adapters`` names.
        discriminator: GAN head; None without a GAN.
        empty: embedding of the empty prompt, (1, ...).
    """
    return _STEPS[config.objective](config, schedule, bank, discriminator, empty)


def _consistency(
    config: DistillConfig,
    schedule: ScaleSchedule,
    bank: AdapterBank[Denoiser],
    discriminator: nn.Module | None,
    empty: Condition,
) -> ConsistencyStep:
    return ConsistencyStep(config, schedule, bank, empty)


_STEPS: Mapping[Objective, Callable[..., TrainingStep]] = {
    "distribution": DistillationStep,
    "consistency": _consistency,
}
