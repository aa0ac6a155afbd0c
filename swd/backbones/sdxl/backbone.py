"""SDXL as a family: two CLIPs side by side, a variance-preserving process, a UNet that is told sizes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from swd.backbones.base import Backbone, Denoiser
from swd.backbones.sdxl.comfy import COMFY
from swd.backbones.sdxl.condition import TIME_IDS, SDXLCondition
from swd.backbones.sdxl.names import NAMES
from swd.backbones.texts import refuse_empty
from swd.errors import PromptError
from swd.flow import VariancePreserving
from swd.grid import GRIDS


class SDXLBackbone(Backbone):
    """Stable Diffusion XL, base models.

    Both text encoders read 77 tokens, whatever length is asked for. The empty prompt is zeros where the folder says so
    (``force_zeros_for_empty_prompt``), as diffusers guides without a negative prompt.
    """

    name = "sdxl"
    pipelines = ("StableDiffusionXLPipeline", "ScalewiseStableDiffusionXLPipeline")
    component = "unet"
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
    condition = SDXLCondition
    text_encoders = ("text_encoder", "text_encoder_2")
    tokenizers = ("tokenizer", "tokenizer_2")
    process = VariancePreserving()
    grid = GRIDS["sdxl"]
    text_tokens = 77
    comfy, layer_names = COMFY, NAMES

    def load_pipeline(self, name: str, **options: Any) -> Any:
        """Any StableDiffusionXLPipeline as the scale-wise one."""
        from swd.backbones.sdxl.pipeline import ScalewiseStableDiffusionXLPipeline

        return ScalewiseStableDiffusionXLPipeline.from_pretrained(name, **options)

    def denoiser(self, network: Any) -> Denoiser:
        """UNet2DConditionModel behind the interface."""
        from swd.backbones.sdxl.denoiser import SDXLDenoiser

        return SDXLDenoiser(network)

    def skeleton(self, folder: Path | str) -> Denoiser:
        """From the config of the UNet alone."""
        from diffusers import UNet2DConditionModel

        config = UNet2DConditionModel.load_config(folder, subfolder=self.component)
        with torch.device("meta"):
            return self.denoiser(UNet2DConditionModel.from_config(config))

    def token_length(self, pipeline: Any) -> int:
        """The length of the CLIPs: it cannot be chosen."""
        return int(pipeline.tokenizer.model_max_length)

    def encoder_lengths(self, pipeline: Any, token_length: int) -> dict[str, int]:
        """Both read their own length."""
        return {
            encoder: int(getattr(pipeline, tokenizer).model_max_length)
            for encoder, tokenizer in zip(self.text_encoders, self.tokenizers, strict=True)
        }

    def count_text_tokens(self, pipeline: Any, token_length: int) -> int:
        """The embeddings of both lie side by side along the features."""
        return self.token_length(pipeline)

    def check_prompts(
        self, pipeline: Any, prompts: Sequence[str], token_length: int, *, truncate: bool = False
    ) -> None:
        """Refuse empty prompts, and those that are longer than the CLIPs."""
        refuse_empty(prompts)
        if truncate or not prompts:
            return
        limit = self.token_length(pipeline)
        rows = pipeline.tokenizer(list(prompts), verbose=False).input_ids
        for number, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            if len(row) > limit:
                raise PromptError(
                    number,
                    f"prompt has {len(row)} tokens, the text encoders take {limit}; shorten it, or pass "
                    f"truncate=True: {prompt[:80]!r}",
                )

    @torch.no_grad()
    def encode_prompts(
        self,
        pipeline: Any,
        prompts: Sequence[str],
        *,
        token_length: int,
        device: torch.device | None = None,
        **options: Any,
    ) -> SDXLCondition:
        """By diffusers' own ``encode_prompt``, for images of the network's native size."""
        embeds, _, pooled, _ = pipeline.encode_prompt(
            prompt=list(prompts), device=device, do_classifier_free_guidance=False, **options
        )
        if pipeline.config.force_zeros_for_empty_prompt:
            others = options.get("prompt_2") or prompts
            said = torch.tensor([any(row) for row in zip(prompts, others, strict=True)], device=embeds.device)
            embeds, pooled = embeds * said[:, None, None], pooled * said[:, None]
        native = pipeline.default_sample_size * pipeline.vae_scale_factor
        unsized = SDXLCondition(embeds, pooled, torch.zeros(len(embeds), TIME_IDS, device=embeds.device))
        return unsized.for_image(native, native)

    def condition_shapes(self, network: Any, text_tokens: int) -> dict[str, tuple[int, ...]]:
        """As the UNet's config says."""
        from swd.backbones.sdxl.denoiser import pooled_width

        config = network.config
        return {
            "prompt_embeds": (text_tokens, config.cross_attention_dim),
            "pooled": (pooled_width(config),),
            "time_ids": (TIME_IDS,),
        }


BACKBONE = SDXLBackbone()
