"""Images of another system, as a folder that somebody made: which file is which prompt's, and nothing in silence.

The folder says it in one of three ways, looked for in this order: the manifests of an image set of ours
(``shard-*.jsonl``), a ``manifest.jsonl`` or ``manifest.csv`` with ``id`` and ``file`` (relative to the folder), or file
names that are the ids (``<id>.png``, in subfolders too). Ids that no prompt has are left alone, so that a part of the
prompts can be scored.
"""

import csv
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.harness.files import digest_file, digest_json, write_atomic
from repro.metrics.base import Prompt
from repro.stages.image_files import LIMITS, ImageFileError, read_image
from repro.stages.image_sets import ImageSet, ImageSetError, identified, manifest_path, manifest_text, split
from repro.stages.store import StageStore

STAGE, VERSION = "folders", 1
SUFFIXES = {".png", ".webp", ".jpg", ".jpeg"}
NAMED_LETTERS = 200  # of a path in a message
NAMED = 5  # missing ids in a message
LOOKED = 8  # images of a folder, before any work

Place = tuple[str, str, Path]  # where it is said, id, file


def images_of_folder(store: StageStore, folder: Path, prompts: Sequence[Prompt], *, shard_size: int) -> ImageSet:
    """The images of prompts in a folder, as an image set; the files stay where they are.

    Every file is hashed, so that scores are known to be of these very images; none is decoded yet.

    Raises:
        ImageSetError: no such folder, a damaged manifest, an id twice, a file outside, or prompts without an image.
    """
    prompts = identified(prompts)
    found = check_folder(folder, prompts)
    rows = [_row(prompt, found[prompt["id"]]) for prompt in prompts]
    inputs = {"version": VERSION, "images": digest_json(_identity(rows)), "shard_size": shard_size}
    result = ImageSet(store.folder(STAGE, inputs), inputs, prompts, shard_size)
    for shard, part in split(rows, shard_size).items():  # always: the same images may lie elsewhere now
        write_atomic(manifest_path(result.folder, shard), manifest_text(part))
    store.finish(STAGE, inputs)
    return result


def check_folder(folder: Path, prompts: Sequence[Prompt]) -> dict[str, Path]:
    """The image file of every id in a folder, which has one of every prompt.

    Raises:
        ImageSetError: as `images_of_folder`.
    """
    found, wanted = files_by_id(folder), [prompt["id"] for prompt in identified(prompts)]
    if missing := [identity for identity in wanted if identity not in found]:
        named = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        raise ImageSetError(
            f"{folder}: {len(missing):,} of {len(wanted):,} prompts have no image: {named}; the folder holds "
            f"{len(found):,}, files are known by their ids (docs/data.md)"
        )
    return found


def check_drawn(files: Sequence[Path]) -> None:
    """Look into a few images, whether there is anything to measure; some that cannot be read are skipped later.

    Raises:
        ImageSetError: all of these few are of one colour, or none can be read.
    """
    looked, reasons = files[:LOOKED], list[str]()
    for file in looked:
        try:
            colours = read_image(file).getcolors(maxcolors=1)
        except ImageFileError as error:
            reasons.append(f"{file.name}: {error}")
            continue
        if colours is None:
            return
    if looked:
        of = f"of the first {len(looked)} images"
        flat = f"each {of} that can be read shows one colour alone: nothing is drawn there"
        raise ImageSetError(
            f"{looked[0].parent}: {flat if len(reasons) < len(looked) else f'none {of} can be read: {reasons[0]}'}"
        )


def files_by_id(folder: Path) -> dict[str, Path]:
    """The image file of every id in a folder.

    Raises:
        ImageSetError: as `images_of_folder`.
    """
    if not folder.is_dir():
        raise ImageSetError(f"no such folder of images: {folder}")
    found, seen = dict[str, tuple[str, Path]](), dict[Path, str]()
    root = folder.resolve()
    for where, identity, file in _places(folder):
        if identity in found:
            raise ImageSetError(f"{where}: id {identity!r} stands in {found[identity][0]} too; expected each once")
        try:
            inside, there = file.resolve().is_relative_to(root), file.is_file()
        except (OSError, ValueError) as error:  # a name that is too long, half a character, a link to itself
            reason = getattr(error, "strerror", None) or error
            raise ImageSetError(f"{where}: {str(file)[:NAMED_LETTERS]!r}: {reason}") from error
        if not inside:
            raise ImageSetError(f"{where}: {file} lies outside of {folder}")
        if not there:
            raise ImageSetError(f"{where}: there is no file {file}")
        if (first := seen.setdefault(file.resolve(), identity)) != identity:
            warnings.warn(f"{where}: {file} is the image of {first!r} too", stacklevel=2)
        found[identity] = (where, file)
    return {identity: file for identity, (_, file) in found.items()}


def _places(folder: Path) -> Iterator[Place]:
    lines, table = folder / "manifest.jsonl", folder / "manifest.csv"
    if shards := sorted(folder.glob("shard-*.jsonl")):
        for shard in shards:
            yield from _of_json_lines(shard)
    elif lines.exists() and table.exists():
        raise ImageSetError(f"{folder} holds both {lines.name} and {table.name}; expected one")
    elif lines.exists():
        yield from _of_json_lines(lines)
    elif table.exists():
        yield from _of_csv(table)
    else:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                yield str(file), file.stem, file


def _of_json_lines(path: Path) -> Iterator[Place]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ImageSetError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ImageSetError(f"{path}, line {number}: expected an object with id and file")
        if "skipped" not in row:  # our own: that image could not be made, and counts as missing
            yield _place(path, number, row)


def _of_csv(path: Path) -> Iterator[Place]:
    reader = csv.DictReader(_text(path).splitlines(keepends=True))
    if absent := {"id", "file"} - set(reader.fieldnames or ()):
        raise ImageSetError(
            f"{path}: no column {', '.join(sorted(absent))}; it has {', '.join(reader.fieldnames or ())}"
        )
    for row in reader:
        yield _place(path, reader.line_num, row)


def _place(path: Path, number: int, row: Mapping[str, Any]) -> Place:
    identity, file = row.get("id"), row.get("file")
    if isinstance(identity, int):
        identity = str(identity)
    if not isinstance(identity, str) or not isinstance(file, str) or not identity or not file:
        raise ImageSetError(f"{path}, line {number}: id {identity!r} and file {file!r}; expected two texts")
    if "\0" in file:
        raise ImageSetError(f"{path}, line {number}: file is {file!r}; expected a path")
    return f"{path}, line {number}", identity, path.parent / file


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageSetError(f"{path} is not UTF-8: {error}") from error


def _row(prompt: Prompt, file: Path) -> dict[str, Any]:
    who = {"id": prompt["id"], "caption": prompt["caption"], "seed": prompt.get("seed")}
    size = file.stat().st_size
    if size > LIMITS.file_bytes:
        return {**who, "skipped": f"too large: {size:,} bytes, at most {LIMITS.file_bytes:,}"}
    return {**who, "file": str(file.resolve()), "sha256": digest_file(file)}


def _identity(rows: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """What scores follow from: ids, captions and bytes, wherever the files lie."""
    return [[row["id"], row["caption"], row.get("sha256"), row.get("skipped")] for row in rows]
