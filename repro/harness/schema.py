"""The kinds of lines of a records file: ``run``, ``record``, ``per_image``, ``series``, ``curve`` and ``votes``."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 2
CAPTIONS = "captions"  # variant and metric of the per-image line that numbers the caption of each image
Over = Literal["round", "replicate", "part", "step"]
Choice = Literal["left", "right", "tie"]


class RecordError(ValueError):
    """A records file that cannot be trusted; the message starts with ``file:line``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Where numbers come from. ``commit`` and ``dirty`` are None outside a git checkout.

    Stages that an earlier run finished are reused: ``stage_commits`` lists the commits that did the work, ``dirty`` is
    True if any of them was, and ``wall_seconds`` counts this run alone. ``figures`` gives the digests of those that
    cannot be drawn again from the records. ``metrics`` is what values follow from, by prompt set and metric: formula or
    recipe, hashes of weights and of the real images.
    """

    run: str
    table: str
    profile: str
    commit: str | None
    dirty: bool | None
    config: Mapping[str, Any]
    config_hash: str
    versions: Mapping[str, str]
    device: str
    dtype: str
    data_hash: str
    weights_hash: str
    command: str
    start: str
    wall_seconds: float
    peak_memory_bytes: int
    stage_commits: tuple[str, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def identity(self) -> tuple[str, ...]:
        """What may occur once in a file."""
        return ("run", self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One number.

    Args:
        variant: what was measured; the key of a row.
        prompts: prompt set; empty for what does not depend on prompts (compute).
        seed: training seed.
        value: the number; None if it could not be measured, and then ``note`` says why.
        n: images or prompts behind it.
        ci_low, ci_high: 95 % interval, both or neither.
        run: identity of the ``Run``.
    """

    table: str
    variant: str
    prompts: str
    profile: str
    seed: int
    metric: str
    value: float | None
    n: int
    ci_low: float | None
    ci_high: float | None
    unit: str
    run: str
    note: str = ""
    schema: int = SCHEMA

    @classmethod
    def of(
        cls,
        run: Run,
        variant: str,
        metric: str,
        value: float,
        *,
        prompts: str = "",
        seed: int = 0,
        n: int = 1,
        bounds: tuple[float | None, float | None] = (None, None),
        unit: str = "",
    ) -> "Record":
        """A number that a run measured, with the bounds of its interval."""
        return cls(
            table=run.table,
            variant=variant,
            prompts=prompts,
            profile=run.profile,
            seed=seed,
            metric=metric,
            value=value,
            n=n,
            ci_low=bounds[0],
            ci_high=bounds[1],
            unit=unit,
            run=run.run,
        )

    @property
    def identity(self) -> tuple[str, ...]:
        """What may occur once in a file."""
        return ("record", self.variant, self.prompts, self.metric, f"{self.seed:06d}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerImage:
    """Values of one metric in prompt order, the same order for every variant; None where it does not apply."""

    variant: str
    prompts: str
    metric: str
    seed: int
    values: tuple[float | None, ...]
    schema: int = SCHEMA

    @classmethod
    def of(cls, values: Iterable[float], *, variant: str, prompts: str, metric: str, seed: int) -> "PerImage":
        """From an array: NaN becomes None, numbers are rounded to six digits to keep the file small."""
        kept = tuple(None if math.isnan(value) else float(f"{value:.6g}") for value in map(float, values))
        return cls(variant=variant, prompts=prompts, metric=metric, seed=seed, values=kept)

    @property
    def identity(self) -> tuple[str, ...]:
        """What may occur once in a file."""
        return ("per_image", self.variant, self.prompts, self.metric, f"{self.seed:06d}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Many values of one thing, in order.

    Args:
        variant: what was measured, such as the key of a row.
        metric: which of its numbers.
        over: what the values run over: rounds of a clock, replicates of a jackknife, parts of an image or of its
            time, steps of a schedule.
        values: in that order; series over rounds of one run are paired by their places.
        n: measurements behind the values, such as rounds or images; 0 for what is stated and not measured.
        unit: of the values; empty for a plain number.
    """

    variant: str
    metric: str
    over: Over
    values: tuple[float, ...]
    n: int
    unit: str = ""
    schema: int = SCHEMA

    @classmethod
    def of(
        cls,
        variant: str,
        metric: str,
        values: Iterable[float],
        *,
        over: Over,
        n: int | None = None,
        unit: str = "",
        digits: int = 6,
    ) -> "Series":
        """From numbers, rounded to so many significant digits to keep the file small; ``n`` is their count if None."""
        kept = tuple(float(f"{value:.{digits}g}") for value in values)
        return cls(variant=variant, metric=metric, over=over, values=kept, n=len(kept) if n is None else n, unit=unit)

    @property
    def identity(self) -> tuple[str, ...]:
        """What may occur once in a file."""
        return ("series", self.variant, self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A measured function of ``x``, a quantity such as a frequency. What is merely counted off is a ``Series``.

    Args:
        variant: what was measured, such as the panel of a figure.
        metric: which curve of it.
        x: where, rising.
        y: mean over images.
        error: standard error of ``y``; zero for what is computed and not measured.
        n: images behind it.
    """

    variant: str
    metric: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...]
    n: int
    schema: int = SCHEMA

    @property
    def identity(self) -> tuple[str, ...]:
        """What may occur once in a file."""
        return ("curve", self.variant, self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteLine:
    """All answers to one question about a pair of systems on one prompt; place i of every tuple is of vote i.

    By image, then by assessor; ``left`` says which system stood there. Made by `repro.harness.votes.grouping`.
    """

    study: str
    criterion: Literal["relevance", "aesthetics", "complexity", "defects"]
    first: str
    second: str
    prompt: str
    image: tuple[int, ...]
    assessor: tuple[str, ...]
    left: tuple[Literal["first", "second"], ...]
    choice: tuple[Choice, ...]
    seconds: tuple[float, ...]
    expected: tuple[Literal["left", "right", "tie", ""], ...]
    schema: int = SCHEMA

    @property
    def identity(self) -> tuple[str, ...]:
        """What may occur once in a file."""
        return ("votes", self.study, self.criterion, self.first, self.second, self.prompt)


Line = Run | Record | PerImage | Series | Curve | VoteLine


@dataclass(frozen=True, slots=True)
class RecordSet:
    """All lines of one records file, in canonical order whatever the order they came in."""

    runs: tuple[Run, ...] = ()
    records: tuple[Record, ...] = ()
    per_image: tuple[PerImage, ...] = ()
    series: tuple[Series, ...] = ()
    curves: tuple[Curve, ...] = ()
    votes: tuple[VoteLine, ...] = ()
    _index: dict[tuple[str, str, str], list[Record]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name in ("runs", "records", "per_image", "series", "curves", "votes"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name), key=lambda line: line.identity)))
        for record in self.records:
            self._index.setdefault((record.variant, record.prompts, record.metric), []).append(record)

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "RecordSet":
        """From lines of any kind, in any order."""
        lines = list(lines)
        return cls(
            tuple(line for line in lines if isinstance(line, Run)),
            tuple(line for line in lines if isinstance(line, Record)),
            tuple(line for line in lines if isinstance(line, PerImage)),
            tuple(line for line in lines if isinstance(line, Series)),
            tuple(line for line in lines if isinstance(line, Curve)),
            tuple(line for line in lines if isinstance(line, VoteLine)),
        )

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every line, runs first."""
        return (*self.runs, *self.records, *self.per_image, *self.series, *self.curves, *self.votes)

    @property
    def date(self) -> str:
        """Day of the newest run, or empty."""
        return max((run.start[:10] for run in self.runs), default="")

    def find(self, variant: str, prompts: str, metric: str) -> Sequence[Record]:
        """Records of a cell, one per training seed; those without a prompt set stand in for every set."""
        return self._index.get((variant, prompts, metric)) or self._index.get((variant, "", metric), [])

    def values(self, variant: str, prompts: str, metric: str) -> Sequence[PerImage]:
        """Per-image values of a cell, one entry per training seed."""
        return [p for p in self.per_image if (p.variant, p.prompts, p.metric) == (variant, prompts, metric)]

    def find_series(self, variant: str, metric: str) -> Series | None:
        """A series, if it was measured."""
        return next((s for s in self.series if (s.variant, s.metric) == (variant, metric)), None)

    def find_curve(self, variant: str, metric: str) -> Curve | None:
        """A curve, if it was measured."""
        return next((c for c in self.curves if (c.variant, c.metric) == (variant, metric)), None)
