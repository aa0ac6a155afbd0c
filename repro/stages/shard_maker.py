"""Makes the shards of an image set: images written one by one, the manifest last."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import disk_usage
from typing import Any

from PIL.Image import Image

from repro.harness.files import canonical_json
from repro.harness.needs import BYTES_PER_PIXEL
from repro.harness.profile import Encoding
from repro.metrics.base import Prompt
from repro.stages.image_files import (
    LIMITS,
    ImageFileError,
    decode_image,
    digest_bytes,
    encode_image,
    read_bytes,
    write_once,
)
from repro.stages.image_sets import (
    READERS,
    ImageSet,
    ImageSetError,
    manifest_path,
    read_manifest,
    write_manifest,
)
from repro.stages.store import INPUTS, MARKER, tell

OLD_SECONDS = 24 * 3600.0  # a temporary file of this age is nobody's any more


@dataclass(frozen=True, slots=True)
class Unusable:
    """In place of an image that came out broken: it is recorded, and not measured."""

    reason: str


Generate = Callable[[Sequence[Prompt]], Sequence[Image | Unusable]]
"""From prompts to one image each; image i follows from its caption and seed alone, whatever its batch."""


@dataclass(frozen=True)
class ShardMaker:
    """What a worker does with a shard of an image set.

    Attributes:
        images: the set.
        make: builds the generator, when the first shard needs it.
        batch_size: images at once.
        encoding: of the files.
        side: of an image in pixels; None where it is not known before the first one.
    """

    images: ImageSet
    make: Callable[[], Generate]
    batch_size: int
    encoding: Encoding = "png"
    side: int | None = None

    @cached_property
    def generate(self) -> Generate:
        """The generator."""
        return self.make()

    def check_folder(self) -> None:
        """Refuse a folder of other settings, with files that no image set has, or on a disk without room.

        Raises:
            ImageSetError: names the file, or how much room is missing.
        """
        folder = self.images.folder
        if (folder / INPUTS).read_text() != canonical_json(self.images.inputs) + "\n":
            raise ImageSetError(f"{folder} was begun with other settings, see {INPUTS} there: use another --work")
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        known = {INPUTS, MARKER, *(manifest_path(folder, shard).name for shard in self.images.shards)}
        known |= {self._path(index).name for index in range(len(self.images.prompts))}
        if strangers := sorted(names - known):
            raise ImageSetError(f"{folder} holds files that are not of this image set: {', '.join(strangers[:3])}")
        if self.side is not None:
            self._check_room(self.side**2 * BYTES_PER_PIXEL[self.encoding])

    def done(self, shard: str) -> bool:
        """Whether a shard has its manifest, and every file of it is there in its length."""
        folder = self.images.folder
        try:
            rows = read_manifest(folder, shard, self.images.shards[shard])
        except ImageSetError:
            return False
        return all("skipped" in row or _has_length(folder / row["file"], row["bytes"]) for row in rows)

    def make_shard(self, shard: str) -> None:
        """Generate what is missing of a shard, and write its manifest.

        Raises:
            ImageSetError: the disk has no room for all images that are still to be made.
        """
        self._drop_damaged(shard)
        manifest_path(self.images.folder, shard).unlink(missing_ok=True)  # torn, or its files are gone
        prompts, first = self.images.shards[shard], list(self.images.shards).index(shard) * self.images.shard_size
        rows: list[Mapping[str, Any]] = []
        for start in range(0, len(prompts), self.batch_size):
            rows += self._batch(prompts[start : start + self.batch_size], first + start)
        write_manifest(self.images.folder, shard, rows)

    def is_sound(self, shard: str) -> bool:
        """Whether a shard is done, and every file has the hash of its manifest."""
        return self.done(shard) and not self.images.damaged(shard)

    def sweep(self) -> None:
        """Remove what dead workers left half-written long ago."""
        for path in self.images.folder.glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > OLD_SECONDS:
                    path.unlink()

    def _drop_damaged(self, shard: str) -> None:
        """Remove files that are not those of the shard's manifest, where it has one; says which."""
        with suppress(ImageSetError):
            for path, reason in self.images.damaged(shard):
                if path.exists():
                    tell(f"{path} is damaged ({reason}): it is made again")
                path.unlink(missing_ok=True)

    def _batch(self, prompts: Sequence[Prompt], first: int) -> list[dict[str, Any]]:
        """Manifest rows of one batch.

        A batch that a dead worker finished is kept, never a part of one: a network's rounding depends on the whole.
        """
        paths = [self._path(first + place) for place in range(len(prompts))]
        kept = [_described(path) for path in paths]
        if None in kept:
            made = self.generate(prompts)
            with ThreadPoolExecutor(READERS) as workers:  # a PNG of 1024 px takes a fifth of a second
                files = list(workers.map(self._encoded, made))
                self._check_first([len(data) for data in files if isinstance(data, bytes)])
                kept = list(workers.map(_stored, paths, files))
        return [_who(prompt) | (row or {}) for prompt, row in zip(prompts, kept, strict=True)]

    def _encoded(self, image: Image | Unusable) -> bytes | Unusable:
        return image if isinstance(image, Unusable) else encode_image(image, self.encoding)

    def _check_first(self, sizes: Sequence[int]) -> None:
        """The estimate again, from the files of the first batch; asked once."""
        if "_room" not in self.__dict__ and sizes:
            self.__dict__["_room"] = True
            self._check_room(sum(sizes) / len(sizes))

    def _check_room(self, image_bytes: float) -> None:
        """Whether all images that are missing fit on the disk."""
        missing = sum(len(part) for shard, part in self.images.shards.items() if not self.done(shard))
        needed, free = int(missing * image_bytes), disk_usage(self.images.folder).free
        if needed > free:
            raise ImageSetError(
                f"{self.images.folder}: {missing:,} more images need about {needed:,} bytes, {free:,} are free"
            )

    def _path(self, index: int) -> Path:
        return self.images.folder / f"{index:06d}.{self.encoding}"


def _who(prompt: Prompt) -> dict[str, Any]:
    return {"id": prompt["id"], "caption": prompt["caption"], "seed": prompt["seed"]}


def _stored(path: Path, data: bytes | Unusable) -> dict[str, Any]:
    return {"skipped": data.reason} if isinstance(data, Unusable) else _written(path, data)


def _written(path: Path, data: bytes) -> dict[str, Any]:
    """Write an image where there is no whole one, and describe what lies there."""
    if (found := _described(path)) is not None:
        return found
    path.unlink(missing_ok=True)  # torn
    write_once(path, data)
    if (found := _described(path)) is None:
        raise ImageSetError(f"{path} cannot be read back")
    return found


def _described(path: Path) -> dict[str, Any] | None:
    """The manifest's words on a whole image file; None where there is none."""
    try:
        data = read_bytes(path, LIMITS)
        width, height = decode_image(data).size
    except ImageFileError:
        return None
    return {
        "file": path.name,
        "bytes": len(data),
        "sha256": digest_bytes(data),
        "width": width,
        "height": height,
    }


def _has_length(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
