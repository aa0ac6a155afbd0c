"""What Table 1 is, as data: where to upscale on the way from a small clean latent to a large noisy one."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from repro.harness.experiment import Column, Experiment, ExperimentError
from repro.harness.plan import latent_side
from repro.harness.profile import Profile
from repro.harness.reported import Reported
from repro.harness.scope import ClaimKind, Scope
from repro.kinds.upscaling import keys

Order = Literal["A", "B", "C", "D", "E"]
Mode = Literal["bicubic", "bilinear", "nearest", "fourier"]  # as swd.resize has them; torch stays out of here
ORDERS: dict[Order, str] = {
    "A": "x0 \u2192 noise \u2192 x_t",
    "B": "x0 down \u2192 upscale \u2192 x0 \u2192 noise \u2192 x_t",
    "C": "x0 down \u2192 noise \u2192 x_t down \u2192 upscale \u2192 x_t",
    "D": "x0 down \u2192 less noise \u2192 x_t down \u2192 its DCT, fresh noise above \u2192 x_t (not in the paper)",
    "E": "x0 down \u2192 noise \u2192 x_t down \u2192 its x0, noise \u2192 upscale \u2192 x_t (not in the paper)",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One row: an order, the side it starts from (the full one for A), and how it upscales.

    D and E are those of ``swd.growth``: spectral expansion, and the lift of the teacher's estimate without renoising.
    """

    order: Order
    side: int
    mode: Mode = "bicubic"

    @property
    def key(self) -> str:
        """Variant in the records."""
        if self.order == "A":
            return "A"
        return f"{self.order}_{self.side}" + ("" if self.mode == "bicubic" else f"_{self.mode}")

    @property
    def upscaling(self) -> str:
        """What interpolates, in words."""
        return {"A": "none", "D": "DCT"}.get(self.order, self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A claim about Frechet distances: a sum of cells is larger than another, or not smaller by the metric's margin.

    Args:
        larger, smaller: (cell, timestep) on each side, by cell key.
        kind: ``better`` or ``not_worse``: of what stands under ``smaller``, for a small distance is a good one.
        primary: whether its p is adjusted over the table's other primary claims.
        statement: key of the sentence of the paper that it asks (`repro.harness.statements`).
    """

    key: str
    text: str
    larger: tuple[tuple[str, int], ...]
    smaller: tuple[tuple[str, int], ...]
    kind: ClaimKind = "better"
    source: str = "v1, Table 1"
    primary: bool = True
    statement: str = ""

    @property
    def scope(self) -> Scope:
        """The cells of both sides, and the noise levels that they are compared at."""
        terms = (*self.larger, *self.smaller)
        levels = ", ".join(str(level) for level in sorted({level for _, level in terms}))
        rows = tuple(dict.fromkeys(cell for cell, _ in terms))
        return Scope(rows=rows, conditions=f"t = {levels}", kind=self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscalingTable(Experiment):
    """Where upscaling may happen, and how.

    Args:
        cells: rows, the full latent first.
        timesteps: noise levels from which the teacher finishes, 1000 sigma.
        images: for each row and level, where the profile does not say.
        contrasts: claims of the paper.
        reported: where the paper's numbers are; rows are found by order and by the share of the side.
        sources: versions of the paper in that file, by its column ``source``.
        relative_tolerance: agreement allows this share of a published number, where that is more than its tolerance.
        published_notes: in place of ``notes`` where models and metrics are the published ones.
    """

    PAGE_ONLY: ClassVar[frozenset[str]] = Experiment.PAGE_ONLY | {
        "contrasts",
        "reported",
        "sources",
        "relative_tolerance",
        "published_notes",
    }

    cells: tuple[Cell, ...]
    timesteps: tuple[int, ...]
    images: int
    contrasts: tuple[Contrast, ...]
    reported: Reported
    sources: tuple[str, ...] = ("v1", "v2")
    relative_tolerance: float = 0.0
    published_notes: tuple[str, ...] = ()

    def column(self, metric: Column, timestep: int) -> Column:
        """The column of a noise level, in a metric of the profile."""
        label = f"{metric.label} at t = {timestep}"
        name = keys.distance(metric.key, timestep)
        return Column(name, label, better="lower", role=metric.role, margin=metric.margin, digits=metric.digits)

    def images_of_set(self, profile: Profile) -> int:
        """Images of each prompt set, for each row and level."""
        if profile.data.finished_set:
            return narrowed(profile).images_per_set
        sets = len(profile.prompt_sets)
        return min(self.images, profile.images_per_set * sets) // sets

    def in_profile(self, cell: Cell, profile: Profile) -> Cell:
        """A row with its side in a profile: the first row has the whole side."""
        return replace(cell, side=cell.side * latent_side(profile) // self.cells[0].side)


def distance_column(profile: Profile) -> Column:
    """The metric of a profile that compares distributions.

    Raises:
        ExperimentError: it has none.
    """
    found = next((column for column in profile.columns if column.role == "distribution"), None)
    if found is None:
        raise ExperimentError(f"profile {profile.name} has no distance of distributions, which Table 1 compares")
    return found


def narrowed(profile: Profile) -> Profile:
    """A profile with what this measures alone: the set of prompts with real images, so many, in one metric.

    Raises:
        ExperimentError: the metric was left out.
    """
    data = profile.data
    if not data.finished_set:
        return profile
    column = distance_column(profile)
    scorers = tuple(scorer for scorer in profile.scorers if scorer.name == column.key)
    if not scorers:
        raise ExperimentError(f"this compares {column.label} alone: it cannot be measured without {column.key}")
    count = data.num_prompts or min(data.finished_images or profile.images_per_set, profile.images_per_set)
    return replace(
        profile,
        columns=(column,),
        prompt_sets=tuple(prompts for prompts in profile.prompt_sets if prompts.key == data.finished_set),
        images_per_set=count,
        scorers=tuple(replace(scorer, prompts=(data.finished_set,)) for scorer in scorers),
    )
