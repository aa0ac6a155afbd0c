"""The figure of a table by side: the quality of each system against the side of its images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.harness.cells import header, measured
from repro.harness.experiment import Column, Row
from repro.harness.files import digest_json
from repro.harness.plan import pixels_of
from repro.harness.plots import Drawing, colour, new_figure, own_style, png
from repro.harness.profile import Profile
from repro.kinds.scores.declare import Table
from repro.kinds.scores.result import ScoresResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERSION = 1  # of the drawing code: raise it when the figure should look different
PICTURE = "sides"
MARKERS = ("o", "s", "^", "D", "v", "P")
APART = 0.012  # between curves, of the width: bars at one side would hide each other


@dataclass(frozen=True, slots=True)
class Point:
    """One row in one metric; ``low`` and ``high`` bound the quality."""

    side: int
    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SideLine:
    """A curve of the table in one panel; of real images it bounds what a system can reach."""

    label: str
    is_real: bool
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric on one prompt set."""

    title: str
    axis: str
    lines: tuple[SideLine, ...]


@dataclass(frozen=True, slots=True)
class SidesData:
    """All that the figure shows: panels by prompt set (rows) and metric (columns)."""

    columns: int
    panels: tuple[Panel, ...]

    @property
    def digest(self) -> str:
        """Identity of the figure."""
        return digest_json({"version": VERSION, "data": self})


def rows_by_side(table: Table, profile: Profile) -> dict[str, dict[int, Row]]:
    """Rows of every curve that a profile has, by the side of their images in pixels."""
    here = {row.key: row for row in table.rows_in(profile.name)}
    curves = {
        curve.label: {pixels_of(profile, here[key]): here[key] for key in curve.rows if key in here}
        for curve in table.side_curves
    }
    return {label: rows for label, rows in curves.items() if rows}


def sides_drawing(result: ScoresResult) -> Drawing | None:
    """Quality against side; None where nothing was measured."""
    data = sides_data(result)
    return Drawing(PICTURE, data.digest, lambda: _draw(data)) if data.panels else None


def sides_data(result: ScoresResult) -> SidesData:
    """What the records hold of the metrics that every prompt set has."""
    sets = result.profile.prompt_sets
    scored = [column for column in result.profile.columns if not column.detail and column.better is not None]
    shared = [column for column in scored if all(column.is_of(prompts.key) for prompts in sets)]
    panels = [
        Panel(prompts.label, header(column), tuple(_lines(result, prompts.key, column)))
        for prompts in sets
        for column in shared or scored
    ]
    found = any(line.points for panel in panels for line in panel.lines)
    return SidesData(len(shared or scored), tuple(panels) if found else ())


def _lines(result: ScoresResult, prompts: str, column: Column) -> Iterator[SideLine]:
    for label, rows in rows_by_side(result.experiment, result.profile).items():
        points = []
        for side, row in sorted(rows.items()):
            if (found := measured(result.records, row.key, prompts, column.key)) is not None:
                bounds = [found.value if bound is None else bound for bound in (found.low, found.high)]
                points.append(Point(side, *(column.factor * value for value in (found.value, *bounds))))
        yield SideLine(label, any(row.real for row in rows.values()), tuple(points))


def _draw(data: SidesData) -> bytes:
    with own_style():
        rows = len(data.panels) // data.columns
        figure = new_figure(3.3 * data.columns, 2.6 * rows + 0.4)
        axes = figure.subplots(rows, data.columns, squeeze=False)
        for axis, panel in zip(axes.flat, data.panels, strict=True):
            _draw_panel(axis, panel)
        handles, labels = max((axis.get_legend_handles_labels() for axis in axes.flat), key=lambda found: len(found[1]))
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False, fontsize=9)
        return png(figure, data.digest)


def _draw_panel(axis: "Axes", panel: Panel) -> None:
    sides = sorted({point.side for line in panel.lines for point in line.points})
    systems = [line for line in panel.lines if not line.is_real]
    for line in panel.lines:
        if line.is_real:
            at = [point.side for point in line.points]
            axis.plot(
                at, [point.quality for point in line.points], color="black", lw=1, ls=(0, (1, 2)), label=line.label
            )
    for place, line in enumerate(systems):
        shift = APART * (place - (len(systems) - 1) / 2) * (max(sides, default=0) - min(sides, default=0))
        _draw_line(axis, line, place, shift)
    axis.set_title(panel.title, fontsize=9)
    axis.set_ylabel(panel.axis, fontsize=8)
    axis.set_xlabel("side of the image, px", fontsize=8)
    axis.set_xticks(sides)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25, lw=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_line(axis: "Axes", line: SideLine, place: int, shift: float) -> None:
    bars = [[max(p.quality - p.low, 0) for p in line.points], [max(p.high - p.quality, 0) for p in line.points]]
    axis.errorbar(
        [point.side + shift for point in line.points],
        [point.quality for point in line.points],
        yerr=bars,
        color=colour(place),
        marker=MARKERS[place % len(MARKERS)],
        ms=4,
        capsize=2,
        lw=1,
        label=line.label,
    )
