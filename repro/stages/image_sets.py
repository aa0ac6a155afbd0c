"""Sets of images on disk: in shards, each with a manifest in JSON lines that says which file is which prompt's.

A manifest line holds ``id``, ``caption``, ``seed``, ``file`` (relative to the set's folder, or absolute), ``bytes``,
``sha256``, ``width`` and ``height``; where an image could not be made, ``skipped`` says why in place of the file. The
manifest is written last, so a shard is finished when it has one.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL.Image import Image
from PIL.Image import new as new_image

from repro.metrics.base import Prompt, Skipped
from repro.stages.image_files import LIMITS, ImageFileError, decode_image, digest_bytes, read_bytes, write_once

Row = Mapping[str, Any]
READERS = 8  # threads: reading, hashing, decoding and encoding let go of Python's lock


class ImageSetError(RuntimeError):
    """A folder of images is not what it should be; the message names the folder or file."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Images in memory with their prompts, and what was left out between them."""

    images: list[Image]
    prompts: list[Prompt]
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Finished images of one row and prompt set.

    Attributes:
        folder: of the manifests.
        inputs: what they follow from; their identity for later stages.
        prompts: one per image, in order.
        shard_size: images in a shard; the last may have fewer.
        remake: makes the damaged images of a shard again; None where they are somebody's.
    """

    folder: Path
    inputs: Mapping[str, Any]
    prompts: Sequence[Prompt]
    shard_size: int
    remake: Callable[[str], None] | None = field(default=None, repr=False, compare=False)

    @property
    def shards(self) -> dict[str, Sequence[Prompt]]:
        """Prompts by the name of their shard."""
        return split(self.prompts, self.shard_size)

    def read(self, shard: str, size: int) -> Iterator[Batch]:
        """A shard in batches of at most ``size`` prompts; what cannot be read is made again, or left out and named.

        Every file is compared with the hash in its manifest on the way.

        Raises:
            ImageSetError: the shard has no manifest, or that of other prompts.
        """
        prompts = self.shards[shard]
        rows = self._rows(shard)
        with ThreadPoolExecutor(READERS) as readers:
            for start in range(0, len(rows), size):
                part = slice(start, start + size)
                yield _batch(self._sound(shard, rows[part], part, readers), prompts[part])

    def _sound(self, shard: str, rows: list[Row], part: slice, readers: Executor) -> list[Image | Skipped]:
        """Images of a part of a shard, the damaged ones made again."""
        found = list(readers.map(self._read, rows))
        if self.remake is None or not any(map(_is_damaged, rows, found)):
            return found
        self.remake(shard)
        return list(readers.map(self._read, self._rows(shard)[part]))

    def _rows(self, shard: str) -> list[Row]:
        try:
            return read_manifest(self.folder, shard, self.shards[shard])
        except ImageSetError:
            if self.remake is None:
                raise
        self.remake(shard)  # damaged, or another process is at it
        return read_manifest(self.folder, shard, self.shards[shard])

    def damaged(self, shard: str) -> list[tuple[Path, str]]:
        """Files of a shard that are not those of its manifest, each with what is wrong.

        Raises:
            ImageSetError: the shard has no manifest, or that of other prompts.
        """
        rows = read_manifest(self.folder, shard, self.shards[shard])
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(self._read, rows))
        lost = [(row, one.reason) for row, one in zip(rows, found, strict=True) if isinstance(one, Skipped)]
        return [(self.folder / row["file"], reason) for row, reason in lost if "file" in row]

    def shown(self, count: int) -> list[Image]:
        """The first images, for a picture; a grey one stands in for one that was skipped."""
        found: dict[str, Image] = {}
        for shard in list(self.shards)[: -(-count // self.shard_size)]:
            batch = next(self.read(shard, count))
            found |= {prompt["id"]: image for prompt, image in zip(batch.prompts, batch.images, strict=True)}
        size = next((image.size for image in found.values()), (1, 1))
        return [found.get(prompt["id"]) or new_image("RGB", size, "grey") for prompt in self.prompts[:count]]

    def batches(self, size: int | None = None) -> Iterator[tuple[list[Image], list[Prompt]]]:
        """All images and their prompts, shard by shard, where every one is needed.

        Raises:
            ImageSetError: one cannot be read.
        """
        for shard in self.shards:
            for batch in self.read(shard, size or self.shard_size):
                for lost in batch.skipped:
                    raise ImageSetError(f"{self.folder}: image {lost.id!r} is needed here: {lost.reason}")
                yield batch.images, batch.prompts

    def _read(self, row: Row) -> Image | Skipped:
        try:
            return self._image(row)
        except ImageFileError as error:
            return Skipped(row["id"], str(error))

    def _image(self, row: Row) -> Image:
        if "skipped" in row:
            raise ImageFileError(row["skipped"])
        data = read_bytes(self.folder / row["file"], LIMITS)
        if digest_bytes(data) != row["sha256"]:
            raise ImageFileError(f"{row['file']} is not the file of its manifest: {len(data):,} bytes, another sha256")
        return decode_image(data)


def _is_damaged(row: Row, found: Image | Skipped) -> bool:
    return "file" in row and isinstance(found, Skipped)


def _batch(found: Sequence[Image | Skipped], prompts: Sequence[Prompt]) -> Batch:
    batch = Batch([], [], [])
    for image, prompt in zip(found, prompts, strict=True):
        if isinstance(image, Skipped):
            batch.skipped.append(image)
        else:
            batch.images.append(image)
            batch.prompts.append(prompt)
    return batch


def split(prompts: Sequence[Prompt], size: int) -> dict[str, Sequence[Prompt]]:
    """Prompts by shard."""
    starts = range(0, len(prompts), size)
    return {f"shard-{index:05d}": prompts[start : start + size] for index, start in enumerate(starts)}


def identified(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts with an ``id`` each: their place where they have none.

    Raises:
        ImageSetError: two prompts share an id.
    """
    found = [prompt if "id" in prompt else {**prompt, "id": str(index)} for index, prompt in enumerate(prompts)]
    seen: set[str] = set()
    for prompt in found:
        if prompt["id"] in seen:
            raise ImageSetError(f"two prompts have the id {prompt['id']!r}")
        seen.add(prompt["id"])
    return found


def manifest_path(folder: Path, shard: str) -> Path:
    """Where the manifest of a shard is."""
    return folder / f"{shard}.jsonl"


def write_manifest(folder: Path, shard: str, rows: Sequence[Row]) -> None:
    """Finish a shard; a manifest that is there already stays."""
    write_once(manifest_path(folder, shard), manifest_text(rows).encode())


def manifest_text(rows: Sequence[Row]) -> str:
    """A manifest: a line of JSON for each image."""
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def read_manifest(folder: Path, shard: str, prompts: Sequence[Prompt]) -> list[Row]:
    """The rows of a shard, one for each prompt.

    Raises:
        ImageSetError: it is missing or damaged, or of other prompts; says where.
    """
    path = manifest_path(folder, shard)
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = [row["id"] for row in rows]
        whole = all("skipped" in row or {"file", "sha256"} <= row.keys() for row in rows)
    except FileNotFoundError as error:
        raise ImageSetError(f"no manifest {path}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageSetError(f"damaged manifest {path}: {error}") from error
    if not whole:
        raise ImageSetError(f"damaged manifest {path}: a line has neither file and sha256 nor a reason")
    if found != (wanted := [prompt["id"] for prompt in prompts]):
        raise ImageSetError(
            f"{path} holds {len(found)} images from {found[:1]}, expected {len(wanted)} from {wanted[:1]}"
        )
    return rows
