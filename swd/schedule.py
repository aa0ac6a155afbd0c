"""Which noise level and which latent side each student step works at.

A schedule is cut from the teacher's own sigma grid by boundary indices (v1 section 4): step ``i`` covers the
interval from boundary ``i`` to boundary ``i + 1`` and starts at the sigma of boundary ``i``.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, get_args

from swd.grid import GRID_STEPS, GRIDS, Process, TeacherGrid, sigma_grid
from swd.values import as_whole, is_real, one_of, several, shown, size_of, typed, whole

LARGEST_SIDE = 2**16  # of a latent: half a million pixels
UpscaleMode = Literal["bicubic", "bilinear", "nearest", "fourier"]
"""Ways to a larger latent (`swd.resize.upscale`)."""


@dataclass(frozen=True, slots=True)
class ScaleSchedule:
    """One student step per entry: step ``i`` denoises from ``sigmas[i]`` at ``scales[i]``.

    ``sigmas`` has one more entry than ``scales``: the last is the clean end, always 0.
    Scales are latent side lengths, so pixels are ``scale * vae_factor``. ``process`` says what the sigmas mean, None
    leaves it open. ``upscale`` is how x0 gets to the next scale; the method's is bicubic.

    Raises:
        TypeError: scales or sigmas that are no lists, or a sigma that is no number.
        ValueError: when there is no step, a scale is not a positive integer, scales shrink, sigmas do not fall strictly
            from at most 1 to exactly 0, or the upscaling is unknown.
    """

    scales: tuple[int, ...]
    sigmas: tuple[float, ...]
    process: Process | None = None
    upscale: UpscaleMode = "bicubic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(map(_plain, several("scales", self.scales))))
        sigmas = tuple(_number(sigma) for sigma in several("sigmas", self.sigmas))
        object.__setattr__(self, "sigmas", sigmas)
        self._check_scales()
        self._check_sigmas()
        upscale: Any = self.upscale
        if not isinstance(upscale, str) or upscale not in get_args(UpscaleMode):
            raise ValueError(f"upscale must be one of {', '.join(get_args(UpscaleMode))}, got {shown(self.upscale)}")
        process: Any = self.process
        if process is not None and (not isinstance(process, str) or process not in get_args(Process)):
            raise ValueError(f"process must be one of {', '.join(get_args(Process))}, got {shown(self.process)}")

    def _check_scales(self) -> None:
        if not self.scales:
            raise ValueError("a schedule needs at least one scale, got none")
        if any(type(scale) is not int or scale < 1 for scale in self.scales):
            raise ValueError(f"scales must be positive integers (latent sides), got {shown(self.scales)}")
        if self.scales[-1] > LARGEST_SIDE:
            raise ValueError(f"scales must be at most {LARGEST_SIDE}, got {shown(self.scales)}")
        if any(small > large for small, large in pairwise(self.scales)):
            raise ValueError(f"scales must not shrink, got {self.scales}")

    def _check_sigmas(self) -> None:
        if len(self.sigmas) != len(self.scales) + 1:
            raise ValueError(f"{len(self.scales)} scales need {len(self.scales) + 1} sigmas, got {len(self.sigmas)}")
        if not all(high > low for high, low in pairwise(self.sigmas)):  # also catches NaN
            raise ValueError(f"sigmas must fall strictly, got {shown(self.sigmas)}")
        if self.sigmas[0] > 1 or self.sigmas[-1] != 0:
            raise ValueError(f"sigmas must run from at most 1 to exactly 0, got {self.sigmas}")

    @classmethod
    def from_boundaries(
        cls,
        boundaries: Sequence[int],
        scales: Sequence[int],
        levels: Sequence[float] | None = None,
        *,
        process: Process | None = None,
        upscale: UpscaleMode = "bicubic",
    ) -> "ScaleSchedule":
        """Cut a schedule from the teacher's grid.

        Args:
            boundaries: indices into the grid, rising, from the first step's start to its last level, the clean end.
            scales: latent side of each step, one fewer than boundaries.
            levels: the grid; SD3.5's when absent.
            process: what the levels mean.
            upscale: how x0 gets to the next scale.

        Raises:
            TypeError: no lists, or a boundary that is no whole number.
            ValueError: when boundaries do not rise strictly within the grid and end where it does.
        """
        boundaries = tuple(whole("boundaries", boundary) for boundary in several("boundaries", boundaries))
        levels = sigma_grid() if levels is None else several("levels", levels)
        num_steps = len(levels) - 1
        rises = all(low < high for low, high in pairwise(boundaries))
        if not boundaries or not rises or boundaries[0] < 0 or boundaries[-1] != num_steps:
            raise ValueError(
                f"boundaries must rise strictly within 0..{num_steps} and end there, got {shown(boundaries)}"
            )
        return cls(
            tuple(several("scales", scales)), tuple(levels[boundary] for boundary in boundaries), process, upscale
        )

    @property
    def num_steps(self) -> int:
        """Network evaluations per image."""
        return len(self.scales)

    @property
    def is_scalewise(self) -> bool:
        """Whether the resolution grows while sampling; a constant scale is the full-scale baseline."""
        return self.scales[0] != self.scales[-1]

    def until(self, scale: int) -> "ScaleSchedule":
        """The steps up to the last one at ``scale``, whose x0 is then the image.

        Args:
            scale: latent side.

        Raises:
            TypeError: no whole number.
            ValueError: no step works at that side.
        """
        scale = whole("scale", scale)
        if scale not in self.scales:
            raise ValueError(f"a schedule of scales {self.scales} has no step at scale {shown(scale)}")
        steps = self.num_steps - self.scales[::-1].index(scale)
        return replace(self, scales=self.scales[:steps], sigmas=(*self.sigmas[:steps], 0.0))

    def check_process(self, process: Process) -> None:
        """Raise ValueError where the sigmas are those of another noise process than the network's."""
        if self.process not in (None, one_of("process", process, get_args(Process))):
            raise ValueError(
                f"the schedule is one of a {self.process} process, and the network's is {process}: sigmas "
                f"{self.sigmas} would mean other noise"
            )

    def check_patch(self, patch_size: int) -> None:
        """Raise ValueError unless the network's patches tile every scale."""
        patch_size = whole("patch_size", patch_size, 1, LARGEST_SIDE)
        bad = [scale for scale in self.scales if scale % patch_size]
        if bad:
            raise ValueError(f"scales must be multiples of the patch size {patch_size}, got {bad} in {self.scales}")

    def latent_sizes(self, size: tuple[int, int] | None = None, *, multiple: int = 1) -> tuple[tuple[int, int], ...]:
        """Height and width of the latent of each step.

        The last is ``size`` exactly. Earlier ones are ``size * s_i / s_N``, rounded to the nearest multiple of the
        patch size (halves up), and at least one patch.

        Args:
            size: of the last latent; by default the square of the last scale, and then every latent is the square of
                its scale.
            multiple: the patch size, which has to divide ``size``.

        Raises:
            TypeError: no whole numbers.
            ValueError: a side is not a positive multiple.
        """
        last, multiple = self.scales[-1], whole("multiple", multiple, 1, LARGEST_SIDE)
        height, width = (last, last) if size is None else size_of("size", size, None, LARGEST_SIDE)
        if min(height, width) < 1 or height % multiple or width % multiple:
            raise ValueError(
                f"latent sides must be positive multiples of {multiple}, got {shown(height)} x {shown(width)}"
            )

        def scaled(side: int, scale: int) -> int:
            return max(multiple, (2 * side * scale + last * multiple) // (2 * last * multiple) * multiple)

        return tuple((scaled(height, scale), scaled(width, scale)) for scale in self.scales)

    def check_size(self, max_side: int | None, size: tuple[int, int] | None = None) -> None:
        """Raise ValueError where the last latent is larger than the ``max_side`` at which a network's positions end.

        A network without such an end has None.
        """
        height, width = (self.scales[-1],) * 2 if size is None else size_of("size", size, 1, LARGEST_SIDE)
        if max_side is not None and max(height, width) > whole("max_side", max_side, 1):
            raise ValueError(
                f"scales must stay within the network's largest latent side {max_side}, got {self.scales} with a last "
                f"latent of {height} x {width}"
            )

    def num_tokens(self, patch_size: int) -> int:
        """Image tokens over all steps, the compute of one image to first order."""
        patch_size = whole("patch_size", patch_size, 1, LARGEST_SIDE)
        return sum((scale // patch_size) ** 2 for scale in self.scales)


def check_schedule(schedule: object) -> None:
    """Raise TypeError unless a value is a schedule."""
    if not isinstance(schedule, ScaleSchedule):
        raise TypeError(f"schedule must be a ScaleSchedule, such as swd.preset makes, got {typed(schedule)}")


def _plain(scale: Any) -> Any:
    """A whole number of whatever library as Python's; anything else as it is, to be refused with all others."""
    number = as_whole(scale)
    return scale if number is None else number


def _number(sigma: Any) -> float:
    if not is_real(sigma):
        raise TypeError(f"sigmas must be a list of numbers, got {typed(sigma)} among them")
    return float(sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """A published schedule as it is published: sides, and boundaries of a grid of `swd.grid.GRIDS`."""

    scales: tuple[int, ...]
    boundaries: tuple[int, ...]
    family: str = "sd35"

    @property
    def grid(self) -> TeacherGrid:
        """What it is cut from."""
        return GRIDS[self.family]

    def check_grid(self, grid: TeacherGrid) -> None:
        """Raise ValueError where the boundaries would mean something else on ``grid`` than on the published one."""
        own = self.grid
        if (grid.process, grid.num_steps) != (own.process, own.num_steps):
            raise ValueError(
                f"scales {self.scales} are cut from {own.num_steps} steps of a {own.process} process, the grid has "
                f"{grid.num_steps} of {grid.process}: give scales and boundaries"
            )

    def build(self) -> ScaleSchedule:
        """The schedule it stands for."""
        return ScaleSchedule.from_boundaries(
            self.boundaries, self.scales, self.grid.levels(), process=self.grid.process
        )


_SIX, _FOUR, _TWO = (0, 4, 7, 12, 14, 18, 28), (0, 7, 14, 18, 28), (0, 14, 28)
_EVEN_SIX = (0, 5, 9, 14, 18, 23, 28)
_EVERY = tuple(range(GRID_STEPS + 1))

PRESETS: Mapping[str, ScheduleSpec] = MappingProxyType(
    {
        "sd35-6": ScheduleSpec(scales=(32, 48, 64, 80, 96, 128), boundaries=_SIX),
        "sd35-4": ScheduleSpec(scales=(64, 80, 96, 128), boundaries=_FOUR),
        "sd35-4-2025": ScheduleSpec(scales=(32, 64, 96, 128), boundaries=(0, 4, 12, 18, 28)),
        "sd35-full-6": ScheduleSpec(scales=(128,) * 6, boundaries=_SIX),
        "sd35-full-4": ScheduleSpec(scales=(128,) * 4, boundaries=_FOUR),
        "sd35-full-2": ScheduleSpec(scales=(128,) * 2, boundaries=_TWO),
        "flux-4": ScheduleSpec(scales=(64, 80, 96, 128), boundaries=_FOUR, family="flux"),
        "sdxl-4": ScheduleSpec(scales=(64, 80, 96, 128), boundaries=(0, 10, 20, 30, 50), family="sdxl"),
        "mini-6": ScheduleSpec(scales=(8, 12, 16, 20, 24, 32), boundaries=_SIX),
        "mini-4": ScheduleSpec(scales=(16, 20, 24, 32), boundaries=_FOUR),
        # Constant until the last step: two compared with the progressive one in v2, Table 9.
        "sd35-half-6": ScheduleSpec(scales=(64,) * 5 + (128,), boundaries=_SIX),
        "sd35-quarter-6": ScheduleSpec(scales=(32,) * 5 + (128,), boundaries=_SIX),
        "mini-half-6": ScheduleSpec(scales=(16,) * 5 + (32,), boundaries=_SIX),
        "mini-quarter-6": ScheduleSpec(scales=(8,) * 5 + (32,), boundaries=_SIX),
        # Without time shift, at noise levels as evenly spaced as 28 steps allow: an ablation.
        "sd35-even-6": ScheduleSpec(scales=(32, 48, 64, 80, 96, 128), boundaries=_EVEN_SIX, family="sd35-even"),
        "mini-even-6": ScheduleSpec(scales=(8, 12, 16, 20, 24, 32), boundaries=_EVEN_SIX, family="sd35-even"),
        "mini-full-6": ScheduleSpec(scales=(32,) * 6, boundaries=_SIX),
        "mini-full-4": ScheduleSpec(scales=(32,) * 4, boundaries=_FOUR),
        "mini-full-2": ScheduleSpec(scales=(32,) * 2, boundaries=_TWO),
        # By Figure 1's spectrum of scenes, at the published levels: the widest margin of noise over signal (22.6) that
        # costs no more tokens, from the smallest side that the teacher was trained at: 5.7 % and 3.1 % fewer.
        "mini-spectrum-6": ScheduleSpec(scales=(8, 8, 14, 16, 28, 32), boundaries=_SIX),
        "mini-spectrum-4": ScheduleSpec(scales=(8, 16, 28, 32), boundaries=_FOUR),
        # The undistilled teacher's own steps; it grows where noise has ten times the power of what the side lacks.
        "mini-grow-2": ScheduleSpec(scales=(16,) * 16 + (32,) * 12, boundaries=_EVERY),
        "mini-grow-3": ScheduleSpec(scales=(8,) * 11 + (16,) * 5 + (32,) * 12, boundaries=_EVERY),
    }
)


def preset(name: str) -> ScaleSchedule:
    """A published schedule, or a mini one, by name.

    Raises:
        TypeError: no text.
        ValueError: when there is no such preset; names the nearest ones.
    """
    return preset_spec(name).build()


def preset_spec(name: str) -> ScheduleSpec:
    """A preset as it is published, to be cut from another grid than the published one.

    Raises:
        TypeError: no text.
        ValueError: when there is no such preset; names the nearest ones.
    """
    if not isinstance(name, str):
        raise TypeError(f"a preset must be named by one of {', '.join(PRESETS)}, got {typed(name)}")
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.3)
        raise ValueError(f"no preset {shown(name)}; nearest: {', '.join(near) or 'none'}; all: {', '.join(PRESETS)}")
    return PRESETS[name]
