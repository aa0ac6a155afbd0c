"""What the SD3 family is conditioned on."""

from dataclasses import dataclass

from torch import Tensor

from swd.backbones.base import Condition


@dataclass(frozen=True, slots=True)
class TextCondition(Condition):
    """Text of the SD3 family, one row per image.

    Attributes:
        prompt_embeds: token embeddings of the text encoders, (B, L, D_text).
        pooled: pooled text embedding, (B, D_pooled).
    """

    prompt_embeds: Tensor
    pooled: Tensor

    def __post_init__(self) -> None:
        if self.prompt_embeds.ndim != 3 or self.pooled.ndim != 2 or len(self.prompt_embeds) != len(self.pooled):
            shapes = f"{tuple(self.prompt_embeds.shape)} and {tuple(self.pooled.shape)}"
            raise ValueError(f"TextCondition needs prompt_embeds (B, L, D) and pooled (B, D) of one B, got {shapes}")
