"""What the command line adds to a grid of samples: folders of images, and where the gallery goes."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from repro.harness import arguments
from repro.harness.experiment import UnknownNameError
from repro.harness.kind import UsageError
from repro.harness.options import COMMITTED, RunOptions
from repro.harness.profile import Profile
from repro.kinds.gallery.declare import Gallery

SITE = Path("results") / "gallery"


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryOptions(RunOptions):
    """Options of a grid of samples.

    Args:
        images: row -> folder of its images, named by the ids of the prompts.
    """

    images: Mapping[str, Path] = field(default_factory=dict)


def add_arguments(parser: ArgumentParser) -> None:
    """Images that were made elsewhere."""
    parser.add_argument(
        "--images",
        action="append",
        default=[],
        metavar="ROW=DIR",
        help="images of a row, as files <prompt id>.png or with a manifest, in place of sampling them",
    )


def add_site_arguments(parser: ArgumentParser) -> None:
    """Of the command that writes the gallery."""
    parser.add_argument(
        "--out", type=arguments.path, default=SITE, metavar="DIR", help=f"folder of the page (default: {SITE})"
    )
    parser.add_argument(
        "--work", type=arguments.path, metavar="DIR", help="folder of unfinished work (default: results/stages)"
    )
    parser.add_argument("--profile", default="mini", help="world whose images are shown (default: mini)")
    parser.add_argument("--device", type=arguments.device, default="auto", help="torch device (default: auto)")
    add_arguments(parser)


def make_options(gallery: Gallery, profile: Profile, typed: Namespace, common: RunOptions) -> GalleryOptions:
    """What was asked for, checked against the rows and prompts of the profile.

    Raises:
        UsageError: an argument that is not ROW=DIR, a row that is named twice, or folders for the committed page.
        UnknownNameError: no such row.
        ExperimentError: the profile has no systems or too few prompts for it.
    """
    rows = [row.key for row in gallery.rows_in(profile)]
    gallery.prompt_set(profile)
    gallery.choice.places(profile.images_per_set)
    images = folders(typed.images)
    for key in images:
        if key not in rows:
            raise UnknownNameError(f"row of {gallery.key}", key, rows)
    if images and common.committed and not profile.scorers:
        raise UsageError(f"--images shows other pictures than {gallery.key} stands for in {COMMITTED}: choose --out")
    return GalleryOptions.extending(common, images=images)


def folders(words: list[str]) -> dict[str, Path]:
    """Rows and their folders.

    Raises:
        UsageError: an argument that is not ROW=DIR, or a row that is named twice.
    """
    found: dict[str, Path] = {}
    for word in words:
        key, separator, folder = word.partition("=")
        if not (key and separator and folder):
            raise UsageError(f"--images {word}: expected ROW=DIR")
        if key in found:
            raise UsageError(f"--images names {key} twice")
        found[key] = Path(folder).expanduser()
    return found
