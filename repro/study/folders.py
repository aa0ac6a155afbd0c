"""The images of a study: which file is which prompt's, whether the folders pair up, and copies that tell nothing.

A file is named ``<prompt id>-<image>.png``, from 0, or ``<prompt id>.png`` where one image of a prompt is compared;
also ``.webp``, ``.jpg``, ``.jpeg``. What a browser gets is a PNG of the pixels alone, whatever the file was: no name,
date, metadata or encoding tells which system made it.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.harness.files import write_atomic
from repro.study.definition import Study
from repro.study.errors import StudyError
from repro.worlds.prompts import PromptEntry
from repro.worlds.prompts.plain import read_plain
from swd.images import LIMITS, ImageFileError, image_size, read_bytes, read_image

SUFFIXES = {".png", ".webp", ".jpg", ".jpeg"}
NAMED = 5  # names in a message
SERVED = "served"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two image files of one size: of two systems and one prompt, or of a check."""

    first: Path
    second: Path


def read_prompts(study: Study) -> list[PromptEntry]:
    """The prompts of a study.

    Raises:
        PromptFileError: the file is not as expected.
    """
    return read_plain(study.prompts)


def find_images(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their name without its ending.

    Raises:
        StudyError: no such folder, no image in it, or two files of one name.
    """
    if not folder.is_dir():
        raise StudyError(f"no such folder of images: {folder}")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            if file.stem in found:
                raise StudyError(f"{folder} holds {found[file.stem].name} and {file.name}; expected one of them")
            found[file.stem] = file
    if not found:
        raise StudyError(f"{folder} holds no images; expected {', '.join(sorted(SUFFIXES))}")
    return found


def pair_up(systems: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Images by system and name, the same names for every system.

    Raises:
        StudyError: a name that one folder has and another has not, or images of one name that differ in size.
    """
    images = {system: find_images(folder) for system, folder in systems.items()}
    first, *others = images
    for other in others:
        for here, there in ((first, other), (other, first)):
            if alone := sorted(set(images[here]) - set(images[there])):
                raise StudyError(
                    f"the folders do not pair up: {len(alone):,} images of {here} ({systems[here]}) are not in {there} "
                    f"({systems[there]}): {listed(alone)}"
                )
    for name in images[first]:
        _check_sizes([images[system][name] for system in images])
    return images


def unit_names(prompt: str, images_per_prompt: int, known: Mapping[str, Path]) -> list[str]:
    """Names of the images of a prompt, without their endings, in order; also those that are not there."""
    if images_per_prompt == 1 and prompt in known:
        return [prompt]
    return [f"{prompt}-{image}" for image in range(images_per_prompt)]


def check_images(pairs: Iterable[Pair]) -> None:
    """Decode every image once.

    Raises:
        StudyError: one cannot be read, or the two of a pair differ in size.
    """
    seen: dict[Path, tuple[int, int]] = {}
    for pair in pairs:
        for file in (pair.first, pair.second):
            if file not in seen:
                seen[file] = _decoded_size(file)
        if seen[pair.first] != seen[pair.second]:
            raise _different(pair.first, seen[pair.first], pair.second, seen[pair.second])


def served_image(folder: Path, digest: str, source: Path) -> Path:
    """The copy that browsers get, made where it is not there yet.

    Args:
        folder: of the study.
        digest: SHA-256 of the source, which names the copy.
        source: image file.

    Raises:
        StudyError: it cannot be read.
        OutputError: the copy cannot be written.
    """
    path = folder / SERVED / f"{digest}.png"
    if not path.exists():
        try:
            image = read_image(source)
        except ImageFileError as error:
            raise StudyError(f"{source}: {error}") from error
        stream = io.BytesIO()
        image.info.clear()  # text, dates, profiles
        image.save(stream, format="PNG", compress_level=1)
        write_atomic(path, stream.getvalue())
    return path


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def read_source(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        StudyError: it cannot be read.
    """
    try:
        return read_bytes(path, LIMITS)
    except ImageFileError as error:
        raise StudyError(f"{path}: {error}") from error


def _decoded_size(file: Path) -> tuple[int, int]:
    try:
        width, height = read_image(file).size
    except ImageFileError as error:
        raise StudyError(f"{file}: {error}") from error
    return width, height


def _check_sizes(files: Sequence[Path]) -> None:
    sizes = []
    for file in files:
        try:
            sizes.append(image_size(file))
        except ImageFileError as error:
            raise StudyError(f"{file}: {error}") from error
    for file, size in zip(files[1:], sizes[1:], strict=True):
        if size != sizes[0]:
            raise _different(files[0], sizes[0], file, size)


def _different(first: Path, one: tuple[int, int], second: Path, other: tuple[int, int]) -> StudyError:
    return StudyError(
        f"{first} has {one[0]} x {one[1]} pixels and {second} {other[0]} x {other[1]}; a pair is shown at equal size: "
        "expected the same"
    )
