"""What the command line adds to Table 1: models and data of one's own, fewer images, or only a plan of it all."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

from repro.harness import arguments, overrides, settings
from repro.harness.experiment import ExperimentError
from repro.harness.kind import FindProfile, UsageError, profile_with_metrics
from repro.harness.needs import TFLOPS
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.upscaling.declare import UpscalingTable, narrowed


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscalingOptions(RunOptions):
    """Options of Table 1.

    Args:
        tflops: of a GPU, for the plan.
    """

    tflops: float = TFLOPS


def add_arguments(parser: ArgumentParser) -> None:
    """Settings of the profile, and the plan."""
    overrides.add_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print work, disk and what is missing; do nothing")
    parser.add_argument(
        "--tflops",
        type=arguments.finite,
        default=TFLOPS,
        metavar="N",
        help=f"of your GPU, for --dry-run (default: {TFLOPS:g})",
    )


def choose_profile(table: UpscalingTable, typed: Namespace, find: FindProfile) -> Profile:
    """The profile that was asked for, with what was typed, narrowed to what is measured.

    Raises:
        UsageError: it has no metrics, a setting is out of range, or nothing is left to measure.
    """
    if typed.vae == "tiny":
        raise UsageError(f"{table.key} starts from latents of the full VAE and cannot be measured with --vae tiny")
    profile = overrides.changed(profile_with_metrics(table, typed, find), typed)
    try:
        narrowed(profile)
    except ExperimentError as error:
        raise UsageError(str(error)) from error
    return profile


def make_options(table: UpscalingTable, profile: Profile, typed: Namespace, common: RunOptions) -> UpscalingOptions:
    """The options of a command.

    Raises:
        UsageError: fewer images than the table has, or other models, for the committed folder, or a speed that is none.
    """
    if not typed.tflops > 0:
        raise UsageError(f"--tflops must be positive, got {typed.tflops:g}")
    settings.check_committed(typed, common)
    return UpscalingOptions.extending(common, tflops=typed.tflops)
