"""What the command line adds to a figure of spectra: which images, which VAE."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, replace
from pathlib import Path

from repro.harness import arguments
from repro.harness.experiment import UnknownNameError
from repro.harness.kind import FindProfile, UsageError
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.spectra.declare import FOLDER, SpectraFigure


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectraOptions(RunOptions):
    """Options of a figure of spectra.

    Args:
        images: folder of images to measure, beside those that a world makes and in place of those that it reads; None
            for what the profile has.
        pipeline: folder or hub name in place of the profile's; empty for the profile's.
        random_weights: the true architecture without its weights: shows that it runs and how long, measures nothing.
    """

    images: Path | None = None
    pipeline: str = ""
    random_weights: bool = False


def add_arguments(parser: ArgumentParser) -> None:
    """Images, and what encodes them."""
    parser.add_argument("--images", type=arguments.path, metavar="DIR", help="measure the images of this folder")
    parser.add_argument(
        "--data", type=arguments.place, metavar="DIR", help="data folder whose MJHQ-30K is measured (docs/data.md)"
    )
    parser.add_argument(
        "--pipeline",
        type=arguments.place,
        metavar="PATH",
        help="folder or hub name (default: the profile's)",
    )
    parser.add_argument("--tiny-vae", action="store_true", help="the tiny autoencoder in place of the profile's VAE")
    parser.add_argument("--random-weights", action="store_true", help="the architecture alone: does it run, how long")
    parser.add_argument("--dry-run", action="store_true", help="print work, memory and what is missing; do nothing")


def choose_profile(figure: SpectraFigure, typed: Namespace, find: FindProfile) -> Profile:
    """The profile, or its twin with a tiny VAE; with random weights, one whose results go elsewhere.

    Raises:
        UsageError: it has no tiny VAE, or reads no data folder.
    """
    try:
        profile = find(f"{typed.profile}-tiny-vae" if typed.tiny_vae else typed.profile)
    except UnknownNameError as error:
        if not typed.tiny_vae:
            raise
        raise UsageError(f"profile {typed.profile} has no tiny VAE") from error
    if typed.data is not None:
        profile = _with_data(profile, typed.data)
    if typed.random_weights:  # whatever comes out is no measurement of the profile
        return replace(profile, committed=False, output="results/random-weights")
    return profile


def _with_data(profile: Profile, folder: str) -> Profile:
    if FOLDER not in profile.data.sources:
        raise UsageError(f"--data {folder}: profile {profile.name} makes its images and reads no data folder")
    return replace(profile, data=replace(profile.data, folder=str(Path(folder).expanduser().resolve())))


def make_options(figure: SpectraFigure, profile: Profile, typed: Namespace, common: RunOptions) -> SpectraOptions:
    """The images and weights that were asked for."""
    return SpectraOptions.extending(
        common, images=typed.images, pipeline=typed.pipeline or "", random_weights=typed.random_weights
    )
