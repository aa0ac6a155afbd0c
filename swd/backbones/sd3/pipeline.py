"""Scale-wise sampling for SD3 and SD3.5 students behind diffusers' own pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.pipelines.stable_diffusion_3.pipeline_output import StableDiffusion3PipelineOutput
from torch import Tensor
from transformers import (
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    SiglipImageProcessor,
    SiglipVisionModel,
    T5EncoderModel,
    T5TokenizerFast,
)

from swd.backbones.arguments import CallOptions
from swd.backbones.fast import FastOptions
from swd.backbones.known import known
from swd.backbones.numbers import adapter_scale
from swd.backbones.scalewise import ScalewisePipeline
from swd.backbones.sd3.backbone import BACKBONE
from swd.backbones.sd3.fast import FastSD3Denoiser
from swd.backbones.texts import TextArguments

Texts = str | Sequence[str] | None
_FIELDS = {"prompt_embeds": "prompt_embeds", "pooled_prompt_embeds": "pooled"}


class ScalewiseStableDiffusion3Pipeline(ScalewisePipeline, StableDiffusion3Pipeline):  # type: ignore[misc]  # untyped
    """StableDiffusion3Pipeline whose resolution grows while it samples.

    Any StableDiffusion3Pipeline folder loads (``from_pretrained``), and so does a student's adapter
    (``load_lora_weights``), which brings its schedule, guidance and text length with it. A plain
    StableDiffusion3Pipeline with FlowMatchLCMScheduler draws the same images, one at a time after
    ``torch.manual_seed(seed)``: it renoises from the global rng whatever generator it is given.
    A folder without T5 loads as it is; plain diffusers wants ``text_encoder_3=None, tokenizer_3=None`` for it.

    A ``max_sequence_length`` in the folder's ``model_index.json`` is the default number of T5 tokens: 0 for a model
    that was trained without any, where plain diffusers has to be told ``max_sequence_length=0`` in every call.
    """

    _optional_components: ClassVar[list[str]] = [
        *StableDiffusion3Pipeline._optional_components,
        "text_encoder_3",
        "tokenizer_3",
    ]
    backbone = BACKBONE
    output_class = StableDiffusion3PipelineOutput
    text_names = ("prompt", "prompt_2", "prompt_3")
    embed_fields: ClassVar[Mapping[str, str]] = _FIELDS
    callback_fields: ClassVar[Mapping[str, str]] = _FIELDS

    def __init__(
        self,
        transformer: SD3Transformer2DModel,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer_2: CLIPTokenizer,
        text_encoder_3: T5EncoderModel | None = None,
        tokenizer_3: T5TokenizerFast | None = None,
        image_encoder: SiglipVisionModel | None = None,
        feature_extractor: SiglipImageProcessor | None = None,
        max_sequence_length: int | None = None,
    ) -> None:
        super().__init__(
            transformer,
            scheduler,
            vae,
            text_encoder,
            tokenizer,
            text_encoder_2,
            tokenizer_2,
            text_encoder_3,
            tokenizer_3,
            image_encoder,
            feature_extractor,
        )
        if max_sequence_length is None:
            max_sequence_length = known(transformer).token_length
        self.register_to_config(max_sequence_length=max_sequence_length)
        self.disable_fast()

    def make_fast(self, options: FastOptions) -> FastSD3Denoiser:
        """The transformer with what does not depend on the latents computed once."""
        return FastSD3Denoiser(BACKBONE.network(self), options)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        prompt_3: Texts = None,
        height: int | None = None,
        width: int | None = None,
        *,
        negative_prompt: Texts = None,
        negative_prompt_2: Texts = None,
        negative_prompt_3: Texts = None,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        joint_attention_kwargs: Mapping[str, Any] | None = None,
        clip_skip: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Draw images.

        Args:
            prompt: one or several; each distinct one is encoded once.
            prompt_2: for the second CLIP; ``prompt`` by default.
            prompt_3: for T5; ``prompt`` by default.
            height: pixels of the image, any that patches tile; only with ``width``. Square by default, and so is the
                square of the first scale read, which published snippets pass.
            width: pixels.
            negative_prompt: for guidance above 1, one or one for each prompt or image; empty by default.
            negative_prompt_2: for the second CLIP.
            negative_prompt_3: for T5.
            prompt_embeds: (P, L, D) in place of prompts, with ``pooled_prompt_embeds`` (P, D).
            pooled_prompt_embeds: see ``prompt_embeds``.
            negative_prompt_embeds: (P, L, D) in place of negative prompts, with ``negative_pooled_prompt_embeds``.
            negative_pooled_prompt_embeds: see ``negative_prompt_embeds``.
            joint_attention_kwargs: of the transformer; ``{"scale": 0.5}`` halves the adapters.
            clip_skip: layers of the CLIPs to leave out at the end, as in diffusers.
            options: `CallOptions`: schedule, seeds, guidance and so on.

        Raises:
            TypeError: prompts that are no texts, or an unknown argument.
            ValueError: for a schedule or a size that does not fit the network, empty or over-long prompts, and
                arguments that contradict each other.
        """
        self._clip_skip, self._joint_attention_kwargs = clip_skip, joint_attention_kwargs
        text = TextArguments(
            texts={"prompt": prompt, "prompt_2": prompt_2, "prompt_3": prompt_3},
            negatives={
                "negative_prompt": negative_prompt,
                "negative_prompt_2": negative_prompt_2,
                "negative_prompt_3": negative_prompt_3,
            },
            embeds={"prompt_embeds": prompt_embeds, "pooled_prompt_embeds": pooled_prompt_embeds},
            negative_embeds={
                "prompt_embeds": negative_prompt_embeds,
                "pooled_prompt_embeds": negative_pooled_prompt_embeds,
            },
            encoding={
                "clip_skip": clip_skip,
                "lora_scale": adapter_scale("joint_attention_kwargs", joint_attention_kwargs),
            },
        )
        return self.draw(
            text,
            height=height,
            width=width,
            network_options={"joint_attention_kwargs": joint_attention_kwargs},
            **options,
        )
