"""The page of Table 1: Frechet distances beside the paper's, and its claims by a paired jackknife."""

from pathlib import Path

from repro.harness.agreement import agreement
from repro.harness.cells import Footnotes, estimate, header, markdown, number, with_interval
from repro.harness.claims import claims_table
from repro.harness.experiment import Column, Reported
from repro.harness.page import comparable, footer, joined
from repro.harness.plan import finishing
from repro.kinds.upscaling.declare import ORDERS
from repro.kinds.upscaling.result import UpscalingResult

RULE = """\
Difference: what the claim says is larger minus what it says is smaller, in METRIC, positive where the claim holds, with
its 95 % interval from the paired jackknife. A claim is reproduced if the whole interval is at or above zero, not
reproduced if it is below, else inconclusive. Where there is a margin, the half-width of the full latent's own interval,
minus the margin takes the place of zero."""


def page(result: UpscalingResult, folder: Path) -> str:
    """The Markdown page. The picture is linked if it is in ``folder``; all else comes from the records."""
    table, name = result.experiment, f"figures/{result.stem}_samples.png"
    picture = f"![Samples]({name})\n\n*Samples: the same scenes and the same noise in every row.*"
    blocks = [
        f"# {table.title}",
        table.question,
        _caption(result),
        _rows(result),
        "## Claims",
        claims_table(result.judgements, ("Verdict", "Claim", "Source", "Difference", "Margin", "Images")),
        RULE.replace("METRIC", result.column.label),
        *agreement(result.agreement),
        picture if (folder / name).exists() else "",
        *(table.published_notes if result.profile.scorers else table.notes),
        *footer(result),
    ]
    return joined(blocks)


def _caption(result: UpscalingResult) -> str:
    profile, plan, reported = result.profile, finishing(result.profile), result.experiment.reported
    orders = "; ".join(f"{order}: {text}" for order, text in ORDERS.items())
    return "\n>\n".join(
        [
            f"> **Profile `{profile.name}`.** {profile.caption}",
            f"> **here**: {result.column.label}, {_images(result)} for each row and noise level, 95 % interval in "
            f"brackets; the teacher takes the rest of its {plan.steps} steps with guidance {plan.guidance_scale:g}.",
            f"> **paper**: {reported.label}. {comparable(profile, reported)}",
            f"> {orders}.",
        ]
    )


def _images(result: UpscalingResult) -> str:
    counts = sorted({record.n for record in result.records.records})
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
        cells = [cell.order, f"{sides[cell]} of {sides[table.cells[0]]}", "none" if cell.order == "A" else cell.mode]
        for column in columns:
            shown = estimate(records.find(cell.key, "", column.key))
            cells.append(with_interval(shown, column) if shown else notes.dash("Not measured yet."))
        cells += [
            _paper(result.published(cell, source, column.key), table.reported, column, notes)
            for source in table.sources
            for column in table.reported.columns
        ]
        rows.append(cells)
    return "\n\n".join(part for part in (markdown(heads, rows, left=3), notes.text()) if part)


def _paper(value: float | None, reported: Reported, column: Column, notes: Footnotes) -> str:
    return notes.dash(reported.missing) if value is None else number(value, column.digits)
