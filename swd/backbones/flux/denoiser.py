"""FLUX.1: a velocity-predicting FluxTransformer2DModel behind the Denoiser interface.

The transformer takes patches as tokens: a latent (B, C, H, W) is packed to (B, HW / 4, 4 C) on the way in and unpacked
on the way out, so that noise, upscaling and losses see images. Where a token sits says its id (0, row, column), which
the rotary embedding turns into angles; ids count patches, at each scale from 0 to its own side, and there is no largest
side.
"""

from collections.abc import Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from swd.backbones.base import Denoiser
from swd.backbones.flux.backbone import BACKBONE
from swd.backbones.flux.condition import FluxCondition

PATCH_SIZE = 2


class FluxDenoiser(Denoiser):
    """x0 = x_t - sigma v(x_t, sigma, text, guidance).

    Args:
        network: the transformer; LoRA layers may be injected into it.
    """

    network: FluxTransformer2DModel

    def __init__(self, network: FluxTransformer2DModel) -> None:
        super().__init__(
            network,
            BACKBONE,
            latent_channels=network.config.in_channels // PATCH_SIZE**2,
            patch_size=PATCH_SIZE,
            max_side=None,
            inner_dim=network.inner_dim,
        )

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Double blocks, then single ones."""
        return list(chain(self.network.transformer_blocks, self.network.single_transformer_blocks))

    def predict(self, x_t: Tensor, sigma: Tensor, cond: FluxCondition) -> Tensor:
        """The velocity, noise - x0, (B, C, H, W).

        Raises:
            ValueError: when a latent side is not a multiple of the patch size.
        """
        self.check_patch(x_t)
        cond = cond.expand_to(len(x_t))
        txt_ids, img_ids = self.positions(x_t, cond.prompt_embeds.shape[1])
        tokens: Tensor = self.network(
            hidden_states=pack(x_t.to(self.dtype)),
            timestep=sigma,  # FLUX multiplies by 1000 itself
            guidance=cond.guidance if self.network.config.guidance_embeds else None,
            encoder_hidden_states=cond.prompt_embeds.to(self.dtype),
            pooled_projections=cond.pooled.to(self.dtype),
            txt_ids=txt_ids,
            img_ids=img_ids,
            return_dict=False,
            **self.network_options,
        )[0]
        return unpack(tokens, x_t.shape[-2:])

    def positions(self, x_t: Tensor, num_text: int) -> tuple[Tensor, Tensor]:
        """Ids of text and image tokens, (L, 3) and (HW / 4, 3); text has no place, so all its ids are 0."""
        return torch.zeros(num_text, 3, device=x_t.device), image_ids(x_t)

    def tokens(self, block_output: tuple[Tensor, Tensor]) -> Tensor:
        """Image tokens: blocks of both kinds return (text tokens, image tokens)."""
        return block_output[1]


def pack(latents: Tensor) -> Tensor:
    """Patches as tokens: (B, C, H, W) -> (B, HW / 4, 4 C)."""
    return F.pixel_unshuffle(latents, PATCH_SIZE).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """Tokens as an image of ``size`` (H, W): (B, HW / 4, 4 C) -> (B, C, H, W)."""
    rows, columns = (side // PATCH_SIZE for side in size)
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), PATCH_SIZE)


def image_ids(latents: Tensor) -> Tensor:
    """Where each token of latents (B, C, H, W) sits, (HW / 4, 3): 0, row and column in patches, float32."""
    rows, columns = (
        torch.arange(side // PATCH_SIZE, device=latents.device, dtype=torch.float32) for side in latents.shape[-2:]
    )
    return torch.cartesian_prod(rows.new_zeros(1), rows, columns)
