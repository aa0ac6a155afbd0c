"""Scale-wise sampling for FLUX.1 students behind diffusers' own pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_output import FluxPipelineOutput
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
    T5EncoderModel,
    T5TokenizerFast,
)

from swd.backbones.arguments import CallOptions
from swd.backbones.fast import FastOptions
from swd.backbones.flux.backbone import BACKBONE
from swd.backbones.flux.condition import FluxCondition
from swd.backbones.flux.fast import FastFluxDenoiser
from swd.backbones.known import known
from swd.backbones.numbers import adapter_scale, guidance
from swd.backbones.scalewise import ScalewisePipeline
from swd.backbones.texts import TextArguments

Texts = str | Sequence[str] | None
_FIELDS = {"prompt_embeds": "prompt_embeds", "pooled_prompt_embeds": "pooled"}


class ScalewiseFluxPipeline(ScalewisePipeline, FluxPipeline):  # type: ignore[misc]  # diffusers is untyped
    """FluxPipeline whose resolution grows while it samples.

    Any FluxPipeline folder loads (``from_pretrained``), and so does a student's adapter (``load_lora_weights``), which
    brings its schedule, guidance and text length with it. Latents that go in and come out are images, (B, C, H, W):
    packing into tokens is the network's affair.

    A ``max_sequence_length`` in the folder's ``model_index.json`` is the default number of T5 tokens, else 512.
    """

    backbone = BACKBONE
    output_class = FluxPipelineOutput
    text_names = ("prompt", "prompt_2")
    embed_fields: ClassVar[Mapping[str, str]] = _FIELDS
    callback_fields: ClassVar[Mapping[str, str]] = _FIELDS
    default_guidance = BACKBONE.student_guidance

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        text_encoder_2: T5EncoderModel,
        tokenizer_2: T5TokenizerFast,
        transformer: FluxTransformer2DModel,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        feature_extractor: CLIPImageProcessor | None = None,
        max_sequence_length: int | None = None,
    ) -> None:
        super().__init__(
            scheduler,
            vae,
            text_encoder,
            tokenizer,
            text_encoder_2,
            tokenizer_2,
            transformer,
            image_encoder,
            feature_extractor,
        )
        if max_sequence_length is None:
            max_sequence_length = known(transformer).token_length
        self.register_to_config(max_sequence_length=max_sequence_length)
        self.disable_fast()

    def make_fast(self, options: FastOptions) -> FastFluxDenoiser:
        """The transformer with what does not depend on the latents computed once."""
        return FastFluxDenoiser(self.backbone.network(self), options)

    def uses_negatives(self, guidance_scale: float) -> bool:
        """Never: guidance is a number that the network reads."""
        return False

    def condition(self, embeds: Mapping[str, Tensor | None]) -> FluxCondition:
        """Condition of embeddings that a caller has; guidance follows with the call."""
        embeddings, pooled = (embeds[name] for name in self.embed_fields)
        if embeddings is None or pooled is None:
            raise ValueError(f"prompt_embeds and pooled_prompt_embeds go together, got {embeddings} and {pooled}")
        return FluxCondition.of(embeddings, pooled, self.default_guidance)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        negative_prompt: Texts = None,
        negative_prompt_2: Texts = None,
        true_cfg_scale: float | None = None,
        height: int | None = None,
        width: int | None = None,
        *,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        joint_attention_kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Draw images.

        Args:
            prompt: one or several; each distinct one is encoded once. CLIP reads it for the pooled text.
            prompt_2: for T5, whose tokens are all that the blocks read; ``prompt`` by default.
            negative_prompt: refused, as is everything of true guidance: FLUX takes guidance as a number.
            negative_prompt_2: refused.
            true_cfg_scale: refused above 1.
            height: pixels of the image, any that patches tile; only with ``width``. Square by default, and so is the
                square of the first scale read, which published snippets pass.
            width: pixels.
            prompt_embeds: (P, L, D) in place of prompts, with ``pooled_prompt_embeds`` (P, D).
            pooled_prompt_embeds: see ``prompt_embeds``.
            negative_prompt_embeds: refused.
            negative_pooled_prompt_embeds: refused.
            joint_attention_kwargs: of the transformer; ``{"scale": 0.5}`` halves the adapters.
            options: `CallOptions`: schedule, seeds and so on. ``guidance_scale`` is the number that the network reads,
                by default the student's own, else 4.5; FLUX.1-schnell reads none.

        Raises:
            TypeError: prompts that are no texts, or an unknown argument.
            ValueError: true guidance, guidance for a network that reads none, a schedule or a size that does not fit
                the network, empty or over-long prompts, and arguments that contradict each other.
        """
        negatives = {
            "negative_prompt": negative_prompt,
            "negative_prompt_2": negative_prompt_2,
            "negative_prompt_embeds": negative_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        _refuse_true_guidance(true_cfg_scale, [name for name, value in negatives.items() if value is not None])
        self._check_guidance(options.get("guidance_scale"))
        self._joint_attention_kwargs = joint_attention_kwargs
        text = TextArguments(
            texts={"prompt": prompt, "prompt_2": prompt_2},
            negatives={"negative_prompt": None},
            embeds={"prompt_embeds": prompt_embeds, "pooled_prompt_embeds": pooled_prompt_embeds},
            negative_embeds={},
            encoding={"lora_scale": adapter_scale("joint_attention_kwargs", joint_attention_kwargs)},
        )
        return self.draw(
            text,
            height=height,
            width=width,
            network_options={"joint_attention_kwargs": joint_attention_kwargs},
            **options,
        )

    def _check_guidance(self, guidance_scale: float | None) -> None:
        scale = 0.0 if guidance_scale is None else guidance("guidance_scale", guidance_scale)
        if scale > 1 and not BACKBONE.network(self).config.guidance_embeds:
            raise ValueError(
                f"this network (FLUX.1-schnell) reads no guidance, got guidance_scale={guidance_scale}: leave it out"
            )


def _refuse_true_guidance(true_cfg_scale: float | None, negatives: Sequence[str]) -> None:
    given = list(negatives)
    if true_cfg_scale is not None and guidance("true_cfg_scale", true_cfg_scale) > 1:
        given.append(f"true_cfg_scale={true_cfg_scale}")
    if given:
        raise ValueError(
            f"scale-wise FLUX samples without true (classifier-free) guidance, so {' and '.join(given)} has to be left "
            f"out; guidance_scale is the number that the network reads"
        )
