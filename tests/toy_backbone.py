"""A family of networks that is unlike the shipped one wherever it may be.

A small UNet predicts the noise of a variance-preserving process; its blocks give maps and not tokens, any side is fine,
the condition is one vector, the component is "unet", latents are only scaled, and the pipeline is no diffusers class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from torch import Tensor, nn

from swd.backbones.base import Backbone, Condition, Denoiser
from swd.flow import VariancePreserving
from swd.grid import TeacherGrid

WORDS = ("", "red", "blue", "star", "cross")
MAX_WORDS = 6
CHANNELS, CONDITION_DIM, LATENT_CHANNELS = 8, 5, 3


@dataclass(frozen=True, slots=True)
class ToyCondition(Condition):
    """Mean word embedding, (B, D)."""

    words: Tensor


class _Block(nn.Module):
    """A convolution, and a residual mix of channels that time and text steer; the adapters go to its linears."""

    def __init__(self, conv: nn.Module, channels: int, cond_dim: int) -> None:
        super().__init__()
        self.conv = conv
        self.steer = nn.Linear(cond_dim + 1, channels)
        self.mix = nn.Linear(channels, channels)

    def forward(self, maps: Tensor, context: Tensor) -> Tensor:
        maps = self.conv(maps) + self.steer(context)[:, :, None, None]
        return maps + self.mix(nn.functional.silu(maps).movedim(1, -1)).movedim(-1, 1)


class ToyUNet(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """Down, middle, up: noise (B, C, H, W) from noisy latents, timesteps (B,) and conditions (B, D)."""

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = LATENT_CHANNELS,
        channels: int = CHANNELS,
        cond_dim: int = CONDITION_DIM,
        sample_size: int = 8,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        convs = (
            nn.Conv2d(channels, channels, 2, stride=2),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
        )
        self.stages = nn.ModuleList([_Block(conv, channels, cond_dim) for conv in convs])
        self.conv_out = nn.Conv2d(channels, in_channels, 3, padding=1)

    def forward(self, x_t: Tensor, timestep: Tensor, words: Tensor) -> Tensor:
        context = torch.cat([words, timestep[:, None].to(words.dtype) / 1000], 1)
        skip = maps = self.conv_in(x_t)
        for stage in self.stages:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                maps = self._gradient_checkpointing_func(stage, maps, context)
            else:
                maps = stage(maps, context)
        return self.conv_out(maps + skip)


class ToyTextEncoder(ModelMixin, ConfigMixin):
    """Mean of word embeddings."""

    @register_to_config
    def __init__(self, num_words: int = len(WORDS), dim: int = CONDITION_DIM) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words, dim)
        self.project = nn.Linear(dim, dim)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.project(self.words(input_ids).mean(1))


class ToyTokenizer:
    """Words to numbers."""

    model_max_length = MAX_WORDS

    def get_vocab(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(WORDS)}

    def __call__(self, prompt: str) -> list[int]:
        return [self.get_vocab()[word] for word in prompt.split()] or [0]


class ToyPipeline:
    """Parts of a pipeline; what a class needs to be served is its name."""

    vae_scale_factor = 2

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.unet = ToyUNet().eval()
            self.text_encoder = ToyTextEncoder().eval()
            self.vae = AutoencoderKL(
                block_out_channels=(8, 16),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                latent_channels=LATENT_CHANNELS,
                norm_num_groups=4,
                layers_per_block=1,
                scaling_factor=0.7,
            ).eval()
        self.tokenizer = ToyTokenizer()
        self.config = SimpleNamespace()


class ToyDenoiser(Denoiser):
    """x0 = (x_t - sqrt(1 - alpha^2) noise) / alpha."""

    def __init__(self, network: ToyUNet) -> None:
        config = network.config
        super().__init__(
            network,
            TOY,
            latent_channels=config.in_channels,
            patch_size=2,
            max_side=None,
            inner_dim=config.channels,
        )

    @property
    def blocks(self) -> nn.ModuleList:
        return self.network.stages

    def predict(self, x_t: Tensor, sigma: Tensor, cond: ToyCondition) -> Tensor:
        self.check_patch(x_t)
        words = cond.expand_to(len(x_t)).words.to(self.dtype)
        return self.network(x_t.to(self.dtype), self.process.timestep(sigma), words)

    def tokens(self, block_output: Tensor) -> Tensor:
        return block_output.flatten(2).transpose(1, 2)


class ToyBackbone(Backbone):
    name = "toy"
    pipelines = ("ToyPipeline",)
    component = "unet"
    lora_targets = ("steer", "mix")
    condition = ToyCondition
    text_encoders = ("text_encoder",)
    tokenizers = ("tokenizer",)
    process = VariancePreserving()
    grid = TeacherGrid(
        process="variance-preserving",
        num_steps=10,
        shift=1.0,
        end="step",
        dmd_indices=(2, 10),
        pdm_indices=(6, 10),
    )
    text_tokens = MAX_WORDS

    def load_pipeline(self, name: str, **options: Any) -> ToyPipeline:
        return ToyPipeline()

    def denoiser(self, network: ToyUNet) -> ToyDenoiser:
        return ToyDenoiser(network)

    def skeleton(self, folder: Path | str) -> ToyDenoiser:
        with torch.device("meta"):
            return ToyDenoiser(ToyUNet())

    def token_length(self, pipeline: ToyPipeline) -> int:
        return MAX_WORDS

    def encoder_lengths(self, pipeline: ToyPipeline, token_length: int) -> dict[str, int]:
        return {"text_encoder": token_length}

    def count_text_tokens(self, pipeline: ToyPipeline, token_length: int) -> int:
        return token_length

    def check_prompts(
        self, pipeline: ToyPipeline, prompts: Sequence[str], token_length: int, *, truncate: bool = False
    ) -> None:
        for prompt in prompts:
            if not truncate and len(prompt.split()) > token_length:
                raise ValueError(f"prompt has {len(prompt.split())} words, {token_length} are read")

    @torch.no_grad()
    def encode_prompts(
        self,
        pipeline: ToyPipeline,
        prompts: Sequence[str],
        *,
        token_length: int,
        device: torch.device | None = None,
    ) -> ToyCondition:
        numbers = [torch.tensor([pipeline.tokenizer(prompt)[:token_length]], device=device) for prompt in prompts]
        return ToyCondition(torch.cat([pipeline.text_encoder(row) for row in numbers]))

    def condition_shapes(self, network: ToyUNet, text_tokens: int) -> dict[str, tuple[int, ...]]:
        return {"words": (network.config.cond_dim,)}


TOY = ToyBackbone()
