"""The page of a figure of spectra, and the figure: both from the records alone."""

from pathlib import Path
from typing import TYPE_CHECKING

from repro.harness import plots
from repro.harness.cells import DASH, estimate, header, markdown, with_interval
from repro.harness.files import digest_json
from repro.harness.page import footer, lower
from repro.harness.result import Measured
from repro.harness.schema import Curve
from repro.kinds.spectra.declare import PUBLISHED, Panel, SpectraFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERSION = 1  # of the drawing code: raise it when the figure should look different
KIND = "spectra"
LEGEND = (
    "Radial spectra at each noise level. Points: measured x_t, with the line that follows from the clean spectrum. "
    "Blue: what is left of the signal; dashed: the noise. Dotted verticals: the highest frequency of a latent of that "
    "side. Green: a side whose limit lies here loses nothing, for noise masks all that it cannot hold. Red: it loses "
    "signal."
)
SCHEDULES = (
    "A step hands its x0 over at its scale, to be renoised to the next sigma. The spectrum proposes the smallest "
    "scale, a multiple of the patch size, that loses nothing by the rule above; the last step works at the full side. "
    "How students fare on proposed schedules has not been measured."
)


class SpectraResult(Measured[SpectraFigure]):
    """Spectra of the panels. No claims: this figure explains, its table is the measurement."""

    @property
    def measured(self) -> list[tuple[Panel, Curve]]:
        """Panels that this run had images for, each with its clean spectrum."""
        found = ((panel, self.curve(panel.key, "clean")) for panel in self.experiment.panels)
        return [(panel, clean) for panel, clean in found if clean is not None]


def page(result: SpectraResult, folder: Path) -> str:
    """The Markdown page. The figure is linked if it is in ``folder``; all else comes from the records."""
    figure, name = result.experiment, f"figures/{result.stem}_{KIND}.png"
    blocks = [
        f"# {figure.title}",
        figure.question,
        _caption(result),
        _table(result),
        f"*Paper: {figure.reading}*",
        f"![{figure.title}]({name})\n\n*{LEGEND}*" if (folder / name).exists() else "",
        *_schedules(result),
        *figure.notes,
        *footer(figure.key, result.profile, result.records),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _caption(result: SpectraResult) -> str:
    profile = result.profile
    lines = [
        f"> **Profile `{profile.name}`: {profile.title}.** Sides are in samples of what the row names; the paper's "
        "latents have side 128."
    ]
    for run in result.records.runs:
        if run.config.get("random_weights"):
            lines.append("> **Random weights: this shows that it runs, and for how long. The numbers mean nothing.**")
        if skipped := sum(run.config.get("skipped", {}).values()):
            lines.append(f"> {skipped} files could not be read as images and were skipped.")
    return "\n>\n".join(lines)


def _table(result: SpectraResult) -> str:
    heads = ["", "Side", "Images", *map(header, result.experiment.columns)]
    rows = []
    for panel, clean in result.measured:
        cells = [panel.label, str(_side(clean)), str(clean.n)]
        for column in result.experiment.columns:
            shown = estimate(result.records.find(panel.key, "", column.key))
            cells.append(with_interval(shown, column) if shown else DASH)
        rows.append(cells)
    return markdown(heads, rows)


def _schedules(result: SpectraResult) -> list[str]:
    """The published schedules beside those that each kind of latents proposes at the same sigmas."""
    rows = []
    for curve in result.records.curves:
        if curve.variant != PUBLISHED or not curve.metric.startswith("sigmas_"):
            continue
        name = curve.metric.removeprefix("sigmas_")
        rows.append([f"`{name}`, sigmas", *(f"{sigma:.4f}" for sigma in curve.y)])
        kinds = [("published", PUBLISHED), *((panel.label, panel.key) for panel, _ in result.measured)]
        for label, key in kinds:
            for scales in result.records.curves:
                if (scales.variant, scales.metric) == (key, f"scales_{name}"):
                    rows.append([f"scales, {lower(label)}", *(f"{scale:.0f}" for scale in scales.y)])
    if not rows:
        return []
    steps = max(map(len, rows)) - 1
    heads = ["Schedule", *(f"Step {step}" for step in range(1, steps + 1))]
    return ["## Schedules by the spectrum", SCHEDULES, markdown(heads, [r + [""] * (steps + 1 - len(r)) for r in rows])]


def drawing(result: SpectraResult) -> plots.Drawing | None:
    """A row for each panel that was measured, a column for each noise level."""
    sides = [record for record in result.records.records if record.metric.startswith("safe_side")]
    shown = {"version": VERSION, "figure": result.experiment, "curves": result.records.curves, "sides": sides}
    digest = digest_json(shown)
    return plots.Drawing(KIND, digest, lambda: _draw(result, digest)) if result.measured else None


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
    names = (f"signal_t{timestep}", f"expected_t{timestep}", f"noisy_t{timestep}")
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
    side, column = _side(clean), result.experiment.safe_side(timestep)
    safe = estimate(result.records.find(panel.key, "", column.key))
    limit = safe.value / (2 * side) if safe else 0.0
    axis.axvspan(clean.x[1], max(limit, clean.x[1]), color="#CC3311", alpha=0.08, lw=0)
    axis.axvspan(max(limit, clean.x[1]), clean.x[-1], color="#009E73", alpha=0.12, lw=0)
    for fraction in result.experiment.fractions:
        axis.axvline(fraction / 2, color="#444444", lw=0.7, ls=":")
        place = (fraction / 2, 1.0)
        text = f"{fraction * side:g}"
        axis.annotate(text, place, (1, -7), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=6)


def _side(clean: Curve) -> int:
    """The side whose rings these are: whole rings end at its Nyquist frequency, one every 1 / side."""
    return round(1 / (clean.x[1] - clean.x[0]))
