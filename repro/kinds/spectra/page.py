"""The page of a figure of spectra, from the records alone."""

from pathlib import Path

from repro.harness.cells import DASH, estimate, header, markdown, with_interval
from repro.harness.page import footer, joined, lower
from repro.kinds.spectra import keys
from repro.kinds.spectra.figure import PICTURE
from repro.kinds.spectra.result import SpectraResult, side_of

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


def page(result: SpectraResult, folder: Path) -> str:
    """The Markdown page. The figure is linked if it is in ``folder``; all else comes from the records."""
    figure, name = result.experiment, f"figures/{result.stem}_{PICTURE}.png"
    blocks = [
        f"# {figure.title}",
        figure.question,
        _caption(result),
        _table(result),
        f"*Paper: {figure.reading}*",
        f"![{figure.title}]({name})\n\n*{LEGEND}*" if (folder / name).exists() else "",
        *_schedules(result),
        *figure.notes,
        *footer(result),
    ]
    return joined(blocks)


def _caption(result: SpectraResult) -> str:
    profile = result.profile
    lines = [
        f"> **Profile `{profile.name}`: {profile.title}.** Sides are in samples of what the row names; the paper's "
        "latents have side 128."
    ]
    for run in result.records.runs:
        if run.config.get("random_weights"):
            lines.append("> **Random weights: this shows that it runs, and for how long. The numbers mean nothing.**")
        lines += [f"> Images: {named}." for named in run.config.get("named", {}).values()]
        if skipped := sum(run.config.get("skipped", {}).values()):
            lines.append(f"> {skipped} files could not be read as images and were skipped.")
    return "\n>\n".join(lines)


def _table(result: SpectraResult) -> str:
    heads = ["", "Side", "Images", *map(header, result.experiment.columns)]
    rows = []
    for panel, clean in result.measured:
        cells = [panel.label, str(side_of(clean)), str(clean.n)]
        for column in result.experiment.columns:
            shown = estimate(result.records.find(panel.key, "", column.key))
            cells.append(with_interval(shown, column) if shown else DASH)
        rows.append(cells)
    return markdown(heads, rows)


def _schedules(result: SpectraResult) -> list[str]:
    """The published schedules beside those that each kind of latents proposes at the same sigmas."""
    rows = []
    for name in result.experiment.presets(result.profile):
        if (sigmas := result.series(keys.PUBLISHED, keys.sigmas(name))) is None:
            continue
        rows.append([f"`{name}`, sigmas", *(f"{sigma:.4f}" for sigma in sigmas.values)])
        kinds = [("published", keys.PUBLISHED), *((panel.label, panel.key) for panel, _ in result.measured)]
        for label, key in kinds:
            if (scales := result.series(key, keys.scales(name))) is not None:
                rows.append([f"scales, {lower(label)}", *(f"{scale:.0f}" for scale in scales.values)])
    if not rows:
        return []
    steps = max(map(len, rows)) - 1
    heads = ["Schedule", *(f"Step {step}" for step in range(1, steps + 1))]
    return ["## Schedules by the spectrum", SCHEDULES, markdown(heads, [r + [""] * (steps + 1 - len(r)) for r in rows])]
