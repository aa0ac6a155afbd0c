"""What a caller may write, turned into one schedule and one seed per image."""

import difflib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self, TypedDict

import torch
from torch import Tensor

from swd.backbones.numbers import SEEDS
from swd.flow import NUM_TIMESTEPS
from swd.sampler import OnStep, Seed
from swd.schedule import PRESETS, ScaleSchedule, preset
from swd.values import flag, real, several, shown, typed, whole

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
Generators = torch.Generator | Sequence[torch.Generator]
StepEnd = Callable[[Any, int, Any, dict[str, Any]], Mapping[str, Any] | None]


class CallOptions(TypedDict, total=False):
    """Arguments that every scale-wise pipeline takes by keyword, beside its own texts, embeddings and sizes.

    Attributes:
        schedule: a `ScaleSchedule` or the name of a preset; else give ``scales`` and ``sigmas``. A student that
            describes itself needs none.
        scales: latent side of each step.
        sigmas: noise level of each step, with or without the final 0.
        timesteps: accepted because published snippets pass it; has to be 1000 sigma.
        num_inference_steps: accepted where it is the number of steps of the schedule.
        guidance_scale: most students need none: 0 and 1 both mean none. The student's own by default.
        num_images_per_prompt: images of a prompt stand next to each other.
        generator: torch generator, one for all images or one per image.
        seeds: one integer per image, or the first of consecutive ones. Image ``i`` depends on seed ``i`` only.
        latents: noise of the first step, (B, C, h_1, w_1), in place of what the seeds give for it.
        max_sequence_length: tokens of T5; by default the student's own, or the folder's, or 512.
        truncate: cut over-long prompts where the encoders do, rather than refuse them.
        output_type: "pil", "np", "pt" (images in [0, 1]) or "latent".
        return_dict: whether to wrap the images in an output object.
        on_step: called after each evaluation with (step, x_t, x0).
        callback_on_step_end: called after each step with (pipeline, step, timestep, tensors), as in diffusers. It may
            return other tensors to go on with. Latents are those of the next step, renoised and at its scale, and after
            the last step clean. ``pipeline._interrupt = True`` ends the call with the latents as they are.
        callback_on_step_end_tensor_inputs: names of the tensors that it gets.
    """

    schedule: ScaleSchedule | str | None
    scales: Sequence[int] | None
    sigmas: Sequence[float] | Tensor | None
    timesteps: Sequence[float] | Tensor | None
    num_inference_steps: int | None
    guidance_scale: float | None
    num_images_per_prompt: int | None
    generator: Generators | None
    seeds: int | Sequence[int] | None
    latents: Tensor | None
    max_sequence_length: int | None
    truncate: bool
    output_type: str
    return_dict: bool
    on_step: OnStep | None
    callback_on_step_end: StepEnd | None
    callback_on_step_end_tensor_inputs: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`CallOptions` with their defaults.

    Raises:
        TypeError: switches that are not True or False, callbacks that are no functions, numbers that are none.
        ValueError: what is wrong whatever the pipeline.
    """

    schedule: ScaleSchedule | str | None = None
    scales: Sequence[int] | None = None
    sigmas: Sequence[float] | Tensor | None = None
    timesteps: Sequence[float] | Tensor | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    num_images_per_prompt: int | None = 1
    generator: Generators | None = None
    seeds: int | Sequence[int] | None = None
    latents: Tensor | None = None
    max_sequence_length: int | None = None
    truncate: bool = False
    output_type: str = "pil"
    return_dict: bool = True
    on_step: OnStep | None = None
    callback_on_step_end: StepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)

    def __post_init__(self) -> None:
        check_output_type(self.output_type)
        for name in ("truncate", "return_dict"):
            flag(name, getattr(self, name))
        for name in ("on_step", "callback_on_step_end"):
            if (value := getattr(self, name)) is not None and not callable(value):
                raise TypeError(f"{name} must be a function, got {typed(value)}")
        self._check_names()
        if whole("num_images_per_prompt", self.images_per_prompt, None, 10**6) < 1:
            raise ValueError(f"num_images_per_prompt must be at least 1, got {self.num_images_per_prompt}")

    def _check_names(self) -> None:
        names: Any = self.callback_on_step_end_tensor_inputs
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"callback_on_step_end_tensor_inputs must be a list of names, got {typed(names)}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """From keyword arguments; unknown ones that are None count as absent.

        Raises:
            TypeError: an unknown argument; names the nearest ones.
        """
        known = CallOptions.__annotations__
        for name, value in options.items():
            if name not in known and value is not None:
                near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.5)) or "none"
                raise TypeError(f"scale-wise sampling does not take {name}={shown(value)}; nearest arguments: {near}")
        return cls(**{name: value for name, value in options.items() if name in known})

    @property
    def images_per_prompt(self) -> int:
        """1 where diffusers' None stands."""
        return 1 if self.num_images_per_prompt is None else self.num_images_per_prompt

    @property
    def callback_names(self) -> Sequence[str]:
        """Tensors that the callback gets; callbacks of diffusers' own classes say it themselves."""
        own: Sequence[str] | None = getattr(self.callback_on_step_end, "tensor_inputs", None)
        return self.callback_on_step_end_tensor_inputs if own is None else own

    @property
    def names_schedule(self) -> bool:
        """Whether any part of a schedule is given."""
        return any(part is not None for part in (self.schedule, self.scales, self.sigmas, self.timesteps))


