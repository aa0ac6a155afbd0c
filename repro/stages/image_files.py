"""Image files as the world has them: read as 8-bit RGB, or refused with a reason; written so that no torn file counts.

| file | becomes |
|---|---|
| RGB, grey, palette of opaque colours, opaque alpha | RGB |
| 16 bits a channel | RGB of the high bytes |
| turned by EXIF | RGB as a viewer shows it |
| missing, empty, truncated, no image, several frames | refused |
| CMYK, transparent, 32-bit | refused: what colours were meant is not in the file |
| more pixels or bytes than the limits | refused before it is decoded |

Only the decoders of `FORMATS` are ever tried.
"""

import errno
import hashlib
import io
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "WEBP", "JPEG")
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
Encoding = Literal["png", "webp"]


class ImageFileError(ValueError):
    """A file is no image that can be measured; the message says why, without the file's name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be, so that a decompression bomb is never decoded.

    Attributes:
        pixels: width times height.
        file_bytes: size of the file.
    """

    pixels: int = 64 * 2**20
    file_bytes: int = 256 * 2**20


LIMITS = Limits()


def read_image(path: Path, *, limits: Limits = LIMITS) -> Image.Image:
    """An image file as 8-bit RGB.

    Raises:
        ImageFileError: it is not one, or not in a form that has one meaning; says why.
    """
    return decode_image(read_bytes(path, limits), limits=limits)


def read_bytes(path: Path, limits: Limits) -> bytes:
    """The bytes of a file that is neither empty nor too large.

    Raises:
        ImageFileError: it is, or it cannot be read.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise ImageFileError("empty file")
        if size > limits.file_bytes:
            raise ImageFileError(f"too large: {size:,} bytes, at most {limits.file_bytes:,}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageFileError("no such file") from error
    except OSError as error:
        raise ImageFileError(f"cannot be read: {error.strerror or error}") from error


def decode_image(data: bytes, *, limits: Limits = LIMITS) -> Image.Image:
    """The bytes of an image file as 8-bit RGB.

    Raises:
        ImageFileError: as `read_image`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, limits)
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except ImageFileError:
        raise
    except UnidentifiedImageError as error:
        raise ImageFileError(f"no {', '.join(FORMATS)} image in {len(data)} bytes") from error
    except Image.DecompressionBombError as error:
        raise ImageFileError(f"too large: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # what the decoders raise on torn data
        raise ImageFileError(f"truncated or damaged: {error}") from error


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
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def digest_bytes(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _check_header(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.pixels:
        raise ImageFileError(f"too large: {width} x {height} pixels, at most {limits.pixels:,}")
    if getattr(image, "n_frames", 1) > 1:
        raise ImageFileError("several frames")
    if image.mode in {"CMYK", "YCCK"}:
        raise ImageFileError("CMYK, whose colours depend on a printer: save it as RGB")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}:
        raise ImageFileError(f"mode {image.mode} has no 8-bit colours: save it as RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        lowest = int(np.asarray(image.getchannel("A")).min())
        if lowest < 255:
            raise ImageFileError(f"transparent (alpha down to {lowest}), and no background is given: save it as RGB")
    return image.convert("RGB")
