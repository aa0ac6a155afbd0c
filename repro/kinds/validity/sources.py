"""Images of known quality for prompts: real ones, and real ones made worse in one way."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repro.kinds.validity.declare import Condition
from repro.metrics.base import Prompt, levels, pictures
from repro.stages.image_files import read_image
from repro.worlds.base import Through, World
from swd.resize import downscale_area, upscale_bicubic


def real_images(world: World, prompts: Sequence[Prompt]) -> Tensor:
    """The real images behind prompts, uint8 (B, 3, H, W)."""
    return levels(world.real_images(prompts, read_image))


def shown_for(condition: Condition, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Whose real image stands for each prompt in a condition.

    Raises:
        ValueError: all prompts have one caption, and another is asked for.
    """
    if condition.source == "repeat":
        first: dict[str, Prompt] = {}
        return [first.setdefault(str(prompt["caption"]), prompt) for prompt in prompts]
    return others(prompts) if condition.source == "other" else list(prompts)


def others(prompts: Sequence[Prompt]) -> list[Prompt]:
    """For each prompt the next one, around the end, of another caption and the same kind.

    Raises:
        ValueError: there is none.
    """
    found: list[Prompt] = []
    for index, prompt in enumerate(prompts):
        later = (prompts[(index + step) % len(prompts)] for step in range(1, len(prompts)))
        other = next((p for p in later if p["caption"] != prompt["caption"] and p["kind"] == prompt["kind"]), None)
        if other is None:
            raise ValueError(f"no prompt of kind {prompt['kind']} has another caption than {prompt['caption']!r}")
        found.append(other)
    return found


def worsened(condition: Condition, images: Tensor, through: Through) -> Tensor:
    """Real images, uint8 (B, 3, H, W), as the condition shows them."""
    if condition.source == "decoded":
        return through(images)
    change = CHANGES.get(condition.source)
    return images if change is None else change(images, condition.amount)


def blurred(images: Tensor, factor: int) -> Tensor:
    """Averaged over squares of ``factor`` pixels, and bicubic back."""
    height, width = images.shape[-2:]
    small = downscale_area(images / 127.5 - 1, (height // factor, width // factor))
    return levels(upscale_bicubic(small, (height, width)))


def compressed(images: Tensor, quality: int) -> Tensor:
    """Through JPEG of a quality of 1 to 95, and back."""
    found = []
    for picture in pictures(images):
        stream = BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        found.append(torch.from_numpy(np.array(Image.open(stream).convert("RGB"))))
    return torch.stack(found).permute(0, 3, 1, 2).contiguous()


CHANGES: Mapping[str, Callable[[Tensor, int], Tensor]] = MappingProxyType({"blur": blurred, "jpeg": compressed})
