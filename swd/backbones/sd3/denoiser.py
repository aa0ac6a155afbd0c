"""SD3 and SD3.5: a velocity-predicting SD3Transformer2DModel behind the Denoiser interface."""

from collections.abc import Sequence

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from swd.backbones.base import TextCondition
from swd.features import FeatureTap
from swd.flow import FlowMatching


def _image_tokens(block_output: tuple[Tensor, Tensor]) -> Tensor:
    """A JointTransformerBlock returns (text tokens, image tokens)."""
    return block_output[1]


class SD3Denoiser(nn.Module):
    """x0 = x_t - sigma v(x_t, 1000 sigma, text).

    Inputs are cast to the transformer's own dtype; the answer is float32 whatever that dtype is, because sigma is.

    Args:
        transformer: the network; LoRA layers may be injected into it.
        process: noise process that turns its velocity into ``x0``.
    """

    def __init__(self, transformer: SD3Transformer2DModel, process: FlowMatching | None = None) -> None:
        super().__init__()
        self.transformer = transformer
        self.process = process or FlowMatching()
        self.latent_channels: int = transformer.config.in_channels
        self.patch_size: int = transformer.config.patch_size
        self.max_side: int = transformer.config.pos_embed_max_size * self.patch_size
        self.num_blocks: int = transformer.config.num_layers
        self.inner_dim: int = transformer.inner_dim

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the base weights; LoRA weights may be wider."""
        return self.transformer.pos_embed.proj.weight.dtype

    def velocity(self, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        """The raw prediction, noise - x0, (B, C, H, W).

        Raises:
            ValueError: when a latent side is not a multiple of the patch size (the patch convolution would crop it).
        """
        if x_t.shape[-2] % self.patch_size or x_t.shape[-1] % self.patch_size:
            raise ValueError(f"latent sides must be multiples of patch size {self.patch_size}, got {tuple(x_t.shape)}")
        cond = cond.expand_to(len(x_t))
        return self.transformer(
            hidden_states=x_t.to(self.dtype),
            timestep=self.process.timestep(sigma),
            encoder_hidden_states=cond.prompt_embeds.to(self.dtype),
            pooled_projections=cond.pooled.to(self.dtype),
            return_dict=False,
        )[0]

    def forward(self, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        """Clean estimate (B, C, H, W) from ``x_t`` at noise levels ``sigma`` (B,)."""
        return self.process.x0_from_velocity(x_t, self.velocity(x_t, sigma, cond), sigma)

    def features(self, x_t: Tensor, sigma: Tensor, cond: TextCondition, blocks: Sequence[int]) -> list[Tensor]:
        """Image-token features (B, N, D) after each chosen block, in the order of ``blocks``."""
        return self._tap(blocks)(lambda: self.velocity(x_t, sigma, cond))

    def with_features(
        self, x_t: Tensor, sigma: Tensor, cond: TextCondition, blocks: Sequence[int], *, detach: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """``forward`` and ``features`` from one pass; with ``detach`` the features alone carry gradients."""
        x0, features = self._tap(blocks).alongside(lambda: self.forward(x_t, sigma, cond), detach=detach)
        return x0.detach() if detach else x0, features

    def _tap(self, blocks: Sequence[int]) -> FeatureTap:
        return FeatureTap(self.transformer.transformer_blocks, blocks, _image_tokens)
