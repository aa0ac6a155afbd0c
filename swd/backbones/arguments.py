"""What a caller may write, turned into one schedule and one seed per image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from swd.flow import NUM_TIMESTEPS
from swd.sampler import Seed
from swd.schedule import ScaleSchedule, latent_size, preset


def resolve_schedule(
    schedule: ScaleSchedule | str | None,
    scales: Sequence[int] | None = None,
    sigmas: Sequence[float] | Tensor | None = None,
    timesteps: Sequence[float] | Tensor | None = None,
) -> ScaleSchedule:
    """One schedule from what a caller may give: a schedule, a preset's name, or scales and noise levels.

    Levels are sigmas, or timesteps of 1000 sigma, or both where they agree; with or without the final 0.

    Raises:
        ValueError: when neither or both are given, or they do not make a schedule.
    """
    if schedule is not None:
        if scales is not None or sigmas is not None or timesteps is not None:
            raise ValueError("give either a schedule or scales and sigmas, not both")
        return preset(schedule) if isinstance(schedule, str) else schedule
    times = None if timesteps is None else [float(timestep) for timestep in timesteps]
    levels = None if sigmas is None else [float(sigma) for sigma in sigmas]
    if levels is None and times is not None:
        levels = [time / NUM_TIMESTEPS for time in times]
    if scales is None or levels is None:
        raise ValueError(f"scales and sigmas go together, got scales={scales} and sigmas={sigmas}")
    if len(levels) == len(scales):
        levels.append(0.0)
    result = ScaleSchedule(tuple(int(scale) for scale in scales), tuple(levels))
    _check_times(times, [NUM_TIMESTEPS * level for level in levels])
    return result


def _check_times(given: list[float] | None, expected: list[float]) -> None:
    if given is None:
        return
    expected = expected if len(given) == len(expected) else expected[:-1]  # with the final 0, or without
    if len(given) != len(expected) or any(abs(a - b) > 1e-2 for a, b in zip(given, expected, strict=True)):
        raise ValueError(f"timesteps must be 1000 sigma, {expected}, got {given}")


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
    chosen: list[Seed]
    if seeds is not None:
        chosen = list(seeds)
    elif isinstance(generator, Sequence):
        chosen = list(generator)
    else:
        rng = generator or torch.Generator()
        if generator is None:
            rng.seed()
        return [rng] * count
    if len(chosen) != count:
        raise ValueError(f"{count} images need {count} seeds, got {len(chosen)}")
    return chosen


def resolve_aspect(
    schedule: ScaleSchedule, height: int | None, width: int | None, *, multiple: int, factor: int
) -> float:
    """Width / height in pixels, once the size asked for is one that the schedule reaches; square when none is.

    Args:
        schedule: whose last latent, or first, has the size.
        height: pixels; only with ``width``.
        width: pixels.
        multiple: of which latent sides are.
        factor: pixels per latent.

    Raises:
        ValueError: the schedule gives another size, or one of the two is missing.
    """
    if height is None and width is None:
        return 1.0
    if height is None or width is None:
        raise ValueError(f"height and width go together, got height={height} and width={width}")
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be positive, got {height} x {width}")
    aspect = width / height
    latents = [
        latent_size(scale, aspect=aspect, multiple=multiple) for scale in (schedule.scales[-1], schedule.scales[0])
    ]
    sizes = [(factor * rows, factor * columns) for rows, columns in latents]
    if (height, width) not in sizes:
        raise ValueError(
            f"height x width = {height} x {width} does not belong to scales {schedule.scales}: at this aspect "
            f"ratio they give {sizes[0][0]} x {sizes[0][1]}"
        )
    return aspect
