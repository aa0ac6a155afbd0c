"""What the metrics say of images of known quality, and whether each is fit for a claim.

Two conditions are told apart by a metric if their difference is at least as many standard errors as the declaration
asks for. The errors are those of a jackknife over groups of captions, which are the same in every condition.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from repro.harness.inference import Spread, of_replicates
from repro.harness.result import Measured
from repro.harness.schema import RecordError
from repro.kinds.validity import keys
from repro.kinds.validity.declare import Candidate, ValidityPage


@dataclass(frozen=True, slots=True)
class Number:
    """A number with its replicates, (G,)."""

    value: float
    replicates: np.ndarray

    def __sub__(self, other: "Number") -> "Number":
        return Number(self.value - other.value, self.replicates - other.replicates)

    def __truediv__(self, other: "Number") -> "Number":
        return Number(self.value / other.value, self.replicates / other.replicates)

    @property
    def error(self) -> float:
        """Standard error by the jackknife."""
        return self._spread.error

    @property
    def half(self) -> float:
        """Half-width of the 95 % interval, Student's t over groups."""
        return self._spread.half()

    @property
    def _spread(self) -> Spread:
        return of_replicates(np.array([self.value]), self.replicates[None, :], (0,), 0).spread()


@dataclass(frozen=True, slots=True)
class Contrast:
    """How much better a metric calls one condition than another, in its own unit and in standard errors."""

    better: str
    worse: str
    difference: float
    errors: float


