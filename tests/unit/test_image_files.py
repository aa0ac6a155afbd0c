"""Image files of all kinds: converted where they have one meaning, refused by name where not, and never torn."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repro.stages import image_files
from repro.stages.image_files import ImageFileError, Limits, encode_image, read_image, write_once
from swd.data.image_files import ImageFiles
from swd.errors import CacheError
from swd.images import image_size

LEVELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
RGB = Image.fromarray(LEVELS)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written out by hand (RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_files_give_back_every_pixel(tmp_path: Path, encoding: Any) -> None:
    path = tmp_path / f"image.{encoding}"
    write_once(path, encode_image(RGB, encoding))
    image = read_image(path)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), LEVELS)


def test_grey_palette_and_opaque_alpha_become_rgb(tmp_path: Path) -> None:
    grey = RGB.convert("L")
    read = read_image(saved(tmp_path / "grey.png", grey))
    np.testing.assert_array_equal(np.asarray(read), np.stack([np.asarray(grey)] * 3, -1))
    palette = RGB.quantize(8)
    read = read_image(saved(tmp_path / "palette.png", palette))
    np.testing.assert_array_equal(np.asarray(read), np.asarray(palette.convert("RGB")))
    opaque = RGB.copy()
    opaque.putalpha(255)
    np.testing.assert_array_equal(np.asarray(read_image(saved(tmp_path / "opaque.png", opaque))), LEVELS)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_of_16_bits_the_high_byte_is_kept(tmp_path: Path, colour: int, channels: int) -> None:
    values = np.random.default_rng(1).integers(0, 2**16, (4, 3, channels), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "deep.png").write_bytes(png(3, 4, 16, colour, rows))
    expected = np.broadcast_to(values >> 8, (4, 3, 3))
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "deep.png")), expected)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = saved(tmp_path / "turned.png", RGB, exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.rot90(LEVELS, -1))


def translucent() -> Image.Image:
    image = RGB.copy()
    image.putalpha(Image.fromarray(np.full((6, 5), 128, dtype=np.uint8)))
    return image


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (RGB.convert("CMYK"), {"format": "JPEG"}, "CMYK, whose colours depend on a printer: save it as RGB"),
        (translucent(), {"format": "PNG"}, r"transparent \(alpha down to 128\)"),
        (RGB.quantize(4), {"format": "PNG", "transparency": 0}, r"transparent \(alpha down to 0\)"),
        (RGB, {"format": "GIF"}, "no PNG, WEBP, JPEG image"),
        (RGB, {"format": "PNG", "save_all": True, "append_images": [RGB.rotate(180)]}, "several frames"),
    ],
)
def test_what_has_no_one_meaning_is_refused(tmp_path: Path, image: Image.Image, options: Any, message: str) -> None:
    with pytest.raises(ImageFileError, match=message):
        read_image(saved(tmp_path / "image", image, **options))


@pytest.mark.parametrize(
    ("keep", "message"), [(0, "empty file"), (5, "no PNG, WEBP, JPEG image in 5 bytes"), (100, "truncated or damaged")]
)
@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_torn_files_are_refused(tmp_path: Path, keep: int, message: str, encoding: Any) -> None:
    (tmp_path / "torn").write_bytes(encode_image(RGB.resize((64, 64)), encoding)[:keep])
    with pytest.raises(ImageFileError, match=message if encoding == "png" else f"{message}|no PNG"):
        read_image(tmp_path / "torn")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageFileError, match="cannot be read"):
        read_image(tmp_path)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 x 100,000 pixels in some 100 bytes: nothing of it may be decoded."""
    (tmp_path / "bomb.png").write_bytes(png(100_000, 100_000, 8, 0, b"\0" * 1000))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageFileError, match=r"too large: .*100000 x 100000|too large: .*10000000000 pixels"):
        read_image(tmp_path / "bomb.png")


def test_limits_bound_pixels_and_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.png", RGB)
    size = path.stat().st_size
    assert read_image(path, limits=Limits(pixels=30, file_bytes=size)).size == (5, 6)
    with pytest.raises(ImageFileError, match="5 x 6 pixels, at most 29"):
        read_image(path, limits=Limits(pixels=29))
    with pytest.raises(ImageFileError, match=f"{size} bytes, at most {size - 1}"):
        read_image(path, limits=Limits(file_bytes=size - 1))


def test_the_first_whole_file_of_a_name_stays(tmp_path: Path) -> None:
    write_once(tmp_path / "a", b"first")
    write_once(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_once(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_hard_links_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(image_files.os, "link", refuse)
    write_once(tmp_path / "a", b"data")
    assert (tmp_path / "a").read_bytes() == b"data"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_size_comes_of_the_header_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, printed = saved(tmp_path / "image.png", RGB), saved(tmp_path / "print.jpg", Image.new("CMYK", (4, 4)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert image_size(path) == (5, 6)
    with pytest.raises(ImageFileError, match="CMYK"):
        image_size(printed)
    with pytest.raises(ImageFileError, match="5 x 6 pixels, at most 29"):
        image_size(path, limits=Limits(pixels=29))
    with pytest.raises(ImageFileError, match="no such file"):
        image_size(tmp_path / "missing.png")


def test_training_images_are_read_as_measured_ones_are(tmp_path: Path) -> None:
    """A turned file and one of 16 bits a channel: both once came out wrong without a word."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(tmp_path / "turned.png", Image.fromarray(LEVELS[:5]), exif=exif)
    values = np.full((5, 5), 30_000, dtype=">u2")
    (tmp_path / "deep.png").write_bytes(png(5, 5, 16, 0, b"".join(b"\0" + row.tobytes() for row in values)))
    images = ImageFiles([turned, tmp_path / "deep.png"], side=5)
    images.check(range(2))
    levels = [np.asarray((image.permute(1, 2, 0) + 1) * 127.5).round() for image in images]
    np.testing.assert_array_equal(levels[0], np.rot90(LEVELS[:5], -1))
    np.testing.assert_array_equal(levels[1], np.full((5, 5, 3), 30_000 >> 8))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (RGB.convert("CMYK"), {"format": "JPEG"}, "CMYK, whose colours depend on a printer"),
        (RGB, {"format": "TIFF"}, "no PNG, WEBP, JPEG image"),
        (RGB, {"format": "PNG", "save_all": True, "append_images": [RGB.rotate(180)]}, "several frames"),
    ],
)
def test_training_images_without_one_meaning_are_named_by_their_headers(
    tmp_path: Path, image: Image.Image, options: Any, message: str
) -> None:
    images = ImageFiles([saved(tmp_path / "bad", image, **options)], side=4)
    with pytest.raises(CacheError, match=f"bad cannot be read as an image: {message}"):
        images.check([0])
    with pytest.raises(CacheError, match=f"bad cannot be read as an image: {message}"):
        images[0]


def test_a_bomb_among_training_images_is_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb.png").write_bytes(png(9_000, 9_000, 8, 0, b"\0" * 1000))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    images = ImageFiles([tmp_path / "bomb.png"], side=4)
    with pytest.raises(CacheError, match=r"bomb.png cannot be read .*9000 x 9000 pixels, at most"):
        images.check([0])
    with pytest.raises(CacheError, match=r"bomb.png cannot be read .*9000 x 9000 pixels, at most"):
        images[0]


def test_a_transparent_training_image_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "glass.png", translucent())
    with pytest.raises(CacheError, match=r"glass.png cannot be read .*alpha down to 128"):
        ImageFiles([path], side=4)[0]
