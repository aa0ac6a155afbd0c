"""Pairs with known answers, made of a study's images: one beside a copy that is plainly worse in one respect.

| criterion | beside the image stands |
|---|---|
| relevance | the image of the prompt that shares the fewest words |
| defects | the image with squares of it moved elsewhere |
| aesthetics | the image dark and grey |
| complexity | the image without detail |

They suit most images, not all: whoever runs the study looks at them before it starts.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter

from repro.harness.votes.vote import Criterion
from repro.worlds.prompts import PromptEntry
from swd.images import read_image

GRID = 6  # squares to a side


def broken(image: Image.Image, rng: random.Random) -> Image.Image:
    """A third of its squares stand elsewhere."""
    width, height = image.width // GRID, image.height // GRID
    places = [(column * width, row * height) for column in range(GRID) for row in range(GRID)]
    chosen = rng.sample(places, len(places) // 3)
    result = image.copy()
    for place, source in zip(chosen, chosen[1:] + chosen[:1], strict=True):
        result.paste(image.crop((*source, source[0] + width, source[1] + height)), place)
    return result


def dull(image: Image.Image, _: random.Random) -> Image.Image:
    """Dark, with little colour and contrast."""
    grey = ImageEnhance.Color(image).enhance(0.15)
    return ImageEnhance.Brightness(ImageEnhance.Contrast(grey).enhance(0.4)).enhance(0.5)


def empty(image: Image.Image, _: random.Random) -> Image.Image:
    """Without what is finer than a tenth of its side."""
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 10))


SPOILT: Mapping[Criterion, Callable[[Image.Image, random.Random], Image.Image]] = {
    "defects": broken,
    "aesthetics": dull,
    "complexity": empty,
}


def worse(
    criterion: Criterion, entry: PromptEntry, prompts: list[PromptEntry], images: Mapping[str, Path], rng: random.Random
) -> Image.Image:
    """What stands beside the image of a prompt.

    Args:
        criterion: in which it is worse.
        entry: the prompt.
        prompts: all of the study, at least two.
        images: an image file of each, by id.
        rng: of what is spoilt.
    """
    image = read_image(images[entry.id])
    if criterion != "relevance":
        return SPOILT[criterion](image, rng)
    words = set(entry.caption.lower().split())
    others = [other for other in prompts if other.id != entry.id]
    furthest = min(others, key=lambda other: (len(words & set(other.caption.lower().split())), rng.random()))
    return read_image(images[furthest.id]).resize(image.size)
