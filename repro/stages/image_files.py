"""Image files as the world has them, read by `swd.images`; written so that no torn file counts."""

import errno
import hashlib
import io
import os
from pathlib import Path

from PIL import Image

from repro.harness.files import on_disk
from repro.harness.profile import Encoding
from swd.images import FORMATS, LIMITS, ImageFileError, Limits, decode_image, read_bytes, read_image

__all__ = [
    "FORMATS",
    "LIMITS",
    "ImageFileError",
    "Limits",
    "decode_image",
    "digest_bytes",
    "encode_image",
    "read_bytes",
    "read_image",
    "write_once",
]
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def encode_image(image: Image.Image, encoding: Encoding) -> bytes:
    """A file that gives back every pixel: PNG, or WebP without loss."""
    stream = io.BytesIO()
    if encoding == "webp":
        image.save(stream, format="WEBP", lossless=True, exact=True)
    else:
        image.save(stream, format="PNG")
    return stream.getvalue()


def write_once(path: Path, data: bytes) -> None:
    """Write a file that must not change any more: a whole file of that name, by whoever wrote it first, stays.

    The bytes are on the disk before the name is, and a name is never taken from another's file: a worker that was
    taken for dead and wakes up changes nothing. Where the file system has no hard links, a rename replaces the file.

    Raises:
        OSError: the disk is full, or the folder cannot be written; nothing is left behind.
    """
    with on_disk(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            temporary.replace(path)


def digest_bytes(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()
