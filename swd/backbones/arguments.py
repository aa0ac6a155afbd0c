"""What a caller may write, turned into one schedule and one seed per image."""

from collections.abc import Sequence

import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor

from swd.flow import NUM_TIMESTEPS
from swd.sampler import Seed
from swd.schedule import ScaleSchedule, preset


def resolve_schedule(
    schedule: ScaleSchedule | str | None,
    scales: Sequence[int] | None = None,
    sigmas: Sequence[float] | Tensor | None = None,
    timesteps: Sequence[float] | Tensor | None = None,
) -> ScaleSchedule:
    """One schedule from what a caller may give: a schedule, a preset's name, or scales and sigmas.

    Raises:
        ValueError: when neither or both are given, or they do not make a schedule.
    """
    if schedule is not None:
        if scales is not None or sigmas is not None or timesteps is not None:
            raise ValueError("give either a schedule or scales and sigmas, not both")
        return preset(schedule) if isinstance(schedule, str) else schedule
    if scales is None or sigmas is None:
        raise ValueError(f"scales and sigmas go together, got scales={scales} and sigmas={sigmas}")
    levels = [float(sigma) for sigma in sigmas]
    if len(levels) == len(scales):
        levels.append(0.0)
    result = ScaleSchedule(tuple(int(scale) for scale in scales), tuple(levels))
    expected = [NUM_TIMESTEPS * level for level in levels[:-1]]
    given = expected if timesteps is None else [float(timestep) for timestep in timesteps]
    if len(given) != len(expected) or any(abs(a - b) > 1e-2 for a, b in zip(given, expected, strict=True)):
        raise ValueError(f"timesteps must be 1000 sigma, {expected}, got {given}")
    return result


def resolve_seeds(
    seeds: int | Sequence[int] | None, generator: torch.Generator | Sequence[torch.Generator] | None, count: int
) -> list[Seed]:
    """One seed or rng per image; fresh entropy when neither is given.

    Raises:
        ValueError: when both are given, or there are not ``count`` of them.
    """
    if seeds is not None and generator is not None:
        raise ValueError("give either seeds or generator, not both")
    if isinstance(seeds, int):
        return list(range(seeds, seeds + count))
    if seeds is None and not isinstance(generator, Sequence):
        rng = generator or torch.Generator()
        if generator is None:
            rng.seed()
        return [rng] * count
    chosen: list[Seed] = list(seeds if seeds is not None else generator or ())
    if len(chosen) != count:
        raise ValueError(f"{count} images need {count} seeds, got {len(chosen)}")
    return chosen


def check_prompt(pipeline: StableDiffusion3Pipeline, prompt: str, t5_length: int, *, truncate: bool = False) -> None:
    """As `check_prompts`, for one."""
    check_prompts(pipeline, [prompt], t5_length, truncate=truncate)


def check_prompts(
    pipeline: StableDiffusion3Pipeline, prompts: Sequence[str], t5_length: int, *, truncate: bool = False
) -> None:
    """Refuse prompts that say nothing, or more than the text encoders read.

    Args:
        pipeline: its tokenizers count.
        prompts: what to draw.
        t5_length: tokens that T5 takes, where there is one.
        truncate: let the encoders cut an over-long prompt.

    Raises:
        ValueError: a prompt is empty, or too long for every text encoder.
    """
    for prompt in prompts:
        if not prompt.strip():
            raise ValueError(f"prompts must not be empty, got {prompt!r}")
    if truncate:
        return
    limits = [(tokenizer, pipeline.tokenizer_max_length) for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2)]
    if pipeline.text_encoder_3 is not None:
        limits.append((pipeline.tokenizer_3, t5_length))
    beyond = [(prompt, 0) for prompt in prompts]
    for tokenizer, limit in limits:  # CLIP's loss is no loss where T5 reads the rest
        if not beyond:
            return
        left = [prompt for prompt, _ in beyond]
        counts = [len(row) for row in tokenizer(left, verbose=False).input_ids]
        beyond = [(prompt, count) for prompt, count in zip(left, counts, strict=True) if count > limit]
    if beyond:
        prompt, count = beyond[0]
        raise ValueError(
            f"prompt has {count} tokens, the text encoders take {limit}; shorten it, or ask for it to be "
            f"truncated: {prompt[:80]!r}"
        )
