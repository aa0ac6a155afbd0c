"""The figure of preferences: a dot with its interval for each pair, a panel for each criterion."""

from typing import TYPE_CHECKING, NamedTuple

from repro.harness import plots
from repro.harness.files import digest_json
from repro.kinds.preference.result import PreferenceResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERSION = 1  # of the drawing code: raise it when the figure should look different
PICTURE = "shares"
WIDTH = 7.6


class Dot(NamedTuple):
    """A share in per cent, its bounds, and the published one."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    published: float | None


def drawing(result: PreferenceResult) -> plots.Drawing:
    """Shares of wins; a proxy is called one in the figure itself."""
    panels = {label: _dots(result, question) for question, label in result.questions.items()}
    digest = digest_json({"version": VERSION, "panels": panels, "head": head(result)})
    return plots.Drawing(PICTURE, digest, lambda: _draw(panels, head(result), digest))


def head(result: PreferenceResult) -> str:
    """What stands above all panels; empty for votes."""
    return "Proxy by a metric: no person voted" if result.is_proxy else ""


def _dots(result: PreferenceResult, question: str) -> list[Dot]:
    made = []
    for pair in result.pairs:
        record = result.share(pair, question)
        shown = (record.value, record.ci_low, record.ci_high) if record is not None else (None, None, None)
        told = None if result.is_proxy else result.published(pair, question)
        label = f"{result.experiment.systems[pair.candidate]}\nagainst {result.experiment.systems[pair.baseline]}"
        made.append(Dot(label, *(None if value is None else 100 * value for value in (*shown, told))))
    return made


def _draw(panels: dict[str, list[Dot]], title: str, digest: str) -> bytes:
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    pairs = max(len(dots) for dots in panels.values())
    with plots.own_style():
        figure = plots.new_figure(WIDTH, rows * (0.8 + 0.42 * pairs) + (0.3 if title else 0.0))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axis in enumerate(grid.flat):
            axis.set_visible(place < len(panels))
        for axis, (label, dots) in zip(grid.flat, panels.items(), strict=False):
            _panel(axis, label, dots)
        if title:
            figure.suptitle(title, fontsize=10, fontweight="bold")
        return plots.png(figure, digest)


def _panel(axis: "Axes", title: str, dots: list[Dot]) -> None:
    axis.axvline(50, color="#000000", lw=0.8, ls="--")
    for place, dot in enumerate(dots):
        if dot.value is not None:
            low = dot.value if dot.low is None else dot.low
            high = dot.value if dot.high is None else dot.high
            axis.plot([low, high], [place, place], color="#000000", lw=1.4, solid_capstyle="butt")
            axis.plot(dot.value, place, color="#000000", marker="o", markersize=5, lw=0)
            axis.annotate(f"{dot.value:.0f}", (101, place), va="center", fontsize=7, annotation_clip=False)
        if dot.published is not None:
            axis.plot(dot.published, place, color="#000000", marker="D", markersize=6, lw=0, mfc="none", zorder=4)
    axis.set_yticks(range(len(dots)), [dot.label for dot in dots], fontsize=7)
    axis.set_ylim(len(dots) - 0.5, -0.5)
    axis.set_xlim(0, 100)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("share of wins of the first, %", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="y", color="#dddddd", lw=0.5)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
