"""What the pipelines of all families share: everything between a user's arguments and images but the network itself."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from swd.backbones.arguments import Call, check_num_steps, check_output_type, resolve_schedule, resolve_seeds
from swd.backbones.attention_options import check_attention_options
from swd.backbones.base import Backbone, Denoiser
from swd.backbones.callbacks import Steered, StepEndCallback, check_names
from swd.backbones.devices import Placing, check_places
from swd.backbones.fast import FastSwitch
from swd.backbones.known import remember
from swd.backbones.lora_loading import StudentLoading
from swd.backbones.numbers import floats, guidance
from swd.backbones.pretrained import check_load_options
from swd.backbones.prompting import PromptingPipeline
from swd.backbones.sizes import SizeLimits, resolve_size
from swd.backbones.texts import TextArguments
from swd.errors import PipelineError
from swd.guidance import with_guidance
from swd.sampler import OnStepEnd, sample
from swd.schedule import PRESETS, ScaleSchedule


class ScalewisePipeline(Placing, FastSwitch, PromptingPipeline, StudentLoading):
    """Mixin that stands before a pipeline class of diffusers, and draws with a resolution that grows.

    A family gives the class attributes below, `make_fast`, and a ``__call__`` that sorts its arguments into
    `TextArguments` and hands them to `draw`. What may differ from what is here: `condition`, `guided`,
    `uses_negatives`, `told`, `resolve_schedule`, `decode`, `finished`.

    Attributes:
        backbone: the family.
        output_class: what holds the images.
        text_names: arguments of ``encode_prompt`` that are texts, one for each of the backbone's text encoders.
        embed_fields: fields of the condition by the names of the arguments that may give them.
        callback_fields: fields of the condition by the names that diffusers' callbacks know them by.
    """

    backbone: ClassVar[Backbone]
    output_class: ClassVar[type[Any]]
    text_names: ClassVar[tuple[str, ...]]
    embed_fields: ClassVar[Mapping[str, str]]
    callback_fields: ClassVar[Mapping[str, str]]

    # Of the pipeline class that this stands before:
    vae: Any
    vae_scale_factor: int
    image_processor: Any
    components: dict[str, Any]
    progress_bar: Any
    maybe_free_model_hooks: Any

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> Self:
        """The pipeline in a folder, or of a name on the Hub; options as in diffusers.

        Raises:
            TypeError: neither folder nor name, an unknown option, or one of another type.
            ValueError: a number of tokens out of range.
            PipelineError: it is of another class.
        """
        where = check_load_options(cls, pretrained_model_name_or_path, options)
        config = cls.load_config(pretrained_model_name_or_path, **where)  # type: ignore[attr-defined]
        found = config.get("_class_name")
        if found not in cls.backbone.pipelines:
            raise PipelineError(
                f"{pretrained_model_name_or_path} holds a {found}; {cls.__name__} takes "
                f"{' or '.join(cls.backbone.pipelines)}"
            )
        made: Self = super().from_pretrained(pretrained_model_name_or_path, **options)  # type: ignore[misc]  # of the pipeline class
        if cls.backbone.component not in options:  # else the network is of somebody else
            length = made.config.get("max_sequence_length")  # type: ignore[attr-defined]
            remember(cls.backbone.network(made), token_length=length)
        return made

    def to_json_string(self) -> str:
        """Config as it is saved: under the name of diffusers' class, so that plain diffusers opens the folder too."""
        config = json.loads(super().to_json_string())  # type: ignore[misc]  # of the pipeline class
        config["_class_name"] = self.backbone.pipelines[0]
        kept = {key: value for key, value in config.items() if value is not None}
        return json.dumps(kept, indent=2, sort_keys=True) + "\n"

    @torch.no_grad()
    def draw(
        self,
        text: TextArguments,
        *,
        height: int | None = None,
        width: int | None = None,
        network_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Images of a call.

        Args:
            text: texts and embeddings.
            height: pixels; see `resolve_size`.
            width: pixels.
            network_options: further arguments of the network's ``forward``; None and empty ones count as absent.
            options: `CallOptions`.

        Raises:
            TypeError: an unknown option, or prompts that are no texts.
            ValueError: for a schedule that shrinks or does not fit the network, empty or over-long prompts, and
                arguments that contradict each other.
        """
        call = Call.of(options)
        schedule = self.resolve_schedule(call)
        size = self._resolve_size(schedule, height, width)
        guidance_scale = self._resolve_guidance(call)
        check_names(call.callback_names, self.callback_fields)
        seeds = resolve_seeds(call.seeds, call.generator, self._count(text) * call.images_per_prompt)
        self._check_latents(call.latents, len(seeds), schedule, size)
        device = self._execution_device  # once: it looks at every module
        check_places(self._drawing_parts(call), device)
        student = self._student_denoiser(network_options)
        cond, uncond = self._conditions(text, call, guidance_scale, device)
        cond, uncond = self.told(cond, uncond, self._pixels(schedule, size))
        self._guidance_scale, self._interrupt, self._num_timesteps = guidance_scale, False, schedule.num_steps

        denoiser, cond, on_step_end = self._loop(student, cond, uncond, call, schedule)
        with self.progress_bar(total=schedule.num_steps) as bar:

            def report(step: int, x_t: Tensor, x0: Tensor) -> None:
                bar.update()
                if call.on_step is not None:
                    call.on_step(step, x_t, x0)

            x0 = sample(
                denoiser,
                schedule,
                cond,
                seeds,
                size=size,
                noise=call.latents,
                on_step=report,
                on_step_end=on_step_end,
                device=device,
            )
        result = x0 if call.output_type == "latent" else self.decode(x0, output_type=call.output_type)
        self.maybe_free_model_hooks()
        return self.output_class(images=result) if call.return_dict else (result,)

    def resolve_schedule(self, call: Call) -> ScaleSchedule:
        """The schedule of a call: its own arguments, else what the student says.

        Raises:
            ValueError: there is none, or it does not fit the network or the number of steps.
        """
        own = None if self.student is None else self.student.schedule()
        if call.names_schedule:
            schedule = resolve_schedule(call.schedule, call.scales, call.sigmas, call.timesteps)
        elif own is not None:
            schedule = own
        else:
            raise ValueError(
                "no schedule: load a student that describes itself (load_lora_weights), or give schedule=, the name of "
                f"a preset ({', '.join(PRESETS)}), or scales= and sigmas=, which go together"
            )
        plain = self._plain_denoiser()
        schedule.check_patch(plain.patch_size)
        schedule.check_process(plain.process.name)
        check_num_steps(schedule, call.num_inference_steps)
        return schedule

    def _drawing_parts(self, call: Call) -> dict[str, Any]:
        network = {self.backbone.component: self.backbone.network(self)}
        return network if call.output_type == "latent" else {**network, "vae": self.vae}

    def _plain_denoiser(self) -> Denoiser:
        return self.backbone.denoiser(self.backbone.network(self))

    def _resolve_size(self, schedule: ScaleSchedule, height: int | None, width: int | None) -> tuple[int, int] | None:
        plain = self._plain_denoiser()
        limits = SizeLimits(multiple=plain.patch_size, factor=self.vae_scale_factor, max_side=plain.max_side)
        return resolve_size(schedule, height, width, limits)

    def _pixels(self, schedule: ScaleSchedule, size: tuple[int, int] | None) -> tuple[int, int]:
        height, width = size or (schedule.scales[-1],) * 2
        return self.vae_scale_factor * height, self.vae_scale_factor * width

    def told(self, cond: Any, uncond: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """Conditions of a network that is told the size of the finished image, in pixels."""
        return cond.for_image(*size), None if uncond is None else uncond.for_image(*size)

    def _check_latents(
        self, latents: Tensor | None, images: int, schedule: ScaleSchedule, size: tuple[int, int] | None
    ) -> None:
        if latents is None:
            return
        floats("latents", latents)
        plain = self._plain_denoiser()
        expected = (images, plain.latent_channels, *schedule.latent_sizes(size, multiple=plain.patch_size)[0])
        if tuple(latents.shape) != expected:
            raise ValueError(f"latents are the noise of the first step, {expected}, got {tuple(latents.shape)}")
        if not latents.isfinite().all():
            raise ValueError("latents must be finite, got NaN or infinite numbers")

    def _resolve_guidance(self, call: Call) -> float:
        if call.guidance_scale is not None:
            return guidance("guidance_scale", call.guidance_scale)
        said = None if self.student is None else self.student.guidance_scale
        return self.backbone.student_guidance if said is None else said

    def _student_denoiser(self, network_options: Mapping[str, Any] | None) -> Denoiser:
        """What is evaluated, with further arguments of the network."""
        given = {name: value for name, value in (network_options or {}).items() if value}
        if given and self._fast_options is not None:
            raise ValueError(f"{' and '.join(given)} do not reach the fast path; call disable_fast()")
        for name, value in given.items():
            check_attention_options(name, value, self.backbone.network(self))
        student: Denoiser = self.denoiser()
        if given:
            student.network_options = given
        return student

    def guided(self, student: Denoiser, cond: Any, uncond: Any, guidance_scale: float) -> tuple[Any, Any]:
        """What the loop evaluates, and its condition.

        Args:
            student: the network.
            cond: condition, one row per image.
            uncond: of the negative texts, one row or one per image; None unless `uses_negatives`.
            guidance_scale: as called.
        """
        return with_guidance(student, uncond, guidance_scale), cond

    def _loop(
        self, student: Denoiser, cond: Any, uncond: Any, call: Call, schedule: ScaleSchedule
    ) -> tuple[Any, Any, OnStepEnd]:
        """What `sample` is called with: denoiser, condition, and what happens between steps."""
        callback, images = call.callback_on_step_end, len(cond)
        if callback is None:
            denoiser, cond = self.guided(student, cond, uncond, self._guidance_scale)
            return denoiser, cond, lambda step, x_t: (x_t, not self._interrupt)

        def guide(rows: Any, guidance_scale: float) -> tuple[Any, Any]:
            doubled = self.uses_negatives(guidance_scale)
            if len(rows) != (wanted := images * (1 + doubled)):
                raise ValueError(f"guidance {guidance_scale} takes {wanted} rows of text here, got {len(rows)}")
            negative = rows[:images] if doubled else None
            return self.guided(student, rows[len(rows) - images :], negative, guidance_scale)

        rows = cond if uncond is None else cond.cat([uncond.expand_to(images), cond])
        steered = Steered(student, rows, self._guidance_scale, guide)
        sigmas = torch.tensor(schedule.sigmas[:-1], device=cond.device, dtype=torch.float32)
        between = StepEndCallback(
            self,
            callback,
            call.callback_names,
            fields=self.callback_fields,
            steered=steered,
            timesteps=student.process.timestep(sigmas),
        )
        return steered, cond, between

    def finished(self, images: Tensor) -> Tensor:
        """What a family does to decoded images (B, 3, H, W) in [-1, 1]: nothing, mostly."""
        return images

    @torch.no_grad()
    def decode(self, x0: Tensor, *, output_type: str = "pt") -> Any:
        """Images of clean latents (B, C, H, W), as the pipeline returns them.

        Raises:
            TypeError: no tensor of floating-point numbers.
            ValueError: another shape, or an unknown type of images.
        """
        check_output_type(output_type)
        channels = self._plain_denoiser().latent_channels
        if floats("x0", x0).ndim != 4 or x0.shape[1] != channels:
            raise ValueError(f"x0 must be latents (B, {channels}, H, W), got {tuple(x0.shape)}")
        check_places({"vae": self.vae}, x0.device)
        latents = self.backbone.unwhiten(self.vae, x0)
        if self._fast_options is not None and self._fast_options.channels_last:
            latents = latents.to(memory_format=torch.channels_last)
        dtype = next(self.vae.parameters()).dtype  # its property looks at all of them
        images = self.finished(self.vae.decode(latents.to(dtype), return_dict=False)[0])
        return self.image_processor.postprocess(images, output_type=output_type)
