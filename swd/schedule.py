"""Which noise level and which latent side each student step works at.

A schedule is cut from the teacher's own sigma grid by boundary indices (v1 section 4): step ``i`` covers the
interval from boundary ``i`` to boundary ``i + 1`` and starts at the sigma of boundary ``i``.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

GRID_STEPS = 28
SHIFT = 3.0
SMALLEST_SIGMA = 1e-3  # one part in the 1000 training timesteps


def time_shift(sigma: float, shift: float) -> float:
    """Move noise levels up for larger images: shift sigma / (1 + (shift - 1) sigma), [0, 1] -> [0, 1]."""
    return shift * sigma / (shift * sigma + (1 - sigma))  # exactly 1 at 1, unlike the usual form


def sigma_grid(num_steps: int = GRID_STEPS, shift: float = SHIFT, *, shift_end: bool = True) -> tuple[float, ...]:
    """The teacher's Euler grid, ``num_steps + 1`` falling levels from 1 to a final 0.

    Args:
        num_steps: network evaluations of the teacher.
        shift: time shift of the model, 3 for SD3.5.
        shift_end: shift the smallest level before the grid is laid as well as after it. FlowMatchEulerDiscreteScheduler
            does so, and the SD3.5 boundaries (.9454, .8959, ...) are those of that grid; FLUX's are not (.8956, ...).

    Raises:
        ValueError: when ``num_steps`` or ``shift`` is not positive.
    """
    if num_steps < 1 or not shift > 0:
        raise ValueError(f"num_steps and shift must be positive, got {num_steps} and {shift}")
    end = time_shift(SMALLEST_SIGMA, shift) if shift_end else SMALLEST_SIGMA
    gap = (1 - end) / max(num_steps - 1, 1)
    return (*(time_shift(1 - step * gap, shift) for step in range(num_steps)), 0.0)


def latent_size(scale: int, *, aspect: float = 1.0, multiple: int = 1) -> tuple[int, int]:
    """Height and width of the latent whose area is that of a ``scale`` x ``scale`` square.

    Args:
        scale: side of the square.
        aspect: width / height.
        multiple: both are rounded to multiples of this, the patch size.
    """
    height, width = scale / math.sqrt(aspect), scale * math.sqrt(aspect)
    return _round_to(height, multiple), _round_to(width, multiple)


def _round_to(value: float, multiple: int) -> int:
    return max(multiple, multiple * round(value / multiple))


@dataclass(frozen=True, slots=True)
class ScaleSchedule:
    """One student step per entry: step ``i`` denoises from ``sigmas[i]`` at ``scales[i]``.

    ``sigmas`` has one more entry than ``scales``: the last is the clean end, always 0.
    Scales are latent side lengths, so pixels are ``scale * vae_factor``.

    Raises:
        ValueError: when there is no step, a scale is not a positive integer, scales shrink, or sigmas do not fall
            strictly from at most 1 to exactly 0.
    """

    scales: tuple[int, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        object.__setattr__(self, "sigmas", tuple(float(sigma) for sigma in self.sigmas))
        self._check_scales()
        self._check_sigmas()

    def _check_scales(self) -> None:
        if not self.scales:
            raise ValueError("a schedule needs at least one scale, got none")
        if any(type(scale) is not int or scale < 1 for scale in self.scales):
            raise ValueError(f"scales must be positive integers (latent sides), got {self.scales}")
        if any(small > large for small, large in pairwise(self.scales)):
            raise ValueError(f"scales must not shrink, got {self.scales}")

    def _check_sigmas(self) -> None:
        if len(self.sigmas) != len(self.scales) + 1:
            raise ValueError(f"{len(self.scales)} scales need {len(self.scales) + 1} sigmas, got {len(self.sigmas)}")
        if not all(high > low for high, low in pairwise(self.sigmas)):  # also catches NaN
            raise ValueError(f"sigmas must fall strictly, got {self.sigmas}")
        if self.sigmas[0] > 1 or self.sigmas[-1] != 0:
            raise ValueError(f"sigmas must run from at most 1 to exactly 0, got {self.sigmas}")

    @classmethod
    def from_boundaries(
        cls,
        boundaries: Sequence[int],
        scales: Sequence[int],
        shift: float = SHIFT,
        *,
        num_steps: int = GRID_STEPS,
        shift_end: bool = True,
    ) -> "ScaleSchedule":
        """Cut a schedule from the teacher's grid.

        Args:
            boundaries: indices into the grid, rising, from the first step's start to ``num_steps`` (the clean end).
            scales: latent side of each step, one fewer than boundaries.
            shift: time shift of the grid.
            num_steps: steps of the grid.
            shift_end: see `sigma_grid`.

        Raises:
            ValueError: when boundaries do not rise strictly within the grid and end at ``num_steps``.
        """
        boundaries = tuple(boundaries)
        rises = all(low < high for low, high in pairwise(boundaries))
        if not boundaries or not rises or boundaries[0] < 0 or boundaries[-1] != num_steps:
            raise ValueError(f"boundaries must rise strictly within 0..{num_steps} and end there, got {boundaries}")
        grid = sigma_grid(num_steps, shift, shift_end=shift_end)
        return cls(tuple(scales), tuple(grid[boundary] for boundary in boundaries))

    @property
    def num_steps(self) -> int:
        """Network evaluations per image."""
        return len(self.scales)

    @property
    def is_scalewise(self) -> bool:
        """Whether the resolution grows while sampling; a constant scale is the full-scale baseline."""
        return self.scales[0] != self.scales[-1]

    def check_patch(self, patch_size: int) -> None:
        """Raise ValueError unless the network's patches tile every scale."""
        bad = [scale for scale in self.scales if scale % patch_size]
        if bad:
            raise ValueError(f"scales must be multiples of the patch size {patch_size}, got {bad} in {self.scales}")

    def check_size(self, max_side: int | None, *, aspect: float = 1.0, multiple: int = 1) -> None:
        """Raise ValueError where the last latent is larger than the ``max_side`` at which a network's positions end.

        A network without such an end has None.
        """
        height, width = latent_size(self.scales[-1], aspect=aspect, multiple=multiple)
        if max_side is not None and max(height, width) > max_side:
            raise ValueError(
                f"scales must stay within the network's largest latent side {max_side}, got {self.scales} with a last "
                f"latent of {height} x {width}"
            )

    def num_tokens(self, patch_size: int) -> int:
        """Image tokens over all steps, the compute of one image to first order."""
        return sum((scale // patch_size) ** 2 for scale in self.scales)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """A published schedule as it is published: sides, and either boundaries of the grid or sigmas themselves."""

    scales: tuple[int, ...]
    boundaries: tuple[int, ...] | None = None
    sigmas: tuple[float, ...] | None = None
    shift: float = SHIFT
    shift_end: bool = True

    def build(self) -> ScaleSchedule:
        """The schedule it stands for."""
        if self.boundaries is None:
            return ScaleSchedule(self.scales, self.sigmas or ())
        return ScaleSchedule.from_boundaries(self.boundaries, self.scales, self.shift, shift_end=self.shift_end)


_SIX, _FOUR, _TWO = (0, 4, 7, 12, 14, 18, 28), (0, 7, 14, 18, 28), (0, 14, 28)

PRESETS: Mapping[str, ScheduleSpec] = MappingProxyType(
    {
        "sd35-6": ScheduleSpec(scales=(32, 48, 64, 80, 96, 128), boundaries=_SIX),
        "sd35-4": ScheduleSpec(scales=(64, 80, 96, 128), boundaries=_FOUR),
        "sd35-4-2025": ScheduleSpec(scales=(32, 64, 96, 128), boundaries=(0, 4, 12, 18, 28)),
        "sd35-full-6": ScheduleSpec(scales=(128,) * 6, boundaries=_SIX),
        "sd35-full-4": ScheduleSpec(scales=(128,) * 4, boundaries=_FOUR),
        "sd35-full-2": ScheduleSpec(scales=(128,) * 2, boundaries=_TWO),
        "flux-4": ScheduleSpec(scales=(64, 80, 96, 128), boundaries=_FOUR, shift_end=False),
        "sdxl-4": ScheduleSpec(scales=(64, 80, 96, 128), sigmas=(1.0, 0.8, 0.6, 0.4, 0.0)),
        "mini-6": ScheduleSpec(scales=(8, 12, 16, 20, 24, 32), boundaries=_SIX),
        "mini-4": ScheduleSpec(scales=(16, 20, 24, 32), boundaries=_FOUR),
        "mini-full-6": ScheduleSpec(scales=(32,) * 6, boundaries=_SIX),
        "mini-full-4": ScheduleSpec(scales=(32,) * 4, boundaries=_FOUR),
        "mini-full-2": ScheduleSpec(scales=(32,) * 2, boundaries=_TWO),
    }
)


def preset(name: str) -> ScaleSchedule:
    """A published schedule, or a mini one, by name.

    Raises:
        ValueError: when there is no such preset; names the nearest ones.
    """
    return preset_spec(name).build()


def preset_spec(name: str) -> ScheduleSpec:
    """A preset as it is published, to be cut from another grid than the published one.

    Raises:
        ValueError: when there is no such preset; names the nearest ones.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.3)
        raise ValueError(f"no preset {name!r}; nearest: {', '.join(near) or 'none'}; all: {', '.join(PRESETS)}")
    return PRESETS[name]