def check_output_type(value: Any) -> None:
    """Raise ValueError where a value is no kind of images."""
    if not isinstance(value, str) or value not in OUTPUT_TYPES:
        raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {typed(value)}")


def resolve_schedule(
    schedule: ScaleSchedule | str | None,
    scales: Sequence[int] | None = None,
    sigmas: Sequence[float] | Tensor | None = None,
    timesteps: Sequence[float] | Tensor | None = None,
) -> ScaleSchedule:
    """One schedule from what a caller may give: a schedule, a preset's name, or scales and noise levels.

    Levels are sigmas, or timesteps of 1000 sigma, or both where they agree; with or without the final 0.

    Raises:
        TypeError: something else than a schedule or a name, or than lists of numbers.
        ValueError: when neither or both are given, or they do not make a schedule.
    """
    if schedule is not None:
        if scales is not None or sigmas is not None or timesteps is not None:
            raise ValueError("give either a schedule or scales and sigmas, not both")
        return _named(schedule)
    times = None if timesteps is None else [real("timesteps", time) for time in several("timesteps", timesteps)]
    levels = None if sigmas is None else [real("sigmas", sigma) for sigma in several("sigmas", sigmas)]
    sides = None if scales is None else [whole("scales", scale, 1, 10**6 - 1) for scale in several("scales", scales)]
    if levels is None and times is not None:
        levels = [time / NUM_TIMESTEPS for time in times]
    if sides is None or levels is None:
        raise ValueError(f"scales and sigmas go together, got scales={shown(scales)} and sigmas={shown(sigmas)}")
    if len(levels) == len(sides):
        levels.append(0.0)
    result = ScaleSchedule(tuple(sides), tuple(levels))
    _check_times(times, [NUM_TIMESTEPS * level for level in levels])
    return result


def _named(schedule: Any) -> ScaleSchedule:
    if not isinstance(schedule, ScaleSchedule | str):
        raise TypeError(
            f"schedule must be a ScaleSchedule or the name of a preset ({', '.join(PRESETS)}), got {typed(schedule)}"
        )
    return preset(schedule) if isinstance(schedule, str) else schedule


def _check_times(given: list[float] | None, expected: list[float]) -> None:
    if given is None:
        return
    expected = expected if len(given) == len(expected) else expected[:-1]  # with the final 0, or without
    if len(given) != len(expected) or any(abs(a - b) > 1e-2 for a, b in zip(given, expected, strict=True)):
        raise ValueError(f"timesteps must be 1000 sigma, {expected}, got {given}")


def check_num_steps(schedule: ScaleSchedule, num_inference_steps: int | None) -> None:
    """Raise ValueError where a number of steps is asked for that is not the schedule's."""
    if num_inference_steps is not None and whole("num_inference_steps", num_inference_steps) != (schedule.num_steps):
        raise ValueError(
            f"num_inference_steps={num_inference_steps} does not agree with the schedule, which sets them and has "
            f"{schedule.num_steps} steps at scales {schedule.scales}; leave it out, or choose another schedule"
        )


def resolve_seeds(
    seeds: int | Sequence[int] | None, generator: torch.Generator | Sequence[torch.Generator] | None, count: int
) -> list[Seed]:
    """One seed or rng per image; fresh entropy when neither is given.

    Raises:
        TypeError: seeds that are no whole numbers, generators that are none.
        ValueError: when both are given, there are not ``count`` of them, or a seed is negative or above 63 bits.
    """
    if seeds is not None and generator is not None:
        raise ValueError("give either seeds or generator, not both")
    if seeds is None and (generator is None or isinstance(generator, torch.Generator)):
        rng = torch.Generator() if generator is None else generator
        if generator is None:
            rng.seed()
        return [rng] * count
    chosen = _seeds(seeds, count) if seeds is not None else _generators(generator)
    if len(chosen) != count:
        raise ValueError(f"{count} images need {count} seeds, got {len(chosen)}")
    return chosen


def _seeds(seeds: Any, count: int) -> list[Seed]:
    """The seeds as they are given, or the first of consecutive ones; generators may stand among them."""
    single = (
        isinstance(seeds, str | bytes | Mapping | Set)
        or not hasattr(seeds, "__iter__")
        or getattr(seeds, "ndim", 1) == 0
    )
    if single:
        first = whole("seeds", seeds, 0, SEEDS - 1)
        whole("the last seed", first + count - 1, 0, SEEDS - 1)
        return list(range(first, first + count))
    return [seed if isinstance(seed, torch.Generator) else whole("seeds", seed, 0, SEEDS - 1) for seed in seeds]


def _generators(generators: Any) -> list[Seed]:
    found = list(generators) if isinstance(generators, list | tuple) else [generators]
    for one in found:
        if not isinstance(one, torch.Generator):
            raise TypeError(
                f"generator must be a torch.Generator or a list of them, got {typed(one)}; numbers are seeds="
            )
    return found
