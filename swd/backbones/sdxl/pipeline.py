"""Scale-wise sampling for SDXL students behind diffusers' own pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from swd.backbones.arguments import CallOptions
from swd.backbones.fast import FastOptions
from swd.backbones.numbers import adapter_scale, pair
from swd.backbones.scalewise import ScalewisePipeline
from swd.backbones.sdxl.backbone import BACKBONE
from swd.backbones.sdxl.condition import TIME_IDS, SDXLCondition
from swd.backbones.sdxl.fast import FastSDXLDenoiser
from swd.backbones.texts import TextArguments
from swd.errors import PipelineError

Texts = str | Sequence[str] | None
Pair = tuple[int, int]


class ScalewiseStableDiffusionXLPipeline(ScalewisePipeline, StableDiffusionXLPipeline):  # type: ignore[misc]  # untyped
    """StableDiffusionXLPipeline whose resolution grows while it samples.

    Any StableDiffusionXLPipeline folder of a base model loads (``from_pretrained``), and so does a student's adapter
    (``load_lora_weights``), which brings its schedule with it. Whatever scheduler the folder has, its betas and
    what its network predicts have to be those of SDXL; the scheduler itself is not used.

    The network is told the size of the finished image at every step, unless ``original_size`` and its kin say
    otherwise.
    The empty negative prompt is zeros where the folder says so, and so is a negative prompt of no words.
    """

    backbone = BACKBONE
    output_class = StableDiffusionXLPipelineOutput
    text_names = ("prompt", "prompt_2")
    embed_fields: ClassVar[Mapping[str, str]] = {"prompt_embeds": "prompt_embeds", "pooled_prompt_embeds": "pooled"}
    callback_fields: ClassVar[Mapping[str, str]] = {
        "prompt_embeds": "prompt_embeds",
        "add_text_embeds": "pooled",
        "add_time_ids": "time_ids",
    }

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Any,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        feature_extractor: CLIPImageProcessor | None = None,
        force_zeros_for_empty_prompt: bool = True,
        add_watermarker: bool | None = None,
    ) -> None:
        if tokenizer is None:  # encoders may be left out by whoever needs the network alone
            raise PipelineError("the pipeline has no first text encoder: refiners of SDXL are not supported")
        _check_scheduler(scheduler)
        if getattr(vae, "config", {}).get("latents_mean") is not None:
            raise PipelineError("the VAE has a mean for each channel (latents_mean), which SDXL's has not")
        super().__init__(
            vae,
            text_encoder,
            text_encoder_2,
            tokenizer,
            tokenizer_2,
            unet,
            scheduler,
            image_encoder,
            feature_extractor,
            force_zeros_for_empty_prompt,
            add_watermarker,
        )
        self.disable_fast()

    def make_fast(self, options: FastOptions) -> FastSDXLDenoiser:
        """The UNet with what does not depend on the latents computed once."""
        return FastSDXLDenoiser(self.backbone.network(self), options)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        height: int | None = None,
        width: int | None = None,
        *,
        negative_prompt: Texts = None,
        negative_prompt_2: Texts = None,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        original_size: Pair | None = None,
        crops_coords_top_left: Pair = (0, 0),
        target_size: Pair | None = None,
        negative_original_size: Pair | None = None,
        negative_crops_coords_top_left: Pair = (0, 0),
        negative_target_size: Pair | None = None,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        clip_skip: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Draw images.

        Args:
            prompt: one or several; each distinct one is encoded once.
            prompt_2: for the second text encoder; ``prompt`` by default.
            height: pixels of the image; only with ``width``. Square by default, and so is the square of the first scale
                read, which published snippets of other models pass.
            width: pixels.
            negative_prompt: for guidance above 1, one or one for each prompt or image; empty by default.
            negative_prompt_2: for the second text encoder.
            prompt_embeds: (P, L, D) in place of prompts, with ``pooled_prompt_embeds`` (P, D).
            pooled_prompt_embeds: see ``prompt_embeds``.
            negative_prompt_embeds: (P, L, D) in place of negative prompts, with ``negative_pooled_prompt_embeds``.
            negative_pooled_prompt_embeds: see ``negative_prompt_embeds``.
            original_size: height and width that the network is told the image had; by default those of the image.
            crops_coords_top_left: where it is told that the image was cropped.
            target_size: height and width that it is told to draw; by default those of the image.
            negative_original_size: the same for negative prompts; where neither this nor ``negative_target_size`` is
                given, they are told what the prompts are.
            negative_crops_coords_top_left: see ``negative_original_size``.
            negative_target_size: see ``negative_original_size``.
            cross_attention_kwargs: of the UNet; ``{"scale": 0.5}`` halves the adapters.
            clip_skip: layers of the text encoders to leave out at the end, as in diffusers.
            options: `CallOptions`: schedule, seeds, guidance and so on.

        Raises:
            TypeError: prompts that are no texts, or an unknown argument.
            ValueError: for a schedule that does not fit the network, a size that is no multiple of 8 pixels, empty or
                over-long prompts, and arguments that contradict each other.
        """
        self._clip_skip, self._cross_attention_kwargs = clip_skip, cross_attention_kwargs
        self._told = _told(
            "", original_size=original_size, crops_coords_top_left=crops_coords_top_left, target_size=target_size
        )
        self._told_negative = _told(
            "negative_",
            original_size=negative_original_size,
            crops_coords_top_left=negative_crops_coords_top_left,
            target_size=negative_target_size,
        )
        text = TextArguments(
            texts={"prompt": prompt, "prompt_2": prompt_2},
            negatives={"negative_prompt": negative_prompt, "negative_prompt_2": negative_prompt_2},
            embeds={"prompt_embeds": prompt_embeds, "pooled_prompt_embeds": pooled_prompt_embeds},
            negative_embeds={
                "prompt_embeds": negative_prompt_embeds,
                "pooled_prompt_embeds": negative_pooled_prompt_embeds,
            },
            encoding={
                "clip_skip": clip_skip,
                "lora_scale": adapter_scale("cross_attention_kwargs", cross_attention_kwargs),
            },
        )
        return self.draw(
            text,
            height=height,
            width=width,
            network_options={"cross_attention_kwargs": cross_attention_kwargs},
            **options,
        )

    def condition(self, embeds: Mapping[str, Tensor | None]) -> SDXLCondition:
        """Text alone; the sizes follow in `told`."""
        prompt_embeds, pooled = embeds["prompt_embeds"], embeds["pooled_prompt_embeds"]
        assert prompt_embeds is not None
        assert pooled is not None
        return SDXLCondition(prompt_embeds, pooled, torch.zeros(len(pooled), TIME_IDS, device=pooled.device))

    def told(self, cond: SDXLCondition, uncond: SDXLCondition | None, size: Pair) -> tuple[Any, Any]:
        """Conditions with the sizes of the call, for an image of ``size`` pixels."""
        original, crop, target = self._told
        cond = cond.told(original or size, crop, target or size)
        if uncond is None:
            return cond, None
        negative, negative_crop, negative_target = self._told_negative
        if negative is None and negative_target is None:
            return cond, uncond.told(original or size, crop, target or size)
        return cond, uncond.told(negative or size, negative_crop, negative_target or size)

    def finished(self, images: Tensor) -> Tensor:
        """With diffusers' invisible watermark, where the pipeline has one."""
        return images if self.watermark is None else self.watermark.apply_watermark(images)

    @torch.no_grad()
    def decode(self, x0: Tensor, *, output_type: str = "pt") -> Any:
        """Images of clean latents (B, C, H, W), in float32 where the VAE cannot do it in half precision."""
        upcast = self.vae.dtype == torch.float16 and self.vae.config.force_upcast
        if not upcast:
            return super().decode(x0, output_type=output_type)
        self.vae.to(dtype=torch.float32)
        try:
            return super().decode(x0, output_type=output_type)
        finally:
            self.vae.to(dtype=torch.float16)


def _told(
    prefix: str, *, original_size: Any, crops_coords_top_left: Any, target_size: Any
) -> tuple[Pair | None, Pair, Pair | None]:
    """What the network is told, once it is pairs of pixels."""
    original = None if original_size is None else pair(f"{prefix}original_size", original_size, 1)
    target = None if target_size is None else pair(f"{prefix}target_size", target_size, 1)
    return original, pair(f"{prefix}crops_coords_top_left", crops_coords_top_left, 0), target


def _check_scheduler(scheduler: Any) -> None:
    """Refuse a folder whose model works under another process, or predicts something else than the noise.

    Raises:
        PipelineError: it does.
    """
    config, process = getattr(scheduler, "config", {}), BACKBONE.process
    wanted = {
        "prediction_type": "epsilon",
        "beta_schedule": "scaled_linear",
        "beta_start": process.beta_start,
        "beta_end": process.beta_end,
        "num_train_timesteps": 1000,
        "rescale_betas_zero_snr": False,
    }
    for name, value in wanted.items():
        found = config.get(name, None if name.startswith("beta") else value)
        if found != value:
            raise PipelineError(
                f"the folder's {type(scheduler).__name__} says {name} {found}, the models of SDXL that are supported "
                f"have {value}"
            )
