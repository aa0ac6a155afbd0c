"""Image files of all kinds: converted where they have one meaning, refused by name where not, and never torn."""

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repro.stages import image_files
from repro.stages.external_scores import _plain
from repro.stages.image_files import ImageFileError, Limits, decode_image, encode_image, read_image, write_once
from repro.study.errors import StudyError
from repro.study.folders import Pair, check_images
from repro.worlds import sources
from swd.data.image_files import ImageFiles, file_keys
from swd.errors import CacheError
from swd.images import image_size, is_plain

LEVELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
RGB = Image.fromarray(LEVELS)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG written out by hand (RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


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


@pytest.mark.parametrize(("orientation", "turned"), [(3, np.rot90(LEVELS, 2)), (6, np.rot90(LEVELS, -1))])
@pytest.mark.parametrize("ending", ["png", "webp"])
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int, turned: np.ndarray, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation  # 6: to be turned by 90 degrees clockwise
    path = saved(tmp_path / f"turned.{ending}", RGB, exif=exif, lossless=True)
    np.testing.assert_array_equal(np.asarray(read_image(path)), turned)
    assert image_size(path) == (turned.shape[1], turned.shape[0])
    assert not is_plain(path)


def laid_on_white(levels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[..., None] / 255
    return levels * weight + 255 * (1 - weight)


def test_transparent_pixels_show_white_and_not_the_colours_below(tmp_path: Path) -> None:
    alpha = np.random.default_rng(2).integers(0, 256, (6, 5), dtype=np.uint8)
    alpha[0] = 0
    for image, opaque in ((RGB, LEVELS), (RGB.convert("L"), np.asarray(RGB.convert("L"))[..., None].repeat(3, -1))):
        path = tmp_path / "glass.png"
        glass = image.copy()
        glass.putalpha(Image.fromarray(alpha))
        read = np.asarray(read_image(saved(path, glass)))
        np.testing.assert_allclose(read, laid_on_white(opaque, alpha), atol=1)
        np.testing.assert_array_equal(read[0], 255)
        assert not is_plain(path)


def test_a_transparent_colour_of_a_palette_shows_white(tmp_path: Path) -> None:
    palette = RGB.quantize(4)
    read = np.asarray(read_image(saved(tmp_path / "palette.png", palette, transparency=1)))
    clear = np.asarray(palette) == 1
    expected = np.where(clear[..., None], 255, np.asarray(palette.convert("RGB")))
    assert 0 < clear.sum() < clear.size
    np.testing.assert_array_equal(read, expected)


def test_a_transparent_grey_of_16_bits_shows_white(tmp_path: Path) -> None:
    values = np.array([[300, 700], [44_000, 700]], dtype=">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    (tmp_path / "deep.png").write_bytes(png(2, 2, 16, 0, rows, (b"tRNS", struct.pack(">H", 700))))
    read = np.asarray(read_image(tmp_path / "deep.png"))
    np.testing.assert_array_equal(read[..., 0], [[1, 255], [171, 255]])


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (RGB.convert("CMYK"), {"format": "JPEG"}, "CMYK, whose colours depend on a printer: save it as RGB"),
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


def test_a_training_image_that_was_replaced_since_its_key_was_taken_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.png", RGB)
    keys = [key for _, key in file_keys(tmp_path, [path.name], {}).values()]
    images = ImageFiles([path], side=5, keys=keys)
    assert images[0].shape == (3, 5, 5)
    saved(path, RGB.rotate(180))
    with pytest.raises(CacheError, match=r"image.png was replaced since it was first read: run the same command again"):
        images[0]
    assert ImageFiles([path], side=5)[0].shape == (3, 5, 5)
    with pytest.raises(ValueError, match="1 files need as many keys, got 2"):
        ImageFiles([path], side=5, keys=keys * 2)


def test_a_bomb_among_training_images_is_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb.png").write_bytes(png(9_000, 9_000, 8, 0, b"\0" * 1000))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    images = ImageFiles([tmp_path / "bomb.png"], side=4)
    with pytest.raises(CacheError, match=r"bomb.png cannot be read .*9000 x 9000 pixels, at most"):
        images.check([0])
    with pytest.raises(CacheError, match=r"bomb.png cannot be read .*9000 x 9000 pixels, at most"):
        images[0]


SQUARE = encode_image(RGB.resize((16, 16)), "png")
TEXT = b"comment\0\0" + zlib.compress(bytes(3 * 2**20))
BROKEN = {  # by what is wrong with it: a file, and what is said of it
    "empty": (b"", "empty file"),
    "words": (b"no image", "no PNG, WEBP, JPEG image in 8 bytes"),
    "torn": (SQUARE[:-40], "truncated or damaged"),
    "checksum": (SQUARE[:-30] + bytes([SQUARE[-30] ^ 1]) + SQUARE[-29:], "truncated or damaged"),
    "header": (SQUARE[:24] + b"\x63" + SQUARE[25:], "no PNG, WEBP, JPEG image|truncated or damaged"),
    "text": (png(16, 16, 8, 0, bytes(16 * 17), (b"zTXt", TEXT)), "truncated or damaged: .*too large"),
    "bomb": (png(16_384, 16_384, 8, 0, bytes(1000)), r"too large: .*268435456 pixels"),
    "frames": (b"", "several frames"),
    "pipe": (b"", "empty file"),
}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder of one good image, and one of every broken kind."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for name, (data, _) in BROKEN.items():
        (folder / f"{name}.png").write_bytes(data)
    RGB.save(folder / "frames.png", save_all=True, append_images=[RGB.rotate(180)])
    (folder / "pipe.png").unlink()
    os.mkfifo(folder / "pipe.png")
    (folder / "whole.png").write_bytes(SQUARE)
    return folder


def test_broken_images_of_every_kind_are_named_with_what_is_wrong(broken: Path) -> None:
    for name, (_, message) in BROKEN.items():
        with pytest.raises(ImageFileError, match=message):
            read_image(broken / f"{name}.png")
        with pytest.raises(CacheError, match=f"{name}.png cannot be read as an image: ({message})"):
            ImageFiles([broken / f"{name}.png"], side=4)[0]
        with pytest.raises(StudyError, match=f"{name}.png: ({message})"):
            check_images([Pair(broken / f"{name}.png", broken / "whole.png")])


SEEDS = [  # whole files, to be damaged
    encode_image(RGB, "png"),
    encode_image(RGB.convert("RGBA"), "webp"),
    png(5, 6, 16, 0, bytes(6 * 11), (b"tRNS", b"\0\1"), (b"eXIf", b"II*\0\x08\0\0\0")),
    png(5, 6, 8, 3, bytes(6 * 6), (b"PLTE", bytes(range(12))), (b"zTXt", b"a\0\0" + zlib.compress(b"text"))),
]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # of Pillow
@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=150)
def test_any_damage_is_read_as_rgb_or_refused_in_our_words(whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for found in (bytes(damaged), whole[:cut], whole[cut:] + whole):
        with suppress(ImageFileError):
            assert decode_image(found).mode == "RGB"


def test_a_figure_skips_broken_images_of_every_kind_and_counts_them(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sources.folder(broken, 8, 100)
    assert (found.count, found.skipped) == (1, len(BROKEN))
    assert f"warning: {len(BROKEN)} of {len(BROKEN) + 1} images are skipped: " in capsys.readouterr().err
    expected = torch.from_numpy(np.array(RGB.resize((16, 16)))).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(found.image(0), F.avg_pool2d(expected, 2))
    saved(broken / "whole.png", RGB)
    with pytest.raises(CacheError, match=r"whole.png was replaced since it was first read"):
        found.image(0)


def test_other_programs_get_a_plain_copy_of_what_they_would_misread(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, plain = saved(tmp_path / "t.png", RGB, exif=exif), saved(tmp_path / "p.png", RGB)
    assert _plain(plain, read_image(plain), tmp_path / "copies") == plain
    copy = _plain(turned, read_image(turned), tmp_path / "copies")
    np.testing.assert_array_equal(np.asarray(Image.open(copy)), np.rot90(LEVELS, -1))
    assert _plain(turned, read_image(turned), tmp_path / "copies") == copy
