"""Scale-wise sampling for SD3 and SD3.5 students behind diffusers' own pipeline."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.pipelines.stable_diffusion_3.pipeline_output import StableDiffusion3PipelineOutput
from torch import Tensor, nn
from transformers import (
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    SiglipImageProcessor,
    SiglipVisionModel,
    T5EncoderModel,
    T5TokenizerFast,
)

from swd.backbones.arguments import resolve_aspect, resolve_schedule, resolve_seeds
from swd.backbones.prompt_cache import PromptCache
from swd.backbones.sd3.backbone import BACKBONE
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.backbones.sd3.fast import FastOptions, FastSD3Denoiser
from swd.backbones.shared_weights import all_modules, snapshot
from swd.guidance import with_guidance
from swd.sampler import OnStep, sample
from swd.schedule import ScaleSchedule

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


class ScalewiseStableDiffusion3Pipeline(StableDiffusion3Pipeline):  # type: ignore[misc]  # diffusers is untyped
    """StableDiffusion3Pipeline whose resolution grows while it samples.

    Any StableDiffusion3Pipeline folder loads (``from_pretrained``), and so does an exported student adapter
    (``load_lora_weights``). A plain StableDiffusion3Pipeline with FlowMatchLCMScheduler draws the same images, one at a
    time after ``torch.manual_seed(seed)``: it renoises from the global rng whatever generator it is given.
    A folder without T5 loads as it is; plain diffusers wants ``text_encoder_3=None, tokenizer_3=None`` for it.

    A ``max_sequence_length`` in the folder's ``model_index.json`` is the default number of T5 tokens: 0 for a model
    that was trained without any, where plain diffusers has to be told ``max_sequence_length=0`` in every call.
    """

    _optional_components: ClassVar[list[str]] = [
        *StableDiffusion3Pipeline._optional_components,
        "text_encoder_3",
        "tokenizer_3",
    ]
    _fast: FastSD3Denoiser | None
    _fast_options: FastOptions | None
    _prompts: PromptCache[TextCondition]

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
        max_sequence_length: int = 256,
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
        self.register_to_config(max_sequence_length=max_sequence_length)
        self.disable_fast()

    def enable_fast(self, options: FastOptions | None = None) -> None:
        """Draw the same images in less time from now on; all parts of `FastOptions` are on unless told otherwise.

        Components stay as they are and may change afterwards: the next call sees other adapters, weights or devices,
        and prepares again. Text encoders that change empty the prompt cache.

        Raises:
            ValueError: what `FastSD3Denoiser` refuses, here or, after a change, in the next call.
        """
        options = options or FastOptions()
        self._fast = FastSD3Denoiser(self.transformer, options)
        self._fast_options = options
        self._prompts = PromptCache(options.prompt_cache)

    def disable_fast(self) -> None:
        """Back to the transformer itself; cached prompts are dropped."""
        self._fast = None
        self._fast_options = None
        self._prompts = PromptCache(0)

    def denoiser(self) -> SD3Denoiser:
        """What a call evaluates at every step: the transformer, or its fast copy where `enable_fast` was called.

        Raises:
            ValueError: what `FastSD3Denoiser` refuses.
        """
        if self._fast_options is None:
            return SD3Denoiser(self.transformer)
        if self._fast is None or not self._fast.fits(self.transformer):
            self._fast = None  # first, so that its merged weights make room
            self._fast = FastSD3Denoiser(self.transformer, self._fast_options)
        return self._fast

    @property
    def _execution_device(self) -> torch.device:
        """As diffusers has it, found at once where nothing is offloaded: its own search takes 16 ms for SD3.5 Large."""
        parts = [part for part in self.components.values() if isinstance(part, nn.Module)]
        states = (vars(module) for part in parts for module in all_modules(part))
        if any("_hf_hook" in state or "_diffusers_hook" in state for state in states):  # what offloading leaves behind
            device: torch.device = super()._execution_device
            return device
        device = next(self.transformer.parameters()).device
        return device

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        schedule: ScaleSchedule | str | None = None,
        scales: Sequence[int] | None = None,
        sigmas: Sequence[float] | Tensor | None = None,
        timesteps: Sequence[float] | Tensor | None = None,
        guidance_scale: float = 1.0,
        negative_prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seeds: int | Sequence[int] | None = None,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        max_sequence_length: int | None = None,
        truncate: bool = False,
        output_type: str = "pil",
        return_dict: bool = True,
        on_step: OnStep | None = None,
    ) -> StableDiffusion3PipelineOutput | tuple[Any]:
        """Draw images.

        Args:
            prompt: one or several; each distinct one is encoded once.
            schedule: a `ScaleSchedule` or the name of a preset; else give ``scales`` and ``sigmas``.
            scales: latent side of each step.
            sigmas: noise level of each step, with or without the final 0.
            timesteps: accepted because published snippets pass it; has to be 1000 sigma.
            guidance_scale: students need none: 0 and 1 both mean none.
            negative_prompt: for guidance above 1; empty by default.
            height: pixels; only with ``width``. A scale is then the side of the square of the same area, so the image
                (or, as in published snippets, the first scale) must have this size. Square by default.
            width: pixels.
            num_images_per_prompt: images of a prompt stand next to each other.
            generator: torch generator, one for all images or one per image.
            seeds: one integer per image, or the first of consecutive ones. Image ``i`` depends on seed ``i`` only.
            prompt_embeds: (P, L, D) in place of ``prompt``, with ``pooled_prompt_embeds`` (P, D).
            pooled_prompt_embeds: see ``prompt_embeds``.
            max_sequence_length: T5 tokens (zeros when there is no T5, as in diffusers); the folder's own by default.
            truncate: cut over-long prompts where the encoders do, rather than refuse them.
            output_type: "pil", "np", "pt" (images in [0, 1]) or "latent".
            return_dict: whether to wrap the images in an output object.
            on_step: called after each evaluation with (step, x_t, x0).

        Raises:
            ValueError: for a schedule that shrinks or does not fit the network, empty or over-long prompts, and
                arguments that contradict each other.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        device = self._execution_device  # once: it looks at every module
        schedule = resolve_schedule(schedule, scales, sigmas, timesteps)
        schedule.check_patch(self.patch_size)
        aspect = resolve_aspect(schedule, height, width, multiple=self.patch_size, factor=self.vae_scale_factor)
        student = self.denoiser()
        schedule.check_size(student.max_side, aspect=aspect, multiple=self.patch_size)
        if num_images_per_prompt < 1:
            raise ValueError(f"num_images_per_prompt must be at least 1, got {num_images_per_prompt}")
        if prompt_embeds is None and pooled_prompt_embeds is None:
            prompts = [prompt] if isinstance(prompt, str) else list(prompt or ())
            cond = self.encode_condition(
                prompts, max_sequence_length=max_sequence_length, truncate=truncate, device=device
            )
        elif prompt is None and prompt_embeds is not None and pooled_prompt_embeds is not None:
            cond = TextCondition(prompt_embeds, pooled_prompt_embeds).to(device)
        else:
            raise ValueError("give either prompt, or both prompt_embeds and pooled_prompt_embeds")
        images = resolve_seeds(seeds, generator, len(cond) * num_images_per_prompt)
        uncond = None
        if guidance_scale > 1:
            uncond = self.encode_uncond(negative_prompt or "", max_sequence_length=max_sequence_length, device=device)
        self._guidance_scale = guidance_scale

        denoiser = with_guidance(student, uncond, guidance_scale)
        cond = cond.repeat(num_images_per_prompt)
        with self.progress_bar(total=schedule.num_steps) as bar:

            def report(step: int, x_t: Tensor, x0: Tensor) -> None:
                bar.update()
                if on_step is not None:
                    on_step(step, x_t, x0)

            x0 = sample(denoiser, schedule, cond, images, on_step=report, aspect=aspect, device=device)
        result = x0 if output_type == "latent" else self.decode(x0, output_type=output_type)
        self.maybe_free_model_hooks()
        return StableDiffusion3PipelineOutput(images=result) if return_dict else (result,)

    @torch.no_grad()
    def decode(self, x0: Tensor, *, output_type: str = "pt") -> Any:
        """Images of clean latents (B, C, H, W), as the pipeline returns them."""
        latents = BACKBONE.unwhiten(self.vae, x0)
        if self._fast_options is not None and self._fast_options.channels_last:
            latents = latents.to(memory_format=torch.channels_last)
        dtype = next(self.vae.parameters()).dtype  # its property looks at all of them
        images = self.vae.decode(latents.to(dtype), return_dict=False)[0]
        return self.image_processor.postprocess(images, output_type=output_type)

    def encode_condition(
        self,
        prompts: Sequence[str],
        *,
        max_sequence_length: int | None = None,
        truncate: bool = False,
        batch_size: int = 64,
        device: torch.device | None = None,
    ) -> TextCondition:
        """Condition with one row per prompt; each distinct prompt is encoded once.

        Args:
            prompts: what to draw.
            max_sequence_length: T5 tokens; the folder's own by default.
            truncate: cut over-long prompts where the encoders do, rather than refuse them.
            batch_size: prompts per pass.
            device: where the encoders run; found by itself when absent.

        Raises:
            ValueError: for an empty prompt, and for one that no text encoder can hold unless ``truncate``.
        """
        distinct = list(dict.fromkeys(prompts))
        if not distinct:
            raise ValueError("at least one prompt is needed, got none")
        length = max_sequence_length or self.config.max_sequence_length
        BACKBONE.check_prompts(self, distinct, length, truncate=truncate)
        chunks = [distinct[start : start + batch_size] for start in range(0, len(distinct), batch_size)]
        encoded = TextCondition.cat([self._encode(chunk, max_sequence_length, device) for chunk in chunks])
        row = {prompt: index for index, prompt in enumerate(distinct)}
        return encoded[[row[prompt] for prompt in prompts]]

    def encode_uncond(
        self,
        negative_prompt: str = "",
        *,
        max_sequence_length: int | None = None,
        device: torch.device | None = None,
    ) -> TextCondition:
        """Condition of the empty (or a negative) prompt for guidance, one row."""
        return self._encode([negative_prompt], max_sequence_length, device)

    @torch.no_grad()
    def _encode(
        self, prompts: list[str], max_sequence_length: int | None, device: torch.device | None
    ) -> TextCondition:
        length = self.config.max_sequence_length if max_sequence_length is None else max_sequence_length
        device = device or self._execution_device

        def encode(missing: list[str]) -> TextCondition:
            return BACKBONE.encode_prompts(self, missing, token_length=length, device=device)

        if not self._prompts.size:
            return encode(prompts)
        tokenizers = [self.tokenizer, self.tokenizer_2, self.tokenizer_3]
        encoders = snapshot(self.text_encoder, self.text_encoder_2, self.text_encoder_3)
        self._prompts.drop_unless([*tokenizers, *encoders])
        return self._prompts.encode(prompts, (length, device, self.text_encoder.dtype), encode)
