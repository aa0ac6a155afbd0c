"""The figure of a table of scores: quality against compute."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.harness.cells import estimate, header
from repro.harness.experiment import TOKENS, Column
from repro.harness.files import digest_json
from repro.harness.plan import steps_of
from repro.harness.plots import Drawing, colour, new_figure, own_style, png
from repro.harness.profile import Profile
from repro.harness.schema import RecordSet
from repro.kinds.scores.declare import Table
from repro.kinds.scores.result import ScoresResult

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERSION = 1  # of the drawing code: raise it when the figure should look different
_COLOURS = {"Teacher": "#555555", "Scale-wise": "#0072B2", "Full-scale": "#D55E00"}  # Okabe and Ito: safe for all eyes
_MARKERS = {"Scale-wise": "o", "Full-scale": "s"}


def drawing(result: ScoresResult) -> Drawing | None:
    """Quality against compute."""
    data = compute_data(result.experiment, result.profile, result.records)
    return Drawing("compute", data.digest, lambda: draw_compute(data)) if data.panels else None


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a table in one panel; ``low`` and ``high`` bound the quality. The teacher is drawn as a line."""

    label: str
    teacher: bool
    steps: int
    compute: float
    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric on one prompt set."""

    title: str
    axis: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class ComputeData:
    """All that the quality-against-compute figure shows: panels by prompt set (rows) and metric (columns)."""

    columns: int
    panels: tuple[Panel, ...]

    @property
    def digest(self) -> str:
        """Identity of the figure."""
        return digest_json({"version": VERSION, "data": self})


def compute_data(table: Table, profile: Profile, records: RecordSet) -> ComputeData:
    """Quality against tokens x steps, for every scored column of the prompt sets that have the most of them.

    Without panels where compute was not recorded.
    """
    scored = [column for column in profile.columns if not column.detail and column.better is not None]
    by_set = {sets: [column for column in scored if column.is_of(sets.key)] for sets in profile.prompt_sets}
    most = max(map(len, by_set.values()), default=0)
    panels = [
        Panel(prompts.label, header(column), tuple(_points(table, profile, records, prompts.key, column)))
        for prompts, columns in by_set.items()
        if len(columns) == most
        for column in columns
    ]
    return ComputeData(most, tuple(panels) if any(panel.points for panel in panels) else ())


def draw_compute(data: ComputeData) -> bytes:
    """The PNG of the quality-against-compute figure."""
    with own_style():
        return png(_compute_figure(data), data.digest)


def _points(table: Table, profile: Profile, records: RecordSet, prompts: str, column: Column) -> Iterator[Point]:
    for row in table.rows_in(profile.name):
        tokens = estimate(records.find(row.key, prompts, TOKENS.key))
        found = estimate(records.find(row.key, prompts, column.key))
        if tokens is None or found is None:
            continue
        bounds = [found.value if bound is None else bound for bound in (found.low, found.high)]
        value, low, high = (column.factor * number for number in (found.value, *bounds))
        yield Point(row.label, row.is_teacher, steps_of(profile, row) or 0, tokens.value, value, low, high)


def _compute_figure(data: ComputeData) -> "Figure":
    rows = len(data.panels) // data.columns
    figure = new_figure(3.1 * data.columns, 2.5 * rows + 0.4)
    axes = figure.subplots(rows, data.columns, squeeze=False, sharex=True)
    labels = list(dict.fromkeys(point.label for panel in data.panels for point in panel.points))
    handles: dict[str, Artist] = {}
    for axis, panel in zip(axes.flat, data.panels, strict=True):
        _draw_panel(axis, panel, labels)
        handles |= {name: handle for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    for axis in axes[-1]:
        axis.set_xlabel("image tokens \u00d7 steps", fontsize=8)
    figure.legend(
        list(handles.values()), list(handles), loc="upper center", ncols=len(handles), frameon=False, fontsize=9
    )
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))  # type: ignore[union-attr, call-arg]
    return figure


def _draw_panel(axis: "Axes", panel: Panel, labels: Sequence[str]) -> None:
    for place, label in enumerate(labels):
        points = sorted((p for p in panel.points if p.label == label), key=lambda point: point.compute)
        shade = _COLOURS.get(label, colour(place))
        for point in points:
            if point.teacher:  # far to the right of all students: as a point it would squeeze them together
                name = f"{label}: {point.steps} steps, {point.compute:,.0f} tokens"
                axis.axhline(point.quality, color=shade, lw=1, ls="--", label=name)
                axis.axhspan(point.low, point.high, color=shade, alpha=0.12, lw=0)
        _draw_students(axis, [point for point in points if not point.teacher], shade, _MARKERS.get(label, "D"))
    if not panel.points:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", fontsize=8, color="#888888")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_title(panel.title, fontsize=9)
    axis.set_ylabel(panel.axis, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25, lw=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_students(axis: "Axes", points: Sequence[Point], shade: str, marker: str) -> None:
    if not points:
        return
    # An interval need not hold its value (FID at infinite n), and matplotlib refuses negative bars.
    bars = [[max(p.quality - p.low, 0) for p in points], [max(p.high - p.quality, 0) for p in points]]
    axis.errorbar(
        [p.compute for p in points],
        [p.quality for p in points],
        yerr=bars,
        color=shade,
        marker=marker,
        markersize=5,
        capsize=2,
        lw=1,
        label=points[0].label,
    )
    for point in points:
        place, text = (point.compute, point.quality), f"{point.steps}"
        axis.annotate(text, place, (5, 4), textcoords="offset points", fontsize=7, color=shade)
