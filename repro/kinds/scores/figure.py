"""The figure of a table of scores: quality against compute."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.harness.cells import estimate, header, measured
from repro.harness.experiment import TOKENS, Column, PromptSet
from repro.harness.files import digest_json
from repro.harness.plan import steps_of
from repro.harness.plots import NUM_COLOURS, Drawing, colour, new_figure, own_style, png
from repro.harness.profile import Profile
from repro.harness.schema import RecordSet
from repro.kinds.scores.against_figure import against_drawing
from repro.kinds.scores.declare import Table
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.sides_figure import sides_drawing
from repro.kinds.scores.training_figure import training_drawing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERSION = 4  # of the drawing code: raise it when the figure should look different
LEGEND_LINE = 0.2  # inches
CHARACTERS_PER_INCH, HANDLE = 14, 7  # of the legend's text, and what a handle with its gaps takes, in characters


@dataclass(frozen=True, slots=True)
class Style:
    """Of one curve; a teacher is a line without markers."""

    colour: str
    marker: str = ""
    line: str = "-"


TEACHERS = (
    Style("#555555", line="--"),
    Style("#A6761D", line="-."),
    Style("#7570B3", line=":"),
    Style("#009E73"),
    Style("#CC79A7"),
)
STUDENTS = {"Scale-wise": Style("#0072B2", "o"), "Full-scale": Style("#D55E00", "s")}  # Okabe and Ito: for all eyes
MARKERS = ("D", "o", "s", "^", "v", "P")


def drawing(result: ScoresResult) -> Drawing | None:
    """Quality against compute; of a table about trainings or sides their curves, of one against a row differences."""
    if result.experiment.training_curves:
        return training_drawing(result)
    if result.experiment.side_curves:
        return sides_drawing(result)
    if result.experiment.against:
        return against_drawing(result)
    data = compute_data(result.experiment, result.profile, result.records)
    return Drawing("compute", data.digest, lambda: draw_compute(data)) if data.panels else None


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a table in one panel; ``low`` and ``high`` bound the quality. A ``teacher`` is drawn as a line."""

    label: str
    teacher: bool
    steps: int
    compute: float
    quality: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """In the legend: students of one label are one curve, each teacher is a line of its own."""
        return f"{self.label}: {self.steps} steps, {self.compute:,.0f} tokens" if self.teacher else self.label


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What real images through the VAE give, beyond which no sampled image gets."""

    label: str
    quality: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric on one prompt set; without a title where the set has no such metric: its place stays empty."""

    title: str
    axis: str
    points: tuple[Point, ...]
    ceiling: Ceiling | None = None


NO_PANEL = Panel("", "", ())


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
    """Quality against tokens x steps, for the scored columns of the prompt sets that have more than half of the most.

    Without panels where compute was not recorded.
    """
    scored = [column for column in profile.columns if not column.detail and column.better is not None]
    by_set = {sets: [column for column in scored if column.is_of(sets.key)] for sets in profile.prompt_sets}
    widest = max(by_set.values(), key=len, default=[])
    panels = [
        _panel(table, profile, records, prompts, column) if column in columns else NO_PANEL
        for prompts, columns in by_set.items()
        if 2 * len(columns) > len(widest)
        for column in widest
    ]
    return ComputeData(len(widest), tuple(panels) if any(panel.points for panel in panels) else ())


def _panel(table: Table, profile: Profile, records: RecordSet, prompts: PromptSet, column: Column) -> Panel:
    points = tuple(_points(table, profile, records, prompts.key, column))
    return Panel(prompts.label, header(column), points, _ceiling(table, profile, records, prompts, column))


def _ceiling(table: Table, profile: Profile, records: RecordSet, prompts: PromptSet, column: Column) -> Ceiling | None:
    row = next((row for row in table.rows_in(profile.name) if row.real == "decoded"), None)
    found = estimate(records.find(row.key, prompts.key, column.key)) if row is not None else None
    return Ceiling(row.label, column.factor * found.value) if row is not None and found is not None else None


def draw_compute(data: ComputeData) -> bytes:
    """The PNG of the quality-against-compute figure."""
    with own_style():
        return png(_compute_figure(data), data.digest)


def _points(table: Table, profile: Profile, records: RecordSet, prompts: str, column: Column) -> Iterator[Point]:
    rows = table.rows_in(profile.name)
    grows = any(row.sample.get("grow") for row in rows)
    for row in rows:
        tokens = estimate(records.find(row.key, prompts, TOKENS.key))
        found = measured(records, row.key, prompts, column.key)
        if tokens is None or found is None:
            continue
        bounds = [found.value if bound is None else bound for bound in (found.low, found.high)]
        value, low, high = (column.factor * number for number in (found.value, *bounds))
        line = row.is_teacher and not (grows and row.sample)  # a teacher that is compared at its cost stands there
        yield Point(row.label, line, steps_of(profile, row) or 0, tokens.value, value, low, high)


