"""What SDXL is conditioned on."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from swd.backbones.base import Condition

TIME_IDS = 6


@dataclass(frozen=True, slots=True)
class SDXLCondition(Condition):
    """Text and sizes of SDXL, one row per image.

    Attributes:
        prompt_embeds: token embeddings of both text encoders side by side, (B, L, D_text).
        pooled: pooled text embedding of the second, (B, D_pooled).
        time_ids: what the network is told of the image, in pixels, (B, 6): height and width before any resizing, top
            and left of the crop, height and width that it is drawn at. Those of the finished image at every step:
            what is predicted at a lower scale is that image, made smaller.
    """

    knows_size: ClassVar[bool] = True

    prompt_embeds: Tensor
    pooled: Tensor
    time_ids: Tensor

    def __post_init__(self) -> None:
        ranks = self.prompt_embeds.ndim, self.pooled.ndim, self.time_ids.ndim
        rows = {len(self.prompt_embeds), len(self.pooled), len(self.time_ids)}
        if ranks != (3, 2, 2) or len(rows) != 1 or self.time_ids.shape[-1] != TIME_IDS:
            shapes = ", ".join(str(tuple(value.shape)) for value in self.tensors().values())
            raise ValueError(
                f"SDXLCondition needs prompt_embeds (B, L, D), pooled (B, D) and time_ids (B, 6) of one B, got {shapes}"
            )

    def for_image(self, height: int, width: int) -> "SDXLCondition":
        """The same for a finished image of this size, uncropped and never resized."""
        return self.told((height, width), (0, 0), (height, width))

    def told(
        self, original_size: tuple[int, int], crop: tuple[int, int], target_size: tuple[int, int]
    ) -> "SDXLCondition":
        """The same text with other sizes, each (height, width) or (top, left) in pixels."""
        ids = torch.tensor([*original_size, *crop, *target_size], device=self.time_ids.device, dtype=torch.float32)
        return replace(self, time_ids=ids.expand(len(self), -1))
