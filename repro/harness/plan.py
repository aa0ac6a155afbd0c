"""From a row's differences and a profile to what is trained and what is sampled: the only place that decides."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from repro.harness.experiment import ExperimentError, Row, TrainingData, UnknownNameError
from repro.harness.profile import Profile
from repro.harness.sampling import SamplingPlan
from swd.errors import ConfigError
from swd.schedule import preset
from swd.training.config import DistillConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A row in a profile.

    Attributes:
        train: the distillation; None where the teacher itself samples.
        sample: the steps of an image.
        data: what the student is distilled on.
    """

    train: DistillConfig | None
    sample: SamplingPlan
    data: TrainingData = "world"

    @property
    def training(self) -> DistillConfig:
        """The distillation of a student.

        Raises:
            ValueError: the teacher itself samples.
        """
        if self.train is None:
            raise ValueError("the teacher is not distilled")
        return self.train


def resolve(profile: Profile, row: Row, seed: int = 0) -> Plan:
    """What a row trains and samples in a profile: the profile's options, changed by the row's differences.

    Args:
        profile: the teacher, and options of distillation.
        row: its differences win.
        seed: of the training.

    Raises:
        ExperimentError: no such schedule or network in the profile, options that are out of range or contradict each
            other, or a share of the side that is no latent side, or none of the schedule.
    """
    try:
        config = None if row.train is None else _training(profile, row.train, seed)
        data = (row.train or {}).get("data", "world")
        network_folder(profile, row)
        return Plan(train=config, sample=_at_share(profile, row, _sampling(profile, row.sample, config)), data=data)
    except (ConfigError, UnknownNameError) as error:
        raise ExperimentError(f"row {row.key} in profile {profile.name}: {error}") from error


def finishing(profile: Profile) -> SamplingPlan:
    """How the teacher finishes latents that others began (Table 1): on the lower levels of this grid."""
    teacher = profile.teacher
    own = teacher.guidance_scale if teacher.embedded_guidance is None else teacher.embedded_guidance
    return SamplingPlan(
        schedule=None,
        steps=teacher.steps if teacher.finishing_steps is None else teacher.finishing_steps,
        guidance_scale=own if teacher.finishing_guidance is None else teacher.finishing_guidance,
        shift=teacher.shift,
    )


def latent_side(profile: Profile) -> int:
    """Latent side of a whole image: where the scales of every student end."""
    return preset(f"{profile.presets}-4").scales[-1]


def network_folder(profile: Profile, row: Row) -> str:
    """Folder of the network that takes the place of the teacher's in a row; empty for that.

    Raises:
        UnknownNameError: the profile has no such network.
    """
    if row.network and row.network not in profile.weights.networks:
        raise UnknownNameError("network", row.network, profile.weights.networks)
    return profile.weights.networks[row.network] if row.network else ""


def side_of(profile: Profile, row: Row) -> int:
    """Latent side at which the images of a row are taken.

    Raises:
        ConfigError: its share of the whole side is no whole number.
    """
    whole = latent_side(profile)
    side = row.share * whole
    if side != int(side):
        raise ConfigError(f"a share {row.share:g} of the latent side {whole} is {side:g}, expected a whole number")
    return int(side)


def pixels_of(profile: Profile, row: Row) -> int:
    """The same in pixels of the image."""
    return profile.data.resolution * side_of(profile, row) // latent_side(profile)


def steps_of(profile: Profile, row: Row) -> int | None:
    """Network evaluations of an image without those for guidance; None where the profile has no such row."""
    if row.system is not None:
        return row.system.steps
    if row.images or row.real:
        return None
    try:
        return resolve(profile, row).sample.steps
    except ExperimentError:
        return None


def _training(profile: Profile, train: Mapping[str, Any], seed: int) -> DistillConfig:
    """Options of all students, of students whose scale grows or does not, and of the row; later ones win."""
    preset = f"{profile.presets}-{train['schedule']}"
    own = {name: value for name, value in train.items() if name not in ("schedule", "data")}
    options = {"shift": profile.teacher.shift, **profile.distil.common}
    grows = DistillConfig(preset=preset, seed=seed, **{**options, **own}).schedule().is_scalewise
    rates = profile.distil.scalewise if grows else profile.distil.fullscale
    return DistillConfig(preset=preset, seed=seed, **{**options, **rates, **own})


def _at_share(profile: Profile, row: Row, plan: SamplingPlan) -> SamplingPlan:
    """A plan whose images are taken at the row's share of the side."""
    if row.share == 1:
        return plan
    side = side_of(profile, row)
    if plan.schedule is None:
        return replace(plan, side=side)
    try:
        schedule = plan.schedule.until(side)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return replace(plan, schedule=schedule, steps=schedule.num_steps)


def _sampling(profile: Profile, sample: Mapping[str, Any], trained: DistillConfig | None) -> SamplingPlan:
    """A student samples on the schedule it was trained with, without guidance; the teacher as the profile says."""
    teacher = profile.teacher
    config = trained
    if "schedule" in sample:
        like = trained or DistillConfig(preset="", shift=teacher.shift)
        config = replace(like, preset=f"{profile.presets}-{sample['schedule']}", scales=None, boundaries=None)
    schedule = None if config is None else config.schedule()
    return SamplingPlan(
        schedule=schedule,
        steps=sample.get("steps", teacher.steps) if schedule is None else schedule.num_steps,
        guidance_scale=sample.get("guidance_scale", teacher.guidance_scale if trained is None else 1.0),
        shift=sample.get("shift", teacher.shift),
        grow=sample.get("grow", "renoise"),
    )
