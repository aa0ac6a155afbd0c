"""Image files: read as 8-bit RGB, or refused with a reason. The one reader of training images and of measured ones.

| file | becomes |
|---|---|
| RGB, grey, palette of opaque colours, opaque alpha | RGB |
| 16 bits a channel | RGB of the high bytes |
| transparent: alpha, a transparent colour of a palette, or one of RGB or grey | RGB over white, `BACKGROUND` |
| turned by EXIF | RGB as a viewer shows it |
| missing, empty, truncated, no image, several frames | refused |
| CMYK, 32-bit | refused: what colours were meant is not in the file |
| TIFF, GIF and all formats but `FORMATS` | refused; no other decoder is ever tried |
| more pixels or bytes than the limits | refused before it is decoded |

White is what most viewers and documents show behind an image; the colours that a file keeps under transparent pixels
are nobody's choice and do not show.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
FORMATS = ("PNG", "WEBP", "JPEG")
BACKGROUND = (255, 255, 255)  # what transparent pixels are laid on
_ORIENTATION = 0x0112  # EXIF
_ON_ITS_SIDE = range(5, 9)  # values of it that swap width and height


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
    with _readable(path, limits) as stream:
        return stream.read()


def image_size(path: Path, *, limits: Limits = LIMITS) -> tuple[int, int]:
    """Width and height of what `read_image` gives, by the header alone: nothing is decoded.

    Raises:
        ImageFileError: the header shows what `read_image` would refuse; damage shows later.
    """
    with _readable(path, limits) as stream, _opened(stream, path.stat().st_size, limits) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


def is_plain(path: Path, *, limits: Limits = LIMITS) -> bool:
    """Whether every reader takes a file for what `read_image` gives: 8-bit RGB or grey, opaque, not turned.

    Raises:
        ImageFileError: as `image_size`.
    """
    with _readable(path, limits) as stream, _opened(stream, path.stat().st_size, limits) as image:
        opaque = image.mode in ("RGB", "L") and not image.has_transparency_data
        return opaque and _orientation(image) in (None, 1)


def decode_image(data: bytes, *, limits: Limits = LIMITS) -> Image.Image:
    """The bytes of an image file as 8-bit RGB.

    Raises:
        ImageFileError: as `read_image`.
    """
    with _opened(io.BytesIO(data), len(data), limits) as image:
        image.load()
        return _rgb(ImageOps.exif_transpose(image))


@contextmanager
def _readable(path: Path, limits: Limits) -> Iterator[IO[bytes]]:
    try:
        size = path.stat().st_size
        if size == 0:
            raise ImageFileError("empty file")
        if size > limits.file_bytes:
            raise ImageFileError(f"too large: {size:,} bytes, at most {limits.file_bytes:,}")
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise ImageFileError("no such file") from error
    except OSError as error:
        raise ImageFileError(f"cannot be read: {error.strerror or error}") from error


@contextmanager
def _opened(stream: IO[bytes], size: int, limits: Limits) -> Iterator[Image.Image]:
    """The image of a stream of that many bytes whose header is right; what decoders raise becomes one error."""
    try:
        with Image.open(stream, formats=FORMATS) as image:
            _check_header(image, limits)
            yield image
    except ImageFileError:
        raise
    except UnidentifiedImageError as error:
        raise ImageFileError(f"no {', '.join(FORMATS)} image in {size} bytes") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageFileError(f"too large: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError) as error:  # of decoders, on torn data
        raise ImageFileError(f"truncated or damaged: {error}") from error


def _check_header(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.pixels:
        raise ImageFileError(f"too large: {width} x {height} pixels, at most {limits.pixels:,}")
    if getattr(image, "n_frames", 1) > 1:
        raise ImageFileError("several frames")
    if image.mode in {"CMYK", "YCCK"}:
        raise ImageFileError("CMYK, whose colours depend on a printer: save it as RGB")
    if image.mode not in MODES and not image.mode.startswith("I;16"):
        raise ImageFileError(f"mode {image.mode} has no 8-bit colours: save it as RGB")


def _orientation(image: Image.Image) -> int | None:
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would look for it behind the pixels
        return None
    found = image.getexif().get(_ORIENTATION)
    return found if isinstance(found, int) else None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _of_deep_grey(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image)
    return image.convert("RGB")


def _of_deep_grey(image: Image.Image) -> Image.Image:
    """Of 16 bits a channel; one of the greys may be marked as transparent."""
    values, clear = np.asarray(image), image.info.get("transparency")
    levels = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    if clear is not None:
        levels[values == clear] = BACKGROUND
    return Image.fromarray(levels)
