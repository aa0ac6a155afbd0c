"""The gallery on disk: ``index.html``, its images by their hashes, and a thumbnail of each."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.harness.files import digest_file, write_atomic
from repro.kinds.gallery.html import Picture, Shelf, document
from repro.stages.image_files import read_image

THUMBNAIL = 256  # pixels of its longer side
OURS = re.compile(r"[0-9a-f]{16}(-small)?\.(png|webp|jpe?g)")  # names that this gives to images: their hashes


@dataclass(frozen=True, slots=True)
class Cell:
    """One image.

    Attributes:
        system: label of its row.
        caption: its prompt.
        seed: of its noise.
        source: how it was made.
        file: where it lies.
    """

    system: str
    caption: str
    seed: int
    source: str
    file: Path


@dataclass(frozen=True, slots=True)
class Section:
    """One grid.

    Attributes:
        key: of its figure.
        title: of its page.
        prompts: set of prompts.
        rule: by which they were chosen.
        columns: prompts in a row.
        cells: row by row.
    """

    key: str
    title: str
    prompts: str
    rule: str
    columns: int
    cells: tuple[Cell, ...]


def write(out: Path, sections: Sequence[Section], caption: str) -> Path:
    """Write the page and copy its images; those of an earlier page that it does not show go, and nothing else does.

    Args:
        out: folder of the page.
        sections: in order.
        caption: what the profile is.

    Returns:
        The page.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    kept: set[str] = set()
    shelves = [_shelf(section, folder, kept) for section in sections]
    for file in folder.iterdir():
        if OURS.fullmatch(file.name) and file.name not in kept:
            file.unlink()
    page = out / "index.html"
    write_atomic(page, document(shelves, caption))
    return page


def _shelf(section: Section, folder: Path, kept: set[str]) -> Shelf:
    pictures = []
    for cell in section.cells:
        name = f"{digest_file(cell.file)[:16]}{cell.file.suffix}"
        small = _placed(cell.file, folder, name)
        kept |= {name, small}
        label = cell.system.replace("\n", " ")
        pictures.append(Picture(label, cell.caption, cell.seed, cell.source, f"images/{name}", f"images/{small}"))
    return Shelf(section.key, section.title, section.prompts, section.rule, section.columns, tuple(pictures))


def _placed(file: Path, folder: Path, name: str) -> str:
    """Copy an image; the name of its thumbnail, which is the image itself where that is small."""
    if not (folder / name).exists():
        shutil.copyfile(file, folder / name)
    image = read_image(file)
    if max(image.size) <= THUMBNAIL:
        return name
    small = f"{Path(name).stem}-small.png"
    if not (folder / small).exists():
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        image.save(folder / small)
    return small
