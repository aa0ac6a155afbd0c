"""SDXL: a noise-predicting UNet2DConditionModel behind the Denoiser interface."""

from collections.abc import Sequence
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from swd.backbones.base import Denoiser
from swd.backbones.sdxl.backbone import BACKBONE
from swd.backbones.sdxl.condition import TIME_IDS, SDXLCondition


class SDXLDenoiser(Denoiser):
    """x0 = (x_t - sqrt(1 - alpha^2) noise(x_t, t, text, sizes)) / alpha, in float32: at t = 1000, 1 / alpha is 14.6.

    Blocks are the down blocks, the middle block and the up blocks, as they run; features of each are its map, a token
    per place. Latents may have any sides: the network's upsampling meets those that its downsampling rounded.

    Args:
        network: the UNet; LoRA layers may be injected into it.

    Raises:
        ValueError: it is not SDXL's: it takes masked images, has no text and sizes added to its time, or is a refiner.
    """

    network: UNet2DConditionModel

    def __init__(self, network: UNet2DConditionModel) -> None:
        config = network.config
        _check_architecture(config)
        down = list(config.block_out_channels)
        self._widths: list[int] = [*down, down[-1], *reversed(down)]
        super().__init__(
            network,
            BACKBONE,
            latent_channels=config.in_channels,
            patch_size=1,
            max_side=None,
            inner_dim=down[-1],
        )

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Down blocks, the middle block, up blocks."""
        network: Any = self.network
        return [*network.down_blocks, network.mid_block, *network.up_blocks]

    @property
    def units(self) -> Sequence[nn.Module]:
        """Residual and transformer blocks: what UNets of diffusers compute again."""
        kinds = (ResnetBlock2D, BasicTransformerBlock)
        return [module for block in self.blocks for module in block.modules() if isinstance(module, kinds)]

    def feature_dim(self, block: int) -> int:
        """Channels of a block's map."""
        return self._widths[block]

    def predict(self, x_t: Tensor, sigma: Tensor, cond: SDXLCondition) -> Tensor:
        """The noise, (B, C, H, W)."""
        cond = cond.expand_to(len(x_t))
        noise: Tensor = self.network(
            sample=x_t.to(self.dtype),
            timestep=self.process.timestep(sigma),
            encoder_hidden_states=cond.prompt_embeds.to(self.dtype),
            added_cond_kwargs={"text_embeds": cond.pooled.to(self.dtype), "time_ids": cond.time_ids},
            return_dict=False,
            **self.network_options,
        )[0]
        return noise

    def tokens(self, block_output: Tensor | tuple[Tensor, tuple[Tensor, ...]]) -> Tensor:
        """The map as tokens, row by row; a down block returns (map, what up blocks take from it)."""
        maps = block_output[0] if isinstance(block_output, tuple) else block_output
        return maps.flatten(2).transpose(1, 2)  # (B, h w, C)


def _check_architecture(config: Any) -> None:
    """Networks of the same class that are no SDXL: of other versions, for inpainting, a refiner."""
    if config.addition_embed_type != "text_time":
        raise ValueError(
            "the UNet is not SDXL's: it must have text and sizes added to its time (addition_embed_type text_time), "
            f"got {config.addition_embed_type!r}"
        )
    if config.in_channels != config.out_channels:
        raise ValueError(
            f"the UNet takes {config.in_channels} channels and gives {config.out_channels}: inpainting and other "
            "networks with images at their input are not supported"
        )
    if config.time_cond_proj_dim is not None:
        raise ValueError("the UNet takes a guidance scale (time_cond_proj_dim): distilled teachers are not supported")
    if pooled_width(config) <= 0 or isinstance(config.transformer_layers_per_block, int):
        raise ValueError("the UNet is not SDXL's: it has no room for the pooled text beside 6 sizes")


def pooled_width(config: Any) -> int:
    """Width of the pooled text embedding: what is added to the time, less the embedded sizes."""
    return int(config.projection_class_embeddings_input_dim - TIME_IDS * config.addition_time_embed_dim)
