"""The page of a figure of spectra, from the records alone."""

from functools import reduce
from pathlib import Path

from repro.harness.cells import DASH, estimate, header, markdown, number, with_interval
from repro.harness.claim_words import RULE, claims_tables
from repro.harness.experiment import Column
from repro.harness.page import footer, joined
from repro.harness.words import lower
from repro.kinds.spectra import keys
from repro.kinds.spectra.calibration import Calibrated, safe_side
from repro.kinds.spectra.declare import Calibration
from repro.kinds.spectra.figure import PICTURE
from repro.kinds.spectra.result import SpectraResult, side_of
from swd.schedule import PRESETS

LEGEND = (
    "Radial spectra at each noise level. Points: measured x_t, with the line that follows from the clean spectrum. "
    "Blue: what is left of the signal; dashed: the noise. Dotted verticals: the highest frequency of a latent of that "
    "side. Green: a side whose limit lies here loses nothing, for noise masks all that it cannot hold. Red: it loses "
    "signal."
)
DIFFERENCE = """\
Difference: of the number to the bound of the claim, with its 95 % interval from a jackknife over groups of images: all
squares of a photograph belong together."""
SCHEDULES = (
    "A step hands its x0 over at its scale, to be renoised to the next sigma. The spectrum proposes the smallest "
    "scale, a multiple of the patch size, that loses nothing by the rule above; the last step works at the full side. "
    "What is cheapest by the rule may be too cheap for a network that never saw such sides; scales of equal cost are "
    "the widest margin that costs no more tokens than the published ones, and "
    "`python -m repro table2 --extended` distils students on them."
)
MARGIN = """\
Table 1, extended, measures what starting from a smaller side loses: the distance of the finished images, METRIC, less
that from the full latent. More than ALLOWED, the margin of that metric, is a *loss*; the rule predicts one where a
frequency that the side cannot hold has more than 1 / margin of the noise's power, so each row has a margin beyond which
it is predicted. The margin is the smallest of those tried that predicts most rows on one half of the images' groups
(COUNT from LOW to HIGH, fixed beforehand); the other half tests it. A half's difference comes from the jackknife's
pseudo-values, so the halves are independent to first order only."""


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
        *_claims(result),
        *_margin(result, folder),
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


def _claims(result: SpectraResult) -> list[str]:
    if not result.judgements:
        return []
    heads = ("Verdict", "Claim", "Source", "Kind", "Metric", "Difference", "Margin", "p", "Images")
    return ["## Claims", *claims_tables(result.judgements, heads), DIFFERENCE, RULE]


def _margin(result: SpectraResult, folder: Path) -> list[str]:
    """The margin that fits what Table 1 loses, with every side and level that it was fitted to and tested on."""
    declared = result.experiment.calibration
    if declared is None or result.curve(declared.panel, keys.CLEAN) is None:
        return []
    head, calibrated, metric = "## Which margin", result.calibrated(folder), result.distance
    if calibrated is None or metric is None:
        return [head, f"Not calibrated: {declared.table} has not been measured in this profile's present metric."]
    margins = declared.margins
    filled = {"METRIC": metric.label, "ALLOWED": number(calibrated.allowed, 1), "COUNT": f"{len(margins)} margins"}
    filled |= {"LOW": f"{min(margins):g}", "HIGH": f"{max(margins):g}"}
    text = reduce(lambda text, item: text.replace(*item), filled.items(), MARGIN)
    return [head, text, _fit(calibrated), _trials(calibrated, metric), _safe_sides(result, declared, calibrated)]


def _fit(found: Calibrated) -> str:
    """Hits of the calibrated margin, of one and of ten."""
    count = len(found.trials)
    said = [f"margin {margin:g} predicts {found.hits(margin, 1)} of {count}" for margin in (1.0, 10.0)]
    return (
        f"**The calibrated margin is {found.margin:g}**: it predicts {found.hits(found.margin, 0)} of {count} on the "
        f"half that chose it and **{found.hits(found.margin, 1)} of {count} on the half that was held out**. There, "
        f"{' and '.join(said)}."
    )


def _trials(found: Calibrated, metric: Column) -> str:
    heads = [
        "Side",
        "Noise level",
        "Loss predicted beyond margin",
        "Loss, first half",
        "Loss, held-out half",
        "Held out",
    ]
    rows = [
        [
            str(trial.side),
            f"t = {trial.timestep}",
            number(trial.critical, 2),
            *(number(loss, metric.digits) for loss in trial.losses),
            "hit" if trial.is_hit(found.margin, 1, found.allowed) else "miss",
        ]
        for trial in sorted(found.trials, key=lambda trial: trial.critical)
    ]
    return markdown(heads, rows)


def _safe_sides(result: SpectraResult, declared: Calibration, found: Calibrated) -> str:
    """Safe sides by the calibrated margin, of the latents alone that it is fitted to."""
    rows = []
    for panel, clean in result.measured:
        if panel.key != declared.panel:
            continue
        sides = [number(safe_side(clean, t / 1000, found.margin), 0) for t in result.experiment.timesteps]
        rows.append([panel.label, *sides])
    heads = [f"Safe by margin {found.margin:g}", *(f"t = {t}" for t in result.experiment.timesteps)]
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
        rows += [
            ["scales, equal cost", *map(str, PRESETS[derived].scales)]
            for derived in result.experiment.derived_presets(result.profile)
            if PRESETS[derived].boundaries == PRESETS[name].boundaries
        ]
    if not rows:
        return []
    steps = max(map(len, rows)) - 1
    heads = ["Schedule", *(f"Step {step}" for step in range(1, steps + 1))]
    return ["## Schedules by the spectrum", SCHEDULES, markdown(heads, [r + [""] * (steps + 1 - len(r)) for r in rows])]
