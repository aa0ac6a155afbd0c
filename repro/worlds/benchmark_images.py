"""Real images of the benchmarks' world whose spectra are measured: those of MJHQ-30K, 1024 px.

They lie below the data folder where Table 2 looks for them; a folder of a user's own takes their place.
"""

from pathlib import Path

from repro.harness.experiment import UnknownNameError
from repro.harness.needs import Need
from repro.worlds.data_folder import BENCHMARKS, VARIABLE, from_here
from repro.worlds.prompts.entry import PromptFileError
from repro.worlds.references import image_folder
from repro.worlds.sources import ImageSource, folder

SOURCE, NAME = "folder", "MJHQ-30K"  # of the source in a figure; of the data set
MJHQ = BENCHMARKS["mjhq"]


def images(name: str, data: Path, *, side: int, count: int) -> ImageSource:
    """Square images of MJHQ-30K, ``count`` at most, evenly from the list of their names: from all its categories.

    Raises:
        UnknownNameError: no such source.
        PromptFileError: no images; the message says how to get them.
        ExperimentError: none can be read, or one is too small.
    """
    if name != SOURCE:
        raise UnknownNameError("source of images", name, [SOURCE])
    if (place := image_folder(MJHQ, data)) is None:
        raise PromptFileError(
            f"no images of {NAME} in {data / MJHQ.folder}: expected {' or '.join(MJHQ.images)} with images. To get "
            f"them: {_command(data)} (licence: {MJHQ.licence}). Images of your own: --images DIR; another data "
            f"folder: --data DIR or {VARIABLE}"
        )
    return folder(place, side, count, named=NAME)


def need(data: Path) -> Need:
    """The folder of images, and what gets it."""
    place = image_folder(MJHQ, data)
    return Need(
        name=str(place or f"{MJHQ.folder}: images of {NAME}"),
        why="images whose spectra are measured",
        command=_command(data),
        terms=MJHQ.licence,
        missing=place is None,
    )


def _command(data: Path) -> str:
    return MJHQ.images_from.format(folder=from_here(data / MJHQ.folder))
