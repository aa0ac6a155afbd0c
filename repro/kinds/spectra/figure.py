"""The figure of spectra, from the records alone."""

from typing import TYPE_CHECKING

from repro.harness import plots
from repro.harness.cells import estimate
from repro.harness.files import digest_json
from repro.harness.schema import Curve
from repro.kinds.spectra import keys
from repro.kinds.spectra.declare import Panel
from repro.kinds.spectra.result import SpectraResult, side_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERSION = 1  # of the drawing code: raise it when the figure should look different
PICTURE = "spectra"


def drawing(result: SpectraResult) -> plots.Drawing | None:
    """A row for each panel that was measured, a column for each noise level."""
    wanted = {keys.safe_side(timestep) for timestep in result.experiment.timesteps}
    sides = [record for record in result.records.records if record.metric in wanted]
    shown = {"version": VERSION, "figure": result.experiment.content, "curves": result.records.curves, "sides": sides}
    digest = digest_json(shown)
    return plots.Drawing(PICTURE, digest, lambda: _draw(result, digest)) if result.measured else None


def _draw(result: SpectraResult, digest: str) -> bytes:
    timesteps, panels = result.experiment.timesteps, result.measured
    with plots.own_style():
        figure = plots.new_figure(2.6 * len(timesteps), 2.4 * len(panels) + 0.3)
        axes = figure.subplots(len(panels), len(timesteps), squeeze=False, sharex="row", sharey="row")
        for row, (panel, clean) in zip(axes, panels, strict=True):
            for axis, timestep in zip(row, timesteps, strict=True):
                _draw_panel(axis, result, panel, clean, timestep)
            row[0].set_ylabel(f"{panel.label}\npower", fontsize=8)
        for axis in axes[-1]:
            axis.set_xlabel("cycles per sample", fontsize=8)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8)
        return plots.png(figure, digest)


def _draw_panel(axis: "Axes", result: SpectraResult, panel: Panel, clean: Curve, timestep: int) -> None:
    names = (keys.signal(timestep), keys.expected(timestep), keys.noisy(timestep))
    signal, expected, noisy = (result.curve(panel.key, name) for name in names)
    if not (signal and expected and noisy):
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", fontsize=8, color="#888888")
        return
    shown = slice(1, None)  # frequency 0 has no place on a logarithmic axis
    x = clean.x[shown]
    axis.plot(x, clean.y[shown], color="#999999", lw=1, label="clean")
    axis.plot(x, signal.y[shown], color="#0072B2", lw=1, label="signal in x_t")
    axis.axhline(expected.y[0] - signal.y[0], color="#000000", lw=0.8, ls="--", label="noise in x_t")
    axis.plot(x, expected.y[shown], color="#D55E00", lw=1, label="x_t, from the clean spectrum")
    axis.errorbar(
        x, noisy.y[shown], noisy.error[shown], color="#D55E00", ls="", marker="o", markersize=2.5, label="x_t, measured"
    )
    _mark_sides(axis, result, panel, timestep, clean)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlim(x[0], x[-1])
    axis.set_title(f"t = {timestep}", fontsize=9)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _mark_sides(axis: "Axes", result: SpectraResult, panel: Panel, timestep: int, clean: Curve) -> None:
    side, safe = side_of(clean), estimate(result.records.find(panel.key, "", keys.safe_side(timestep)))
    limit = safe.value / (2 * side) if safe else 0.0
    axis.axvspan(clean.x[1], max(limit, clean.x[1]), color="#CC3311", alpha=0.08, lw=0)
    axis.axvspan(max(limit, clean.x[1]), clean.x[-1], color="#009E73", alpha=0.12, lw=0)
    for fraction in result.experiment.fractions:
        axis.axvline(fraction / 2, color="#444444", lw=0.7, ls=":")
        place = (fraction / 2, 1.0)
        text = f"{fraction * side:g}"
        axis.annotate(text, place, (1, -7), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=6)