class Held(StrEnum):
    """Whether a bar is held."""

    YES = "held"
    NO = "missed"
    OPEN = "not decided"


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio of decoded to real images beside what it should be."""

    ratio: float
    half: float
    held: Held


@dataclass(frozen=True, slots=True)
class Room:
    """How far the nearest sampled condition is from its ceiling, in standard errors of a primary metric."""

    errors: float
    metric: str
    condition: str


class ValidityResult(Measured[ValidityPage]):
    """The numbers and what follows from them."""

    def number(self, condition: str, metric: str) -> Number | None:
        """A number of a condition; None where its images do not determine it, or it was not measured."""
        found = self.records.find(condition, "", metric)
        if not found:
            return None
        replicates = self.series(condition, keys.without_group(metric))
        if found[0].value is None or replicates is None:
            return None
        return Number(found[0].value, np.array(replicates.values))

    def contrast(self, candidate: Candidate, better: str, worse: str) -> Contrast | None:
        """The first condition against the second; None where one has no number."""
        first, second = (self.number(key, candidate.column.key) for key in (better, worse))
        if first is None or second is None:
            return None
        gap = first - second
        difference = candidate.column.sign * gap.value
        if gap.error == 0:
            return Contrast(better, worse, difference, math.copysign(math.inf, difference) if difference else 0.0)
        return Contrast(better, worse, difference, difference / gap.error)

    def orders(self, candidate: Candidate) -> list[Contrast]:
        """Every pair that it must tell apart, as far as its images determine it."""
        found = (self.contrast(candidate, *pair) for pair in candidate.orders)
        return [contrast for contrast in found if contrast is not None]

    def faults(self, candidate: Candidate) -> list[str]:
        """Why it is not fit for a claim, in words; empty if it is."""
        barred = [candidate.barred] if candidate.barred else []
        return [
            *self._unordered(candidate),
            *self._above_ceiling(candidate),
            *self._unsteady(candidate),
            *self._opaque(candidate),
            *barred,
        ]

    @property
    def distance_bar(self) -> Bar:
        """Distance of decoded images to real ones, by that of other real ones."""
        return self._bar(self.experiment.floor_of, most=self.experiment.floor)

    @property
    def power_bar(self) -> Bar:
        """Power of the top band that the VAE keeps."""
        return self._bar(self.experiment.kept_of, least=self.experiment.kept)

    @cached_property
    def unfit(self) -> list[str]:
        """Metrics that claims rest on although they are not fit for it."""
        return [key for key in self.experiment.primary if self.faults(self.experiment.candidate(key))]

    @cached_property
    def told_apart(self) -> list[str] | None:
        """Primary metrics that call the worse network of the world's bar worse; None where it was not measured."""
        contrasts = {
            key: self.contrast(self.experiment.candidate(key), *self.experiment.worse) for key in self._primary
        }
        if None in contrasts.values():
            return None
        return [key for key, one in contrasts.items() if one is not None and one.errors >= self.experiment.separation]

    @cached_property
    def room(self) -> Room | None:
        """Between sampled images and real ones through the VAE, where there is least; None without sampled images."""
        sampled = [condition.key for condition in self.experiment.conditions if condition.row is not None]
        found = [
            Room(contrast.errors, key, condition)
            for key in self._primary
            for condition in sampled
            if (contrast := self.contrast(self.experiment.candidate(key), self.experiment.decoded, condition))
        ]
        return min(found, key=lambda room: room.errors, default=None)

    @property
    def _primary(self) -> tuple[str, ...]:
        return self.experiment.primary

    def _unordered(self, candidate: Candidate) -> Iterator[str]:
        for pair in candidate.orders:
            found, (better, worse) = self.contrast(candidate, *pair), map(self._label, pair)
            if lost := [key for key in pair if not self.records.find(key, "", candidate.column.key)]:
                yield f"was not tried on {', '.join(map(self._label, lost))}"
            elif found is None:
                yield f"does not say how {better} compares with {worse}"
            elif found.errors < -self.experiment.separation:
                yield f"calls {better} worse than {worse} ({_errors(found.errors)})"
            elif found.errors < self.experiment.separation:
                yield f"does not tell {better} from {worse} ({_errors(found.errors)})"

    def _above_ceiling(self, candidate: Candidate) -> Iterator[str]:
        others = (  # under a changed caption the same images are asked about other objects
            condition.key
            for condition in self.experiment.conditions
            if condition.key != candidate.ceiling and not condition.change
        )
        for other in others if candidate.ceiling else ():
            found = self.contrast(candidate, other, candidate.ceiling)
            if found is not None and found.errors > self.experiment.separation:
                label = self._label(candidate.ceiling)
                yield f"calls {self._label(other)} better than its ceiling, {label} ({_errors(found.errors)})"

    def _unsteady(self, candidate: Candidate) -> Iterator[str]:
        for key in candidate.steady:
            moved = self.contrast(candidate, self.experiment.real, key)
            whole = self.contrast(candidate, self.experiment.real, candidate.against)
            if moved is None or whole is None:
                continue
            share = abs(moved.difference / whole.difference)
            if share > self.experiment.steadiness and abs(moved.errors) > self.experiment.separation:
                against = self._label(candidate.against)
                yield f"is moved by {self._label(key)} {100 * share:.0f} % as much as by {against}"

    def _opaque(self, candidate: Candidate) -> Iterator[str]:
        if candidate.transparent:
            bar = self._bar(candidate.column.key, most=self.experiment.floor)
            if bar.held is not Held.YES:
                yield f"the VAE alone makes it {bar.ratio:.1f} times its floor"

    def _bar(self, metric: str, *, most: float = math.inf, least: float = -math.inf) -> Bar:
        decoded, real = (self.number(key, metric) for key in (self.experiment.decoded, self.experiment.real))
        if decoded is None or real is None:
            raise RecordError(f"{self.stem}: {metric} of real images is not determined")
        ratio = decoded / real
        low, high = ratio.value - ratio.half, ratio.value + ratio.half
        held = Held.YES if low >= least and high <= most else Held.NO if high < least or low > most else Held.OPEN
        return Bar(ratio.value, ratio.half, held)

    def _label(self, key: str) -> str:
        label = self.experiment.condition(key).label
        return label if label[:2].isupper() else label[:1].lower() + label[1:]


def _errors(errors: float) -> str:
    return f"{errors:+.1f} standard errors" if math.isfinite(errors) else "without any error"
