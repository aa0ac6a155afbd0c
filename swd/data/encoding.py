"""From a batch of images or prompts to what a shard holds of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from swd.backbones import backbone_of
from swd.backbones.base import Condition
from swd.data.layout import CacheIndex, deviation_key, lower_key
from swd.data.shards import Shard
from swd.errors import CacheError
from swd.resize import downscale_area


def prompt_encoder(
    pipeline: Any, index: CacheIndex, token_length: int, device: torch.device
) -> Callable[[list[str]], Condition]:
    """Prompts to a condition as a cache holds it, by the text encoders of a pipeline.

    Args:
        pipeline: of a known backbone; its text encoders and tokenizers are used.
        index: of the cache; its dtype counts.
        token_length: of the text encoder whose length can be chosen.
        device: where the text encoders are.
    """

    def encode(prompts: list[str]) -> Condition:
        try:
            cond: Condition = backbone_of(pipeline).encode_prompts(
                pipeline, prompts, token_length=token_length, device=device
            )
        except ValueError as error:
            raise CacheError(f"the pipeline cannot encode the prompts: {error}") from error
        side = max(index.scales) * pipeline.vae_scale_factor
        return cond.for_image(side, side).to(dtype=getattr(torch, index.dtype))

    return encode


class BatchEncoder:
    """The pipeline's VAE and text encoders as plain functions of a batch."""

    def __init__(self, pipeline: Any, index: CacheIndex, batch_size: int, token_length: int) -> None:
        self.pipeline, self.index, self.batch_size = pipeline, index, batch_size
        self.backbone = backbone_of(pipeline)
        self._token_length = token_length
        self._dtype = getattr(torch, index.dtype)

    @torch.no_grad()
    def latents(self, images: Tensor) -> Shard:
        """Latents at every side, and at the lower side of every pair, of images (B, 3, H, W)."""
        pixels = {side: self._downscale(images, side) for side in self.index.scales}
        shard: Shard = {}
        for side in self.index.scales:
            shard |= self._encode(pixels[side], lower_key(side, side))
        for low, side in self.index.pairs:
            shard |= self._encode(self._downscale(pixels[side], low), lower_key(low, side))
        return shard

    def prompts(self, prompts: list[str]) -> Shard:
        """Embeddings of prompts, as the pipeline itself would make them."""
        return self.condition(prompts).to("cpu").tensors()

    def condition(self, prompts: list[str]) -> Condition:
        """The same as a condition, where the text encoders are."""
        encode = prompt_encoder(self.pipeline, self.index, self._token_length, self.pipeline.vae.device)
        return encode(prompts)

    def image_bytes(self) -> int:
        """Size of one image in its shard: latents at every side and pair, and the number of its prompt."""
        pixels = sum(side**2 for side in self.index.scales) + sum(low**2 for low, _ in self.index.pairs)
        numbers = self.pipeline.vae.config.latent_channels * pixels * (2 if self.index.moments else 1)
        size: int = numbers * self._dtype.itemsize + torch.int64.itemsize
        return size

    def prompt_bytes(self) -> int:
        """Size of one prompt in its shard, the same for all: found by encoding the empty one."""
        return sum(value.nbytes for value in self.prompts([""]).values())

    def _downscale(self, images: Tensor, side: int) -> Tensor:
        pixels = side * self.pipeline.vae_scale_factor
        return downscale_area(images, (pixels, pixels))

    def _encode(self, images: Tensor, key: str) -> Shard:
        found = self.backbone.encode_images(self.pipeline.vae, images)
        shard = {key: found.mode.to("cpu", self._dtype)}
        if self.index.moments:
            shard[deviation_key(key)] = found.deviation.to("cpu", self._dtype)
        return shard
