"""The page of Table 1: Frechet distances beside the paper's, and its claims by a paired jackknife."""

from pathlib import Path

from repro.harness.agreement import agreement
from repro.harness.cells import Footnotes, estimate, glossary, header, markdown, number, with_interval
from repro.harness.claim_words import RULE, claims_tables
from repro.harness.experiment import Column
from repro.harness.metric_words import features_of, formula, real_images
from repro.harness.page import comparable, footer, joined
from repro.harness.plan import finishing
from repro.harness.reported import Reported
from repro.kinds.upscaling import keys
from repro.kinds.upscaling.declare import ORDERS, Cell
from repro.kinds.upscaling.result import UpscalingResult

DIFFERENCE = """\
Difference: what the claim says is larger minus what it says is smaller, in METRIC, positive where the claim holds, with
its 95 % interval from the paired jackknife. The margin is that of the metric, fixed before this was measured."""


def page(result: UpscalingResult, folder: Path) -> str:
    """The Markdown page. The picture is linked if it is in ``folder``; all else comes from the records."""
    table, name = result.experiment, f"figures/{result.stem}_samples.png"
    picture = f"![Samples]({name})\n\n*Samples: the same scenes and the same noise in every row.*"
    blocks = [
        f"# {table.title}",
        table.question,
        _caption(result),
        _rows(result),
        glossary([result.column]),
        "## Claims",
        *claims_tables(
            result.judgements, ("Verdict", "Claim", "Source", "Kind", "Difference", "Margin", "p", "Images")
        ),
        DIFFERENCE.replace("METRIC", result.column.label),
        RULE,
        *agreement(result.agreement),
        picture if (folder / name).exists() else "",
        *(table.published_notes if result.profile.scorers else table.notes),
        *footer(result),
    ]
    return joined(blocks)


def _caption(result: UpscalingResult) -> str:
    profile, plan, reported = result.profile, finishing(result.profile), result.experiment.reported
    shown = {cell.order for cell in result.experiment.cells}
    orders = "; ".join(f"{order}: {text}" for order, text in ORDERS.items() if order in shown)
    return "\n>\n".join(
        line
        for line in [
            f"> **Profile `{profile.name}`.** {profile.caption}",
            f"> **here**: {result.column.label}, {_images(result)} for each row and noise level, 95 % interval in "
            f"brackets; the teacher takes the rest of its {plan.steps} steps with guidance {plan.guidance_scale:g}.",
            f"> **paper**: {reported.label}. {comparable(profile, reported)}",
            f"> {orders}.",
            _skipped(result),
            _metric(result),
        ]
        if line
    )


def _images(result: UpscalingResult) -> str:
    metrics = {result.experiment.column(result.column, timestep).key for timestep in result.experiment.timesteps}
    counts = sorted({record.n for record in result.records.records if record.metric in metrics})
    if not counts:
        return "no images"
    if len(counts) == 1:
        return f"{counts[0]:,} images"
    return f"{counts[0]:,} to {counts[-1]:,} images (those that could not be made or read are left out)"


def _rows(result: UpscalingResult) -> str:
    table, records = result.experiment, result.records
    sides = {cell: table.in_profile(cell, result.profile).side for cell in table.cells}
    columns = [table.column(result.column, timestep) for timestep in table.timesteps]
    heads = ["Order", "Side", "Upscaling", *map(header, columns)]
    heads += [f"{header(column)} (paper {source})" for source in table.sources for column in table.reported.columns]
    notes, rows = Footnotes(), []
    for cell in result.measured:
        cells = [cell.order, f"{sides[cell]} of {sides[table.cells[0]]}", cell.upscaling]
        for column in columns:
            shown = estimate(records.find(cell.key, "", column.key))
            text = with_interval(shown, column) if shown else ""
            cells.append(notes.mark(text, _remark(result, cell, column)) if shown else notes.dash("Not measured yet."))
        cells += [
            _paper(result.published(cell, source, column.key), table.reported, column, notes)
            for source in table.sources
            for column in table.reported.columns
        ]
        rows.append(cells)
    return "\n\n".join(part for part in (markdown(heads, rows, left=3), notes.text()) if part)


def _remark(result: UpscalingResult, cell: Cell, column: Column) -> str:
    """What a reader must know of a distance: of too few images, or without those that were skipped."""
    own, lost = (result.records.find(cell.key, "", key) for key in (column.key, keys.skipped(column.key)))
    remarks = [record.note for record in own if record.note]
    remarks += [f"skipped images: {record.value:,.0f}; by id: {record.note}" for record in lost if record.value]
    return "; ".join(remarks)


def _skipped(result: UpscalingResult) -> str:
    """All images that are in no distance, in one line of the caption."""
    columns = [result.experiment.column(result.column, timestep) for timestep in result.experiment.timesteps]
    found = (result.value(cell.key, keys.skipped(column.key)) for cell in result.measured for column in columns)
    total = sum(count or 0 for count in found)
    return f"> **Skipped images: {total:,.0f}**, which are in no distance. The notes say why." if total else ""


def _metric(result: UpscalingResult) -> str:
    """How the distance is measured, where the records say so."""
    run = max(result.records.runs, key=lambda run: run.start, default=None)
    key, sets = result.column.key, {prompts.key: prompts.label for prompts in result.profile.prompt_sets}
    found = {sets.get(name, name): said[key] for name, said in (run.metrics if run else {}).items() if key in said}
    if not found:
        return ""
    inputs = next(iter(found.values()))
    said = [formula(inputs["distances"][key]), features_of(inputs["features"]), real_images(found)]
    return f"> **{result.column.label}**: " + " ".join(f"{part}." for part in said if part)


def _paper(value: float | None, reported: Reported, column: Column, notes: Footnotes) -> str:
    return notes.dash(reported.missing) if value is None else number(value, column.digits)
