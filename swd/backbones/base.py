"""What every backbone looks like to the method: a map from (x_t, sigma, text) to x0, with features on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from swd.flow import NoiseProcess
from swd.sampler import X0Predictor


@dataclass(frozen=True, slots=True)
class TextCondition:
    """What the SD3 family is conditioned on, one row per image.

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

    def __len__(self) -> int:
        return len(self.prompt_embeds)

    def __getitem__(self, index: slice | Tensor | list[int]) -> Self:
        """Rows chosen by a slice, a list or an index tensor."""
        return type(self)(self.prompt_embeds[index], self.pooled[index])

    @property
    def device(self) -> torch.device:
        """Where the embeddings are."""
        return self.prompt_embeds.device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Both tensors moved and cast."""
        return type(self)(*(x.to(device=device, dtype=dtype) for x in (self.prompt_embeds, self.pooled)))

    def repeat(self, n: int) -> Self:
        """Each row ``n`` times in a row: a, a, b, b for n = 2."""
        return type(self)(self.prompt_embeds.repeat_interleave(n, 0), self.pooled.repeat_interleave(n, 0))

    def expand_to(self, batch: int) -> Self:
        """One condition for a whole batch (no copy); a batch of the right size is itself.

        Raises:
            ValueError: when there are neither 1 nor ``batch`` rows.
        """
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise ValueError(f"cannot expand {len(self)} conditions to a batch of {batch}: need 1 or {batch}")
        return type(self)(self.prompt_embeds.expand(batch, -1, -1), self.pooled.expand(batch, -1))

    @staticmethod
    def cat(parts: Sequence["TextCondition"]) -> "TextCondition":
        """Rows of all parts, in order."""
        embeds, pooled = [part.prompt_embeds for part in parts], [part.pooled for part in parts]
        return TextCondition(torch.cat(embeds), torch.cat(pooled))


class Denoiser(X0Predictor[TextCondition], Protocol):
    """What training needs beyond what the sampler needs: the noise process, and features on the way to ``x0``.

    Attributes:
        process: what ``x_t`` is.
        num_blocks: transformer blocks that can be tapped.
        inner_dim: D of the token features.
    """

    process: NoiseProcess
    num_blocks: int
    inner_dim: int

    def features(self, x_t: Tensor, sigma: Tensor, cond: TextCondition, blocks: Sequence[int]) -> list[Tensor]:
        """Token features (B, N, D) after each chosen block; blocks after the last chosen one do not run."""
        ...

    def with_features(
        self, x_t: Tensor, sigma: Tensor, cond: TextCondition, blocks: Sequence[int], *, detach: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """``x0`` and features of one whole pass.

        Args:
            x_t: noisy latents, (B, C, H, W).
            sigma: noise levels, (B,).
            cond: text condition, B rows or one.
            blocks: those whose features are wanted.
            detach: the features alone carry gradients; blocks after the last chosen one record no graph.
        """
        ...
