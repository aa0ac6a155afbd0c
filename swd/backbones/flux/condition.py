"""What the FLUX family is conditioned on."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from swd.backbones.base import Condition


@dataclass(frozen=True, slots=True)
class FluxCondition(Condition):
    """Text and guidance of the FLUX family, one row per image.

    FLUX.1-dev was distilled from a guided model and takes the scale as a number, so guidance is a condition as text is:
    one evaluation, never a doubled batch. FLUX.1-schnell takes none, and does not look at it.

    Attributes:
        prompt_embeds: token embeddings of T5, (B, L, D_text).
        pooled: pooled text embedding of CLIP, (B, D_pooled).
        guidance: guidance scale, (B,).
    """

    prompt_embeds: Tensor
    pooled: Tensor
    guidance: Tensor

    def __post_init__(self) -> None:
        rows = {len(self.prompt_embeds), len(self.pooled), len(self.guidance)} if self.guidance.ndim else set()
        if self.prompt_embeds.ndim != 3 or self.pooled.ndim != 2 or self.guidance.ndim != 1 or len(rows) != 1:
            shapes = ", ".join(str(tuple(value.shape)) for value in self.tensors().values())
            raise ValueError(
                f"FluxCondition needs prompt_embeds (B, L, D), pooled (B, D) and guidance (B,) of one B, got {shapes}"
            )

    @classmethod
    def of(cls, prompt_embeds: Tensor, pooled: Tensor, guidance_scale: float) -> Self:
        """One guidance scale for all rows, in float32."""
        guidance = torch.full((len(pooled),), guidance_scale, device=pooled.device, dtype=torch.float32)
        return cls(prompt_embeds, pooled, guidance)

    def with_guidance(self, guidance_scale: float) -> Self:
        """The same text under another guidance scale."""
        return replace(self, guidance=torch.full_like(self.guidance, guidance_scale))
