"""What a figure of the method is, as data: which student, which of its images, and what of it."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from repro.harness.experiment import Experiment, ExperimentError, Row
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from swd.schedule import ScaleSchedule
from swd.training.config import DistillConfig

Part = Literal["training", "sampling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFigure(Experiment):
    """What a scale-wise student does.

    Args:
        row: the student.
        image: which image is shown, by its place; the command line may name another.
    """

    part: ClassVar[Part]
    """What of it; also the kind of its pictures' file names."""

    row: Row
    image: int = 0

    def schedule(self, profile: Profile) -> ScaleSchedule:
        """The student's steps in a profile.

        Raises:
            ExperimentError: the student has none.
        """
        schedule = resolve(profile, self.row).sample.schedule
        if schedule is None:
            raise ExperimentError(f"row {self.row.key} of {self.key} samples without a schedule: there is no student")
        return schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFigure(MethodFigure):
    """One iteration of a distillation that goes on from a finished student.

    Args:
        step: of the schedule, from 0; the command line may name another.
        cycles: times that training goes through the whole schedule before; fewer in profiles that train for less.
        images: that it reads.
    """

    part = "training"

    step: int
    cycles: int
    images: int

    def training(self, profile: Profile, step: int) -> DistillConfig:
        """The profile's own recipe, up to the iteration that is shown, the last: iterations cycle over the steps."""
        config = resolve(profile, self.row, profile.seeds[0]).training
        num_steps = config.schedule().num_steps
        cycles = min(self.cycles, config.iterations // num_steps)
        iterations = cycles * num_steps + step + 1
        return replace(config, iterations=iterations, checkpoint_every=iterations, progress=False)

    def images_of(self, profile: Profile) -> int:
        """Images that are read in a profile."""
        return min(self.images, profile.data.training_images)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingFigure(MethodFigure):
    """Every step of one image.

    Args:
        prompts: set of prompts, where the profile has it; its last set otherwise.
    """

    part = "sampling"

    prompts: str = ""

    def prompt_set(self, profile: Profile) -> str:
        """The set of prompts in a profile."""
        known = [prompts.key for prompts in profile.prompt_sets]
        return self.prompts if self.prompts in known else known[-1]