def _compute_figure(data: ComputeData) -> "Figure":
    rows, width = len(data.panels) // data.columns, 3.1 * data.columns
    styles = _styles(point for panel in data.panels for point in panel.points)
    ceilings = dict.fromkeys(panel.ceiling.label for panel in data.panels if panel.ceiling is not None)
    columns = _legend_columns([*ceilings, *styles], width)
    top = 0.15 + LEGEND_LINE * math.ceil((len(ceilings) + len(styles)) / columns)
    figure = new_figure(width, 2.5 * rows + top)
    axes = figure.subplots(rows, data.columns, squeeze=False, sharex=True)
    handles: dict[str, Artist] = {}
    for axis, panel in zip(axes.flat, data.panels, strict=True):
        _draw_panel(axis, panel, styles)
        handles |= {name: handle for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    for place in range(data.columns):
        lowest = max(row for row in range(rows) if row == 0 or data.panels[row * data.columns + place].title)
        axes[lowest, place].set_xlabel("image tokens \u00d7 steps", fontsize=8)
        axes[lowest, place].tick_params(labelbottom=True)
    shown = [name for name in handles if name not in styles] + [name for name in styles if name in handles]
    figure.legend(
        [handles[name] for name in shown], shown, loc="upper center", ncols=columns, frameon=False, fontsize=9
    )
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - top / figure.get_figheight()))  # type: ignore[union-attr, call-arg]
    return figure


def _styles(points: Iterable[Point]) -> dict[str, Style]:
    """How each curve is drawn, by its name in the legend: no two alike, teachers first."""
    found = {point.name: point for point in points}
    teachers = [name for name, point in found.items() if point.teacher]
    students = [name for name in found if name not in teachers]
    lines = {name: TEACHERS[place % len(TEACHERS)] for place, name in enumerate(teachers)}
    return lines | {name: STUDENTS.get(name) or _style(place) for place, name in enumerate(students)}


def _style(place: int) -> Style:
    return Style(colour(place), MARKERS[place // NUM_COLOURS % len(MARKERS)])


def _legend_columns(names: Iterable[str], width: float) -> int:
    """As many as the longest entry leaves room for, spread evenly over the lines."""
    lengths = [len(name) for name in names]
    fitting = max(1, int(width * CHARACTERS_PER_INCH / (max(lengths) + HANDLE)))
    return math.ceil(len(lengths) / math.ceil(len(lengths) / fitting))


def _draw_panel(axis: "Axes", panel: Panel, styles: Mapping[str, Style]) -> None:
    if not panel.title:
        axis.set_axis_off()
        return
    if (ceiling := panel.ceiling) is not None:
        axis.axhline(ceiling.quality, color="black", lw=1, ls=(0, (1, 2)), label=ceiling.label)
    students = [point for point in panel.points if not point.teacher]
    for point in panel.points:
        if point.teacher:  # far to the right of all students: as a point it would squeeze them together
            style = styles[point.name]
            axis.axhline(point.quality, color=style.colour, lw=1, ls=style.line, label=point.name)
            axis.axhspan(point.low, point.high, color=style.colour, alpha=0.14, lw=0)
    places = _places(students)
    for name, style in styles.items():
        own = sorted((point for point in students if point.name == name), key=lambda point: point.compute)
        _draw_students(axis, own, [places[point] for point in own], style)
    if not panel.points:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", fontsize=8, color="#888888")
    axis.set_xscale("log", base=2)
    _set_ticks(axis, [point.compute for point in students])
    axis.set_title(panel.title, fontsize=9)
    axis.set_ylabel(panel.axis, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25, lw=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _places(points: Sequence[Point]) -> dict[Point, float]:
    """Where points stand: those of equal compute side by side, a little apart."""
    logs = [math.log2(point.compute) for point in points]
    apart = (max(logs) - min(logs)) / 25 if logs else 0.0
    found = {}
    for compute in {point.compute for point in points}:
        alike = [point for point in points if point.compute == compute]
        for place, point in enumerate(alike):
            found[point] = compute * 2 ** (apart * (place - (len(alike) - 1) / 2))
    return found


def _set_ticks(axis: "Axes", computes: Sequence[float]) -> None:
    """Powers of two, or where few of them are in range the values themselves, but for those too near another."""
    if computes and max(computes) < 4 * min(computes):
        shown: list[float] = []
        for compute in sorted(set(computes)):
            if not shown or (compute / shown[-1]) ** 8 > max(computes) / min(computes):
                shown.append(compute)
        axis.set_xticks(shown)
        axis.set_xticks([], minor=True)
    axis.xaxis.set_major_formatter("{x:,.0f}")


def _draw_students(axis: "Axes", points: Sequence[Point], places: Sequence[float], style: Style) -> None:
    if not points:
        return
    # An interval need not hold its value (FID at infinite n), and matplotlib refuses negative bars.
    bars = [[max(p.quality - p.low, 0) for p in points], [max(p.high - p.quality, 0) for p in points]]
    axis.errorbar(
        places,
        [p.quality for p in points],
        yerr=bars,
        color=style.colour,
        marker=style.marker,
        markersize=5,
        capsize=2,
        lw=1,
        label=points[0].name,
    )
    for point, place in zip(points, places, strict=True):
        text = f"{point.steps}"
        axis.annotate(text, (place, point.quality), (3, 4), textcoords="offset points", fontsize=7, color=style.colour)
