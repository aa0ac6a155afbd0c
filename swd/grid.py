"""The teacher's noise levels: where the undistilled model evaluates, and where losses draw theirs from.

Every pipeline lays such a grid in its own way. `TeacherGrid` is the grid as a value: with its noise process, it says
what a schedule is cut from and which family of networks it can be meant for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

from swd.values import one_of, real, several, whole

Process = Literal["flow", "variance-preserving"]
GridEnd = Literal["shifted", "thousandth", "step"]
Levels = TypeVar("Levels", float, Any)

GRID_STEPS = 28
SHIFT = 3.0
MOST_STEPS = 1000  # training timesteps
MOST_TOKENS = 2**20  # of an image; beyond, a shift that grows with them soon overflows
SMALLEST_SIGMA = 1 / MOST_STEPS


def time_shift(sigma: Levels, shift: float) -> Levels:
    """Move noise levels up for larger images: shift sigma / (1 + (shift - 1) sigma), [0, 1] -> [0, 1].

    Args:
        sigma: a level, or an array or tensor of several, whose numbers are not looked at.
        shift: s > 0; 1 moves nothing.

    Raises:
        TypeError: no numbers.
        ValueError: a level outside [0, 1], or a shift that is not positive.
    """
    shift = real("shift", shift, above=0)
    if not getattr(sigma, "ndim", 0):
        sigma = real("sigma", sigma, least=0, most=1)
    return shift * sigma / (shift * sigma + (1 - sigma))  # exactly 1 at 1, unlike the usual form


def sigma_grid(num_steps: int = GRID_STEPS, shift: float = SHIFT, *, end: GridEnd = "shifted") -> tuple[float, ...]:
    """The teacher's grid, ``num_steps + 1`` falling levels from 1 to a final 0: even steps, then the time shift.

    Args:
        num_steps: network evaluations of the teacher.
        shift: time shift of the model, 3 for SD3.5; 1 is none.
        end: the last level above 0, before the shift. "shifted": 0.001, shifted once ahead of time, as
            FlowMatchEulerDiscreteScheduler does; the SD3.5 boundaries (.9454, .8959, ...) are those of that grid.
            "thousandth": 0.001; FLUX's published boundaries (.8956, ...) are those of that one. "step": 1 / num_steps,
            which FluxPipeline asks for, and which is the "trailing" spacing of DDIM.

    Raises:
        TypeError: no numbers.
        ValueError: no number of steps from 1 to 1000, a ``shift`` that is not positive, or an unknown ``end``.
    """
    num_steps, shift = whole("num_steps", num_steps, 1, MOST_STEPS), real("shift", shift, above=0)
    one_of("end", end, get_args(GridEnd))
    if end == "step":
        return (*(time_shift((num_steps - step) / num_steps, shift) for step in range(num_steps)), 0.0)
    last = time_shift(SMALLEST_SIGMA, shift) if end == "shifted" else SMALLEST_SIGMA
    gap = (1 - last) / max(num_steps - 1, 1)
    return (*(time_shift(1 - step * gap, shift) for step in range(num_steps)), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenShift:
    """A time shift that grows with the image: exp(mu), mu linear in the number of image tokens.

    Attributes:
        tokens: two numbers of tokens.
        mu: log of the shift at each.
    """

    tokens: tuple[int, int] = (256, 4096)
    mu: tuple[float, float] = (0.5, 1.15)

    def at(self, num_tokens: int) -> float:
        """Shift for an image of so many tokens, beyond the two numbers too."""
        num_tokens = whole("num_tokens", num_tokens, 1, MOST_TOKENS)
        slope = (self.mu[1] - self.mu[0]) / (self.tokens[1] - self.tokens[0])
        if self.tokens[0] == self.tokens[1]:
            raise ValueError(f"tokens must be two different numbers, got {self.tokens}")
        return math.exp(self.mu[0] + slope * (num_tokens - self.tokens[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherGrid:
    """How a family of models lays its grid, and at which of its levels the losses work.

    Attributes:
        process: what a level means: ``x_t = (1 - sigma) x0 + sigma noise``, or t / 1000 of discrete diffusion.
        num_steps: network evaluations, as published.
        shift: time shift of the levels; a `TokenShift` where it depends on the size of the image.
        end: the last level above 0, see `sigma_grid`.
        dmd_indices: half-open range of indices that DMD and GAN draw from.
        pdm_indices: the same of PDM.

    Raises:
        TypeError: an argument of another type.
        ValueError: a time shift of a process that has none, or an argument out of range.
    """

    process: Process = "flow"
    num_steps: int = GRID_STEPS
    shift: float | TokenShift = SHIFT
    end: GridEnd = "shifted"
    dmd_indices: tuple[int, int] = (12, 28)
    pdm_indices: tuple[int, int] = (18, 28)

    def __post_init__(self) -> None:
        one_of("process", self.process, get_args(Process))
        one_of("end", self.end, get_args(GridEnd))
        whole("num_steps", self.num_steps, 1, MOST_STEPS)
        for name in ("dmd_indices", "pdm_indices"):
            _check_pair(name, getattr(self, name))
        if not isinstance(self.shift, TokenShift):
            real("shift", self.shift, above=0)
        self._check_shift(self.shift)

    def _check_shift(self, shift: float | TokenShift) -> None:
        if self.process != "flow" and shift != 1:
            raise ValueError(f"a {self.process} process has no time shift: shift must be 1, got {shift}")

    def levels(
        self, *, num_tokens: int | None = None, num_steps: int | None = None, shift: float | None = None
    ) -> tuple[float, ...]:
        """Falling noise levels from 1 to a final 0.

        Args:
            num_tokens: of the image, where the shift depends on it.
            num_steps: in place of the published number.
            shift: in place of the family's own.

        Raises:
            ValueError: a shift of a process that has none, no positive number of steps, or no ``num_tokens`` where
                the shift depends on it.
        """
        shift = self.shift_at(num_tokens) if shift is None else shift
        self._check_shift(shift)
        return sigma_grid(self.num_steps if num_steps is None else num_steps, shift, end=self.end)

    def shift_at(self, num_tokens: int | None = None) -> float:
        """The time shift for an image of so many tokens.

        Raises:
            ValueError: it depends on the number, and there is none.
        """
        if not isinstance(self.shift, TokenShift):
            return self.shift
        if num_tokens is None:
            raise ValueError("the time shift depends on the number of image tokens: give num_tokens, or a shift")
        return self.shift.at(num_tokens)


def _check_pair(name: str, value: tuple[int, int]) -> None:
    indices = [whole(name, index) for index in several(name, value)]
    if len(indices) != 2:
        raise ValueError(f"{name} must be two indices, the second not in the range, got {value!r}")


GRIDS: Mapping[str, TeacherGrid] = MappingProxyType(
    {
        "sd35": TeacherGrid(),
        "sd35-even": TeacherGrid(shift=1.0, dmd_indices=(6, 28), pdm_indices=(11, 28)),  # SD3.5's levels for the losses
        "flux": TeacherGrid(end="thousandth"),
        # t = 1000, 980, ..., 20; DMD as far as SD3.5's (t = 790), PDM up to t = 400
        "sdxl": TeacherGrid(
            process="variance-preserving",
            num_steps=50,
            shift=1.0,
            end="step",
            dmd_indices=(10, 50),
            pdm_indices=(30, 50),
        ),
    }
)
"""What published students are cut from, by the family that they belong to."""

FLUX_SAMPLING = TeacherGrid(shift=TokenShift(), end="step")
"""How FluxPipeline samples; the released students of FLUX are cut from ``GRIDS["flux"]``."""
