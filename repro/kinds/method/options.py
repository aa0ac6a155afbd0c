"""What the command line adds to a figure of the method: which step, which image."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

from repro.harness import arguments
from repro.harness.experiment import ExperimentError, UnknownNameError
from repro.harness.kind import UsageError
from repro.harness.options import COMMITTED, RunOptions
from repro.harness.profile import Profile
from repro.kinds.method.declare import MethodFigure, SamplingFigure, TrainingFigure


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodOptions(RunOptions):
    """Options of a figure of the method.

    Args:
        image: place of the image: in the batch, or in the set of prompts.
        step: of the schedule, where one is shown.
        prompts: set of prompts, where one is sampled from.
    """

    image: int = 0
    step: int = 0
    prompts: str = ""


def add_arguments(parser: ArgumentParser) -> None:
    """Which image, and what of it."""
    parser.add_argument(
        "--image", type=arguments.whole, metavar="N", help="image of the batch, or of the set of prompts, from 0"
    )
    parser.add_argument("--step", type=arguments.whole, metavar="N", help="step of the schedule (Figure 2), from 0")
    parser.add_argument("--prompts", metavar="SET", help="set of prompts (Figure 3)")


def make_options(figure: MethodFigure, profile: Profile, typed: Namespace, common: RunOptions) -> MethodOptions:
    """What was asked for, checked against the schedule, the batch and the prompts of the profile.

    Raises:
        UsageError: a step or an image that does not exist, an option of another figure, or a choice of one's own that
            would go into the committed folder.
        UnknownNameError: the profile has no such set of prompts.
        ExperimentError: the profile has no student.
    """
    changed = [f"--{name}" for name in ("image", "step", "prompts") if getattr(typed, name) is not None]
    if changed and common.committed:
        raise UsageError(
            f"with {', '.join(changed)} this is another picture than {figure.key} stands for: it does not belong into "
            f"{COMMITTED}; choose another --out"
        )
    image = figure.image if typed.image is None else typed.image
    if isinstance(figure, TrainingFigure):
        step = _step(figure, profile, typed)
        _check_image(image, figure.training(profile, step).batch_size, "the batch of a training step")
        return MethodOptions.extending(common, image=image, step=step)
    assert isinstance(figure, SamplingFigure)
    prompts = _prompts(figure, profile, typed)
    _check_image(image, profile.images_per_set, f"the set of prompts {prompts}")
    return MethodOptions.extending(common, image=image, prompts=prompts)


def _step(figure: TrainingFigure, profile: Profile, typed: Namespace) -> int:
    if typed.prompts is not None:
        raise UsageError(f"--prompts {typed.prompts}: {figure.key} shows training, which reads no set of prompts")
    if profile.weights.adapters is None:
        raise ExperimentError(
            f"profile {profile.name} has no adapters that ship, and no images to train on: {figure.key} goes on with a "
            "training, so choose --profile mini or smoke"
        )
    step = figure.step if typed.step is None else typed.step
    count = figure.schedule(profile).num_steps
    if not 0 <= step < count:
        raise UsageError(f"--step {step}: the schedule of {figure.row.key} has steps 0 to {count - 1}")
    return int(step)


def _prompts(figure: SamplingFigure, profile: Profile, typed: Namespace) -> str:
    if typed.step is not None:
        raise UsageError(f"--step {typed.step}: {figure.key} shows every step of the schedule")
    known = [prompts.key for prompts in profile.prompt_sets]
    if typed.prompts is not None and typed.prompts not in known:
        raise UnknownNameError(f"set of prompts of profile {profile.name}", typed.prompts, known)
    weights = profile.weights
    if not known or (weights.adapters is None and figure.row.variant not in weights.released):
        raise ExperimentError(f"profile {profile.name} has no student {figure.row.variant}: choose another --profile")
    figure.schedule(profile)
    return typed.prompts or figure.prompt_set(profile)


def _check_image(image: int, count: int, of: str) -> None:
    if not 0 <= image < count:
        raise UsageError(f"--image {image}: {of} has images 0 to {count - 1}")
