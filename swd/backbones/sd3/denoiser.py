"""SD3 and SD3.5: a velocity-predicting SD3Transformer2DModel behind the Denoiser interface."""

from collections.abc import Sequence

from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from swd.backbones.base import Denoiser
from swd.backbones.sd3.backbone import BACKBONE
from swd.backbones.sd3.condition import TextCondition


class SD3Denoiser(Denoiser):
    """x0 = x_t - sigma v(x_t, 1000 sigma, text).

    Args:
        network: the transformer; LoRA layers may be injected into it.
    """

    network: SD3Transformer2DModel

    def __init__(self, network: SD3Transformer2DModel) -> None:
        config = network.config
        super().__init__(
            network,
            BACKBONE,
            latent_channels=config.in_channels,
            patch_size=config.patch_size,
            max_side=config.pos_embed_max_size * config.patch_size,
            inner_dim=network.inner_dim,
        )

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Joint transformer blocks."""
        found: Sequence[nn.Module] = self.network.transformer_blocks
        return found

    def predict(self, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        """The velocity, noise - x0, (B, C, H, W).

        Raises:
            ValueError: when a latent side is not a multiple of the patch size (the patch convolution would crop it).
        """
        self.check_patch(x_t)
        cond = cond.expand_to(len(x_t))
        velocity: Tensor = self.network(
            hidden_states=x_t.to(self.dtype),
            timestep=self.process.timestep(sigma),
            encoder_hidden_states=cond.prompt_embeds.to(self.dtype),
            pooled_projections=cond.pooled.to(self.dtype),
            return_dict=False,
            **self.network_options,
        )[0]
        return velocity

    def tokens(self, block_output: tuple[Tensor, Tensor]) -> Tensor:
        """Image tokens: a JointTransformerBlock returns (text tokens, image tokens)."""
        return block_output[1]
