"""What Table 1 is, as data: where to upscale on the way from a small clean latent to a large noisy one."""

from dataclasses import dataclass
from typing import Literal

from repro.harness.experiment import Column, Experiment, Reported
from repro.harness.scope import Scope
from repro.kinds.upscaling import keys

Order = Literal["A", "B", "C"]
Mode = Literal["bicubic", "bilinear", "nearest", "fourier"]  # as swd.resize has them; torch stays out of here
ORDERS: dict[Order, str] = {
    "A": "x0 \u2192 noise \u2192 x_t",
    "B": "x0 down \u2192 upscale \u2192 x0 \u2192 noise \u2192 x_t",
    "C": "x0 down \u2192 noise \u2192 x_t down \u2192 upscale \u2192 x_t",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One row: an order, the side it starts from (the full one for A), and how it upscales."""

    order: Order
    side: int
    mode: Mode = "bicubic"

    @property
    def key(self) -> str:
        """Variant in the records."""
        if self.order == "A":
            return "A"
        return f"{self.order}_{self.side}" + ("" if self.mode == "bicubic" else f"_{self.mode}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A claim about Frechet distances: a sum of cells minus another is positive, or not below minus a margin.

    Args:
        larger, smaller: (cell, timestep) on each side, by cell key.
        margin: a (cell, timestep) whose own 95 % half-width the claim allows; None for none.
    """

    key: str
    text: str
    larger: tuple[tuple[str, int], ...]
    smaller: tuple[tuple[str, int], ...]
    margin: tuple[str, int] | None = None
    source: str = "v1, Table 1"

    @property
    def scope(self) -> Scope:
        """The cells of both sides, and the noise levels that they are compared at."""
        terms = (*self.larger, *self.smaller)
        levels = ", ".join(str(level) for level in sorted({level for _, level in terms}))
        return Scope(rows=tuple(dict.fromkeys(cell for cell, _ in terms)), conditions=f"t = {levels}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscalingTable(Experiment):
    """Where upscaling may happen, and how.

    Args:
        cells: rows, the full latent first.
        timesteps: noise levels from which the teacher finishes, 1000 sigma.
        images: for each row and level.
        contrasts: claims of the paper.
        reported: where the paper's numbers are; rows are found by order and by the share of the side.
    """

    cells: tuple[Cell, ...]
    timesteps: tuple[int, ...]
    images: int
    contrasts: tuple[Contrast, ...]
    reported: Reported

    def column(self, timestep: int) -> Column:
        """The column of a noise level."""
        return Column(keys.fid_e(timestep), f"FID-E at t = {timestep}", better="lower", digits=2)
