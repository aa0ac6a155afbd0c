"""Image files as what a cache encodes: their keys, and their pixels as tensors."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from swd.data.shards import key_of
from swd.errors import CacheError
from swd.files import write_json
from swd.images import LIMITS, ImageFileError, decode_image, image_size, read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MEMORY = "files.json"
State = list[int]  # size, and times of the last change to content and to the file, in nanoseconds
Memory = dict[str, tuple[State, str]]  # by the name of a file: its state, and its key


def file_keys(folder: Path, names: Sequence[str], memory: Memory) -> Memory:
    """State and key of every image file: the SHA-256 of its bytes.

    A file of the same size and times as when it was last read is not read again.

    Args:
        folder: of the files.
        names: of the files in it.
        memory: what this gave before.

    Raises:
        CacheError: a file is unreadable, empty or too large; the message names it.
    """

    def found(name: str) -> tuple[State, str]:
        path = folder / name
        state = _state(path)
        known = memory.get(name)
        return (state, known[1]) if known is not None and known[0] == state else (state, key_of(_bytes(path)))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # reading and hashing let go of the interpreter
        each = pool.map(found, names)
        return dict(zip(names, tqdm(each, "reading images", len(names), delay=2, unit=" images"), strict=True))


def read_memory(cache: Path) -> Memory:
    """What `file_keys` gave for the cache in a folder; nothing where that is not there, or damaged."""
    try:
        values = json.loads((cache / MEMORY).read_text(encoding="utf-8"))
        return {str(name): ([int(number) for number in state], str(key)) for name, (state, key) in values.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def keep_memory(cache: Path, memory: Memory) -> None:
    """Write what `file_keys` gave into the folder of a cache.

    Raises:
        OutputFolderError: it cannot be written.
    """
    write_json(cache / MEMORY, memory)


class ImageFiles(Sequence["Tensor"]):
    """Image files as (3, side, side) tensors in [-1, 1], decoded when asked for; larger ones are area-downscaled.

    Args:
        files: of images.
        side: in pixels.
        keys: what `file_keys` found of each: a file that has been replaced since is refused; None compares nothing.
    """

    def __init__(self, files: Sequence[Path], side: int, *, keys: Sequence[str] | None = None) -> None:
        if keys is not None and len(keys) != len(files):
            raise ValueError(f"{len(files)} files need as many keys, got {len(keys)}")
        self._files, self._side, self._keys = files, side, keys

    def __len__(self) -> int:
        """Number of files."""
        return len(self._files)

    def __iter__(self) -> Iterator["Tensor"]:
        """Images in order."""
        return (self[index] for index in range(len(self)))

    def check(self, numbers: Iterable[int]) -> None:
        """Look at the headers of some files, so that a bad one is found before the first is encoded.

        Raises:
            CacheError: one is unreadable, or smaller than the largest scale; the first is named.
        """
        for number in numbers:
            path = self._files[number]
            try:
                size = image_size(path)
            except ImageFileError as error:
                raise CacheError(f"{path} cannot be read as an image: {error}") from error
            if min(size) < self._side:
                need = f"{self._side} x {self._side}"
                raise CacheError(f"{path} is {size[0]} x {size[1]} pixels, the largest scale needs {need}")

    def __getitem__(self, index: int) -> "Tensor":  # type: ignore[override]  # nobody slices files
        """One image.

        Raises:
            CacheError: unreadable, or not the file of its key.
        """
        from torchvision.transforms.functional import pil_to_tensor

        from swd.resize import downscale_area

        path = self._files[index]
        data = _bytes(path)
        if self._keys is not None and key_of(data) != self._keys[index]:
            raise CacheError(f"{path} was replaced since it was first read: run the same command again")
        try:
            image = _centre_square(decode_image(data))
        except ImageFileError as error:
            raise CacheError(f"{path} cannot be read as an image: {error}") from error
        pixels = pil_to_tensor(image)[None] / 127.5 - 1
        return downscale_area(pixels, (self._side, self._side))[0]


def _centre_square(image: "Image") -> "Image":
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _state(path: Path) -> State:
    try:
        found = path.stat()
    except OSError as error:
        raise CacheError(f"cannot read {path}: {error.strerror or error}") from error
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path, LIMITS)
    except ImageFileError as error:
        raise CacheError(f"{path} cannot be read as an image: {error}") from error
