"""The figure of Table 3, from its records alone."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from repro.harness import plots
from repro.harness.files import digest_json
from repro.harness.plan import resolve
from repro.kinds.latency import keys
from repro.kinds.latency.result import LatencyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERSION = 1  # of the drawing code: raise it when the figure should look different
PICTURE = "times"


def drawing(result: LatencyResult) -> plots.Drawing:
    """Parts of an image for every student, and seconds of a step against its side."""
    wanted = {*map(keys.flops, keys.PARTS), *map(keys.flops_of_side, result.sides)}
    shown = [result.records.series, [record for record in result.records.records if record.metric in wanted]]
    digest = digest_json({"version": VERSION, "stem": result.stem, "shown": shown})
    return plots.Drawing(PICTURE, digest, lambda: _draw(result, digest))


def _draw(result: LatencyResult, digest: str) -> bytes:
    batch = result.batch_sizes[-1]
    with plots.own_style():
        figure = plots.new_figure(9.6, 3.4)
        left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
        _draw_parts(left, result, batch)
        for place, size in enumerate(result.batch_sizes):
            _draw_sides(right, result, size, plots.colour(place))
        if right.get_legend_handles_labels()[0]:
            right.legend(frameon=False, fontsize=8)
        for axis in (left, right):
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
        return plots.png(figure, digest)


def _draw_parts(axis: "Axes", result: LatencyResult, batch: int) -> None:
    """Stacked bars: text, steps, decoding; in outline what the FLOPs allow."""
    rows = [timed for timed in result.experiment.rows if not timed.row.is_teacher]
    unit = result.series("fullscale_2", keys.seconds(batch))
    for place, timed in enumerate(reversed(rows)):
        parts = result.series(timed.key, keys.parts(batch))
        if parts is None:
            axis.text(0, place, " not measured", va="center", fontsize=8, color="#888888")
            continue
        names = ["text", *[f"step {step}" for step in range(1, len(parts.values) - 1)], "decoding"]
        start = 0.0
        for index, (name, seconds) in enumerate(zip(names, parts.values, strict=True)):
            colour = {"text": "#009E73", "decoding": "#CC79A7"}.get(name, "#56B4E9" if index % 2 else "#0072B2")
            label = {"text": name, "decoding": name, "step 1": "steps"}.get(name) if place == 0 else None
            axis.barh(place, 1000 * seconds, left=1000 * start, color=colour, height=0.6, label=label)
            start += seconds
        if unit is not None:
            ideal = 1000 * median(unit.values) * result.flops(timed.key, batch) / result.flops("fullscale_2", batch)
            label = "by FLOPs" if place == 0 else None
            axis.barh(place, ideal, color="none", edgecolor="#000000", height=0.8, lw=0.8, label=label)
    names = [f"{timed.row.label} {resolve(result.profile, timed.row).sample.steps}" for timed in reversed(rows)]
    axis.set_yticks(range(len(rows)), names)
    axis.set_xlabel(f"ms an image, batch size {batch}", fontsize=8)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=8, loc="lower right")


def _draw_sides(axis: "Axes", result: LatencyResult, batch: int, colour: str) -> None:
    """Seconds of a step against its side."""
    found: dict[int, list[float]] = {}
    for timed in result.experiment.rows:
        parts = result.series(timed.key, keys.parts(batch))
        if parts is None or timed.row.is_teacher:
            continue
        scales = result.series(timed.key, keys.SIDES)
        for side, seconds in list(zip(scales.values if scales else (), parts.values[1:-1], strict=True))[1:]:
            found.setdefault(round(side), []).append(1000 * seconds)
    if not found:
        return
    sides = sorted(found)
    middle = [median(found[side]) for side in sides]
    axis.plot(sides, middle, color=colour, marker="o", markersize=4, lw=0, label=f"batch size {batch}")
    ideal = _ideal_steps(result, sides)
    if ideal:
        axis.plot(sides, [middle[-1] * ideal[side] / ideal[sides[-1]] for side in sides], color=colour, lw=1, ls="--")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xticks(sides, [str(side) for side in sides])
    axis.minorticks_off()
    axis.set_xlabel("latent side of the step", fontsize=8)
    axis.set_ylabel("ms of a step for one image", fontsize=8)


def _ideal_steps(result: LatencyResult, sides: Sequence[int]) -> dict[int, float]:
    """FLOPs of a step by side, if they were counted."""
    found = {side: result.value(keys.DEVICE, keys.flops_of_side(side)) for side in sides}
    return {side: flops for side, flops in found.items() if flops} if all(found.values()) else {}
