"""The figure of training dynamics: quality against iterations and seconds, and the losses of one training by scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from repro.harness.cells import header
from repro.harness.experiment import Column
from repro.harness.files import digest_json
from repro.harness.plan import resolve
from repro.harness.plots import Drawing, colour, new_figure, own_style, png
from repro.harness.schema import Curve
from repro.kinds.scores.declare import TrainingCurve
from repro.kinds.scores.keys import TRAINING_SECONDS, loss_at
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.training_lines import TERMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERSION = 2  # of the drawing code: raise it when the figure should look different
PICTURE = "training"
NAMES = {"pdm": "PDM", "dmd": "DMD", "gan": "GAN, student's side"}


@dataclass(frozen=True, slots=True)
class Point:
    """A training after some iterations: quality as mean, lowest and highest of the training seeds."""

    iterations: int
    seconds: float
    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class QualityPanel:
    """One metric on one prompt set: a line of points for every curve of the table."""

    title: str
    axis: str
    lines: tuple[tuple[str, tuple[Point, ...]], ...]


@dataclass(frozen=True, slots=True)
class LossPanel:
    """One term of the loss: a curve for every side."""

    title: str
    curves: tuple[tuple[int, Curve], ...]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All that the figure shows."""

    qualities: tuple[QualityPanel, ...]
    losses: tuple[LossPanel, ...]

    @property
    def digest(self) -> str:
        """Identity of the figure."""
        return digest_json({"version": VERSION, "data": self})


def training_drawing(result: ScoresResult) -> Drawing | None:
    """Quality against iterations and seconds of training, and losses by scale; None where nothing was trained."""
    data = training_data(result)
    return Drawing(PICTURE, data.digest, lambda: _draw(data)) if data.qualities else None


def training_data(result: ScoresResult) -> TrainingData:
    """What the records hold of it; panels without a point are left out."""
    columns = [column for column in result.profile.columns if not column.detail and column.better is not None]
    panels = [
        QualityPanel(
            prompts.label,
            header(column),
            tuple((curve.label, _points(result, curve, prompts.key, column)) for curve in _curves(result)),
        )
        for prompts in result.profile.prompt_sets
        for column in columns
        if column.is_of(prompts.key)
    ]
    shown = tuple(panel for panel in panels if any(points for _, points in panel.lines))
    return TrainingData(shown, tuple(_losses(result)))


def _curves(result: ScoresResult) -> list[TrainingCurve]:
    here = {row.key for row in result.experiment.rows_in(result.profile.name)}
    return [curve for curve in result.experiment.training_curves if here & set(curve.rows)]


def _points(result: ScoresResult, curve: TrainingCurve, prompts: str, column: Column) -> tuple[Point, ...]:
    here = {row.key: row for row in result.experiment.rows_in(result.profile.name)}
    points = []
    for row in (here[key] for key in curve.rows if key in here):
        values = [r.value for r in result.records.find(row.key, prompts, column.key) if r.value is not None]
        spent = [r.value for r in result.records.find(row.key, "", TRAINING_SECONDS) if r.value is not None]
        if not values or (row.is_student and not spent):
            continue
        train = resolve(result.profile, row).train
        quality, low, high = (column.factor * value for value in (fmean(values), min(values), max(values)))
        points.append(Point(train.iterations if train else 0, fmean(spent or [0.0]), quality, low, high))
    return tuple(points)


def _losses(result: ScoresResult) -> list[LossPanel]:
    """Of the first curve that has any."""
    for curve in _curves(result):
        for key in reversed(curve.rows):
            sides = sorted({int(c.metric.rpartition(" ")[2]) for c in result.records.curves if c.variant == key})
            found = {
                term: [(side, c) for side in sides if (c := result.records.find_curve(key, loss_at(term, side)))]
                for term in TERMS
            }
            if any(found.values()):
                title = f"{curve.label}: "
                return [LossPanel(title + NAMES[term], tuple(curves)) for term, curves in found.items() if curves]
    return []


def _draw(data: TrainingData) -> bytes:
    with own_style():
        columns = max(len(data.qualities), len(data.losses))
        figure = new_figure(3.2 * columns, 7.6)
        axes = figure.subplots(3, columns, squeeze=False)
        for place, panel in enumerate(data.qualities):
            _draw_quality(axes[0, place], panel, seconds=False)
            _draw_quality(axes[1, place], panel, seconds=True)
        for place, losses in enumerate(data.losses):
            _draw_losses(axes[2, place], losses)
        for axis in axes.flat:
            if not axis.has_data():
                axis.set_axis_off()
            axis.tick_params(which="both", labelsize=7)
            axis.grid(alpha=0.25, lw=0.5)
            axis.spines[["top", "right"]].set_visible(False)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False, fontsize=9)
        if data.losses:
            axes[2, len(data.losses) - 1].legend(
                title="side of\nthe latent",
                title_fontsize=7,
                fontsize=7,
                frameon=False,
                loc="upper left",
                bbox_to_anchor=(1, 1),
            )
        return png(figure, data.digest)


def _draw_quality(axis: "Axes", panel: QualityPanel, *, seconds: bool) -> None:
    for place, (label, points) in enumerate(panel.lines):
        at = [point.seconds if seconds else point.iterations for point in points]
        bars = [[p.quality - p.low for p in points], [p.high - p.quality for p in points]]
        axis.errorbar(
            at,
            [point.quality for point in points],
            bars,
            color=colour(place),
            marker="o",
            ms=4,
            capsize=2,
            lw=1,
            label=label,
        )
    axis.set_title(panel.title, fontsize=9)
    axis.set_ylabel(panel.axis, fontsize=8)
    axis.set_xlabel("seconds of training" if seconds else "iterations", fontsize=8)


def _draw_losses(axis: "Axes", panel: LossPanel) -> None:
    sides: Sequence[int] = [side for side, _ in panel.curves]
    for side, curve in panel.curves:
        shade = 0.85 - 0.75 * sides.index(side) / max(1, len(sides) - 1)
        low = [y - error for y, error in zip(curve.y, curve.error, strict=True)]
        high = [y + error for y, error in zip(curve.y, curve.error, strict=True)]
        axis.fill_between(curve.x, low, high, color=str(shade), alpha=0.3, lw=0)
        axis.plot(curve.x, curve.y, color=str(shade), lw=1.2, label=str(side))
    axis.set_title(panel.title, fontsize=9)
    axis.set_xlabel("iterations", fontsize=8)
    axis.set_ylabel("loss, before its weight", fontsize=8)
    axis.set_yscale("log")
