"""Folders of images with their captions, as the cache of latents is made of."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image


def captioned(folder: Path, captions: Sequence[str], images: Iterable[Image.Image], *, ending: str = "png") -> Path:
    folder.mkdir(exist_ok=True)
    names = [f"{number}.{ending}" for number in range(len(captions))]
    for name, image in zip(names, images, strict=True):
        image.save(folder / name)
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in zip(names, captions, strict=True)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def plain(count: int, side: int) -> list[Image.Image]:
    """So many squares, each of one colour."""
    return [Image.new("RGB", (side, side), (60 * number, 90, 200)) for number in range(count)]
