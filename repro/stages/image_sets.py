"""Sets of images on disk: in shards, each with a manifest in JSON lines that says which file is which prompt's.

A manifest line holds ``id``, ``caption``, ``seed``, ``file`` (relative to the set's folder, or absolute), ``bytes``,
``sha256``, ``width`` and ``height``; where an image could not be made, ``skipped`` says why in place of the file. The
manifest is written last, so a shard is finished when it has one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    """

    folder: Path
    inputs: Mapping[str, Any]
    prompts: Sequence[Prompt]
    shard_size: int

    @property
    def shards(self) -> dict[str, Sequence[Prompt]]:
        """Prompts by the name of their shard."""
        return split(self.prompts, self.shard_size)

    def read(self, shard: str, size: int) -> Iterator[Batch]:
        """A shard in batches of at most ``size`` prompts; what cannot be read is left out and named.

        Raises:
            ImageSetError: the shard has no manifest, or that of other prompts.
        """
        prompts = self.shards[shard]
        rows = read_manifest(self.folder, shard, prompts)
        with ThreadPoolExecutor(READERS) as readers:
            for start in range(0, len(rows), size):
                found = readers.map(self._read, rows[start : start + size])
                yield _batch(list(found), prompts[start : start + size])

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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageSetError(f"damaged manifest {path}: {error}") from error
    if not whole:
        raise ImageSetError(f"damaged manifest {path}: a line has neither file and sha256 nor a reason")
    if found != (wanted := [prompt["id"] for prompt in prompts]):
        raise ImageSetError(
            f"{path} holds {len(found)} images from {found[:1]}, expected {len(wanted)} from {wanted[:1]}"
        )
    return rows
