"""What every backbone looks like to the method.

A `Denoiser` maps (x_t, sigma, condition) to x0, with features on the way. A `Backbone` is a family of pipelines and
answers whatever differs between families; there is one instance of each, found by `swd.backbones`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from peft import PeftModel
from torch import Tensor, nn

from swd.backbones.condition import Condition as Condition
from swd.features import FeatureTap
from swd.flow import NoiseProcess
from swd.grid import TeacherGrid
from swd.lora.layouts.naming import LayerNames
from swd.lora.workflow import ComfyModel


class Denoiser(nn.Module, ABC):
    """x0 from (x_t, sigma, condition), whatever the network itself predicts, with features on the way.

    A family says how its network is called (`predict`), its blocks, and where tokens are in their output (`tokens`).

    Args:
        network: a diffusers model, which holds weights and adapters.
        backbone: its family.
        latent_channels: C of the latents.
        patch_size: latent sides are its multiples.
        max_side: largest latent side, None where any will do.
        inner_dim: D of the token features, unless `feature_dim` says otherwise.
    """

    def __init__(
        self,
        network: nn.Module,
        backbone: "Backbone",
        *,
        latent_channels: int,
        patch_size: int,
        max_side: int | None,
        inner_dim: int,
    ) -> None:
        super().__init__()
        self.network: Any = network  # a diffusers model, which carries no types
        self.backbone = backbone
        self.latent_channels, self.patch_size, self.max_side = latent_channels, patch_size, max_side
        self.inner_dim = inner_dim
        self.network_options: Mapping[str, Any] = {}  # further arguments of the network, by name

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """Blocks in the order in which they run: what is tapped."""

    @abstractmethod
    def predict(self, x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        """What the network itself gives, (B, C, H, W), before it becomes ``x0``.

        Inputs are cast to the network's own dtype.

        Args:
            x_t: noisy latents, (B, C, H, W).
            sigma: noise levels, (B,).
            cond: condition of the family, B rows or one.
        """

    @abstractmethod
    def tokens(self, block_output: Any) -> Tensor:
        """Token features (B, N, D) in what a block returns."""

    @property
    def process(self) -> NoiseProcess:
        """What ``x_t`` is."""
        return self.backbone.process

    @property
    def grid(self) -> TeacherGrid:
        """How the undistilled model samples."""
        return self.backbone.grid

    @property
    def embeds_guidance(self) -> bool:
        """Whether guidance is an input of the network, and never a doubled batch."""
        return self.backbone.embeds_guidance

    @property
    def num_blocks(self) -> int:
        """Blocks that can be tapped."""
        return len(self.blocks)

    @property
    def units(self) -> Sequence[nn.Module]:
        """What is compiled, and computed again by gradient checkpointing, one at a time: what diffusers hands to it."""
        return self.blocks

    def feature_dim(self, block: int) -> int:
        """D of the token features after a block."""
        return self.inner_dim

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the base weights; LoRA weights may be wider, and are never the first."""
        found: torch.dtype = next(self.network.parameters()).dtype
        return found

    def forward(self, x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        """Clean estimate (B, C, H, W), float32 whatever the dtype of the network is, because ``sigma`` is."""
        return self.process.x0_from_prediction(x_t, self.predict(x_t, sigma, cond), sigma)

    def features(self, x_t: Tensor, sigma: Tensor, cond: Any, blocks: Sequence[int]) -> list[Tensor]:
        """Token features (B, N, D) after each chosen block; blocks after the last chosen one do not run."""
        return self._tap(blocks)(lambda: self.predict(x_t, sigma, cond))

    def with_features(
        self, x_t: Tensor, sigma: Tensor, cond: Any, blocks: Sequence[int], *, detach: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """``x0`` and features of one whole pass.

        Args:
            x_t: noisy latents, (B, C, H, W).
            sigma: noise levels, (B,).
            cond: condition of the family, B rows or one.
            blocks: those whose features are wanted.
            detach: the features alone carry gradients; blocks after the last chosen one record no graph.
        """
        x0, features = self._tap(blocks).alongside(lambda: self.forward(x_t, sigma, cond), detach=detach)
        return x0.detach() if detach else x0, features

    def _tap(self, blocks: Sequence[int]) -> FeatureTap:
        return FeatureTap(self.blocks, blocks, self.tokens)

    def check_patch(self, x_t: Tensor) -> None:
        """Raise ValueError unless the latent sides are multiples of the patch size."""
        if x_t.shape[-2] % self.patch_size or x_t.shape[-1] % self.patch_size:
            raise ValueError(f"latent sides must be multiples of patch size {self.patch_size}, got {tuple(x_t.shape)}")


@dataclass(frozen=True, slots=True)
class Posterior:
    """The Gaussian that a VAE's encoder predicts, as whitened latents.

    Attributes:
        mode: (B, C, h, w).
        deviation: of the same shape.
    """

    mode: Tensor
    deviation: Tensor


class Backbone(ABC):
    """A family of pipelines whose networks are called in one way.

    Attributes:
        name: of the family, and of its folder.
        pipelines: names of the pipeline classes that it serves, as ``model_index.json`` has them.
        component: part of the pipeline that is the network; also the prefix of LoRA keys.
        lora_targets: linear layers that adapters go to, as ends of their names.
        condition: what the network is conditioned on.
        text_encoders: parts of a pipeline that encode text; a cache follows from these, the tokenizers and the VAE.
        tokenizers: parts of a pipeline that cut text into tokens.
        process: noise process of the teacher.
        grid: noise levels at which the teacher samples, as its own pipeline lays them.
        t5: encoder and tokenizer of the text whose length can be chosen; None where none can.
        text_tokens: of all text encoders together, as published.
        comfy, layer_names: how ComfyUI loads it, and the published names of its layers, which other programs write.
        student_guidance: guidance scale that students are sampled with: 1, none, unless the network takes it as input.
        embeds_guidance: whether guidance is an input of the networks, and never a doubled batch.
    """

    name: str
    pipelines: tuple[str, ...]
    component: str
    lora_targets: tuple[str, ...]
    condition: type[Condition]
    text_encoders: tuple[str, ...]
    tokenizers: tuple[str, ...]
    process: NoiseProcess
    grid: TeacherGrid
    t5: tuple[str, str] | None = None
    text_tokens: int
    comfy: ComfyModel | None = None
    layer_names: LayerNames | None = None
    student_guidance: float = 1.0
    embeds_guidance: bool = False

    @abstractmethod
    def load_pipeline(self, name: str, **options: Any) -> Any:
        """The scale-wise pipeline from a folder, or a name on the Hub; options of ``from_pretrained``."""

    @abstractmethod
    def denoiser(self, network: Any) -> Denoiser:
        """The network as the method sees it; LoRA layers may be in it, or come later."""

    @abstractmethod
    def skeleton(self, folder: Path | str) -> Denoiser:
        """A denoiser with the architecture of a pipeline folder and no weights, on meta tensors."""

    @abstractmethod
    def token_length(self, pipeline: Any) -> int:
        """Tokens per prompt of the text encoder whose length can be chosen, by default."""

    @abstractmethod
    def encoder_lengths(self, pipeline: Any, token_length: int) -> dict[str, int]:
        """Tokens that each text encoder of a pipeline reads, by its part's name."""

    @abstractmethod
    def count_text_tokens(self, pipeline: Any, token_length: int) -> int:
        """Text tokens that reach the network, of all encoders together."""

    @abstractmethod
    def check_prompts(
        self, pipeline: Any, prompts: Sequence[str], token_length: int, *, truncate: bool = False
    ) -> None:
        """Refuse prompts that say nothing, or more than the text encoders read.

        Raises:
            PromptError: a prompt is empty, or too long for every text encoder and not to be truncated.
            ValueError: nothing reads it.
        """

    @abstractmethod
    def encode_prompts(
        self,
        pipeline: Any,
        prompts: Sequence[str],
        *,
        token_length: int,
        device: torch.device | None = None,
        **options: Any,
    ) -> Any:
        """Condition with one row per prompt, as the pipeline itself would make it; options of ``encode_prompt``."""

    @abstractmethod
    def condition_shapes(self, network: Any, text_tokens: int) -> dict[str, tuple[int, ...]]:
        """Shape of one row of every field of the condition that a network takes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # one of each family, whatever holds it is copied

    def network(self, pipeline: Any) -> Any:
        """The part of a pipeline that is the network; inside PEFT's wrapper where a user put one around it."""
        network = getattr(pipeline, self.component)
        return network.get_base_model() if isinstance(network, PeftModel) else network

    def encode_images(self, vae: Any, images: Tensor) -> Posterior:
        """Whitened latents of images (B, 3, H, W) in [-1, 1]: ``(z - shift_factor) * scaling_factor``."""
        found, config = vae.encode(images.to(vae.device, vae.dtype)).latent_dist, vae.config
        mode = (found.mode() - (config.shift_factor or 0.0)) * config.scaling_factor
        return Posterior(mode, found.std * config.scaling_factor)

    def unwhiten(self, vae: Any, x0: Tensor) -> Tensor:
        """What the VAE decodes, from whitened latents."""
        latents: Tensor = x0 / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return latents
