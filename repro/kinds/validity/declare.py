"""What the page of metrics is, as data: images of known quality, and what each metric must say of them."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from repro.harness.experiment import Column, Experiment, Row

Source = Literal["real", "decoded", "blur", "jpeg", "other", "repeat", "sampled"]


@dataclass(frozen=True, slots=True)
class Condition:
    """Images of known quality for the prompts of the page.

    Args:
        key: variant in the records.
        label: in the tables.
        source: the real images behind the prompts; these through the VAE, blurred, or as JPEG; real images of other
            captions; one real image for all prompts of a caption; or those of a network.
        amount: of blur (by how much the side shrinks and grows again) or quality of the JPEG.
        change: in what the captions that images are measured against differ from those of the images, in one word.
        row: the network that samples, as in a table: the teacher, or a student that ships.

    Raises:
        ValueError: images are sampled and nobody samples them, or the other way round.
    """

    key: str
    label: str
    source: Source
    amount: int = 0
    change: str = ""
    row: Row | None = None

    def __post_init__(self) -> None:
        if (self.source == "sampled") != (self.row is not None):
            raise ValueError(f"condition {self.key}: a row samples the images of source 'sampled' and of no other")


Pair = tuple[str, str]
"""Keys of two conditions, the better first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A metric, and what it must say to be used in a claim.

    Args:
        column: how it is shown; its key is that of the world's number.
        orders: pairs of conditions that it must tell apart.
        ceiling: the condition that no other may be better than; empty where there is none.
        steady: conditions that must hardly move it, beside what ``against`` does.
        against: the condition that ``steady`` is measured by.
        transparent: whether the VAE's own share must be small: it compares with images that did not pass the VAE.
        barred: why no claim may use it however well it orders.
        cost: conditions a tenth of whose difference is the margin of claims; None for what no claim is about.
    """

    column: Column
    orders: tuple[Pair, ...]
    ceiling: str = ""
    steady: tuple[str, ...] = ()
    against: str = ""
    transparent: bool = False
    barred: str = ""
    cost: Pair | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityPage(Experiment):
    """Every metric of a world on images of known quality.

    Args:
        images: prompts of each set.
        references: real images of each set that distances are measured to.
        conditions: in page order.
        real: the condition of real images.
        decoded: that of real images through the VAE.
        candidates: in page order.
        separation: standard errors that tell two conditions apart.
        steadiness: largest share of the ``against`` difference that a steady condition may make.
        floor: the VAE's bar: distance of decoded images by that of real ones, at most.
        floor_of: candidate whose distance that is.
        kept: the VAE's other bar: power of decoded images by that of real ones, at least.
        kept_of: candidate whose power that is.
        primary: candidates that the claims of the tables rest on.
        worse: the world's bar: the second condition is worse than the first in at least ``worse_in`` of these.
        worse_in: so many.
        room: its other bar: standard errors between a sampled condition and ``decoded`` in each of these.
    """

    PAGE_ONLY: ClassVar[frozenset[str]] = Experiment.PAGE_ONLY | {
        "candidates",
        "real",
        "decoded",
        "separation",
        "steadiness",
        "floor",
        "floor_of",
        "kept",
        "kept_of",
        "primary",
        "worse",
        "worse_in",
        "room",
    }

    images: tuple[tuple[str, int], ...]
    references: int
    conditions: tuple[Condition, ...]
    candidates: tuple[Candidate, ...]
    real: str = "real"
    decoded: str = "decoded"
    separation: float
    steadiness: float
    floor: float
    floor_of: str
    kept: float
    kept_of: str
    primary: tuple[str, ...]
    worse: Pair
    worse_in: int
    room: float

    @property
    def content(self) -> dict[str, Any]:
        """Without what is asked of the numbers; with their names."""
        declared = super(ValidityPage, self).content  # a class with slots knows no bare super()
        return {**declared, "candidates": [candidate.column.key for candidate in self.candidates]}

    def __post_init__(self) -> None:
        known = {condition.key for condition in self.conditions}
        asked = {self.real, self.decoded, *self.worse}
        for candidate in self.candidates:
            named = {candidate.ceiling, candidate.against, *candidate.steady, *(candidate.cost or ())} - {""}
            asked |= named | {key for pair in candidate.orders for key in pair}
        if unknown := sorted(asked - known):
            raise ValueError(f"{self.key} asks for conditions {', '.join(unknown)}, which it does not declare")

    def condition(self, key: str) -> Condition:
        """The condition of that key."""
        return next(condition for condition in self.conditions if condition.key == key)

    def candidate(self, key: str) -> Candidate:
        """The candidate whose column has that key."""
        return next(candidate for candidate in self.candidates if candidate.column.key == key)
