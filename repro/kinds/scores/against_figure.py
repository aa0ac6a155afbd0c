"""The figure of a table whose rows are compared with one: differences with their intervals, a panel for each metric."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.harness.experiment import Column, PromptSet
from repro.harness.files import digest_json
from repro.harness.plots import Drawing, new_figure, own_style, png
from repro.kinds.scores.against import Against, compared, compared_columns
from repro.kinds.scores.result import ScoresResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERSION = 2  # of the drawing code: raise it when the figure should look different
PICTURE = "against"
LABELS, PANEL, LINE = 3.2, 2.6, 0.2  # inches: of the labels, of a panel's width, of a row
BETTER, WORSE, NOT_SHOWN = "#0072B2", "#D55E00", "#888888"  # Okabe and Ito: for all eyes


@dataclass(frozen=True, slots=True)
class Bar:
    """A row's difference to the row of the table, positive where it is better, with its 95 % interval."""

    label: str
    difference: float
    low: float
    high: float
    is_shown: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric on one set of prompts; the margin is 0 where the metric has none."""

    title: str
    axis: str
    margin: float
    bars: tuple[Bar | None, ...]


@dataclass(frozen=True, slots=True)
class AgainstData:
    """All that the figure shows: a line for every row, a panel for every metric."""

    labels: tuple[str, ...]
    panels: tuple[Panel, ...]

    @property
    def digest(self) -> str:
        """Identity of the figure."""
        return digest_json({"version": VERSION, "data": self})


def against_drawing(result: ScoresResult) -> Drawing | None:
    """Differences of all rows to the one that the table names; None before any is measured."""
    data = against_data(result)
    measured = any(bar for panel in data.panels for bar in panel.bars)
    return Drawing(PICTURE, data.digest, lambda: _draw(data)) if measured else None


def against_data(result: ScoresResult) -> AgainstData:
    """What the records hold of it."""
    baseline = result.experiment.against
    labels = tuple(row.label for row in result.rows if row.is_student and row.key != baseline)
    panels = [
        _panel(result, prompts, column)
        for prompts in result.profile.prompt_sets
        for column in compared_columns(result, prompts)
    ]
    return AgainstData(labels, tuple(panels))


def _panel(result: ScoresResult, prompts: PromptSet, column: Column) -> Panel:
    bars = tuple(_bar(one, column) for one in compared(result, prompts, column))
    unit = f", {column.unit}" if column.unit else ""
    margin = (column.margin or 0.0) * column.factor
    return Panel(prompts.label, f"{column.label}{unit}: better by", margin, bars)


def _bar(one: Against, column: Column) -> Bar | None:
    if one.found is None:
        return None
    value, low, high = (number * column.factor for number in one.found.shown)
    return Bar(one.row.label, value, low, high, one.is_shown)


def _draw(data: AgainstData) -> bytes:
    with own_style():
        width, height = LABELS + PANEL * len(data.panels), 1.0 + LINE * len(data.labels)
        figure = new_figure(width, height)
        axes = figure.subplots(1, len(data.panels), squeeze=False, sharey=True)
        for axis, panel in zip(axes.flat, data.panels, strict=True):
            _draw_panel(axis, panel)
        axes[0, 0].set_yticks(range(len(data.labels)), data.labels, fontsize=8)
        axes[0, 0].set_ylim(len(data.labels) - 0.5, -0.5)
        return png(figure, data.digest)


def _draw_panel(axis: "Axes", panel: Panel) -> None:
    axis.axvline(0, color="black", lw=0.8)
    if panel.margin:
        axis.axvspan(-panel.margin, panel.margin, color="#000000", alpha=0.06, lw=0)
    for place, bar in enumerate(panel.bars):
        if bar is None:
            axis.text(0, place, " not measured", va="center", fontsize=7, color=NOT_SHOWN)
            continue
        colour = NOT_SHOWN if not bar.is_shown else BETTER if bar.difference > 0 else WORSE
        axis.plot([bar.low, bar.high], [place, place], color=colour, lw=1.4)
        axis.plot([bar.difference], [place], color=colour, marker="o" if bar.is_shown else "|", ms=5)
    axis.set_title(panel.title, fontsize=9)
    axis.set_xlabel(panel.axis, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.locator_params(axis="x", nbins=5)  # more would run into each other
    axis.grid(axis="x", alpha=0.25, lw=0.5)
    axis.spines[["top", "right"]].set_visible(False)
