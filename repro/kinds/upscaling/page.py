"""The page of Table 1: Frechet distances beside the paper's, and its claims by a paired jackknife."""

from pathlib import Path

from repro.harness.cells import Footnotes, estimate, header, markdown, number, with_interval
from repro.harness.claims import claims_table
from repro.harness.experiment import Column
from repro.harness.page import footer, joined
from repro.harness.published import published
from repro.kinds.upscaling.declare import ORDERS, Cell, UpscalingTable
from repro.kinds.upscaling.result import UpscalingResult

RULE = """\
Difference: what the claim says is larger minus what it says is smaller, in FID-E, positive where the claim holds, with
its 95 % interval from the paired jackknife. A claim is reproduced if the whole interval is at or above zero, not
reproduced if it is below, else inconclusive. Where there is a margin, the half-width of the full latent's own interval,
minus the margin takes the place of zero."""
PAPER_SIDE = 128


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
        RULE,
        picture if (folder / name).exists() else "",
        *table.notes,
        *footer(result),
    ]
    return joined(blocks)


def _caption(result: UpscalingResult) -> str:
    profile = result.profile
    counts = sorted({record.n for record in result.records.records})
    images = f"{counts[0]:,} images" if counts else "no images"
    orders = "; ".join(f"{order}: {text}" for order, text in ORDERS.items())
    return "\n>\n".join(
        [
            f"> **Profile `{profile.name}`.** {profile.caption}",
            f"> **here**: FID-E, {images} for each row and noise level, 95 % interval in brackets; the teacher takes "
            f"the rest of its {profile.teacher.steps} steps with guidance {profile.teacher.guidance_scale:g}.",
            f"> **paper**: {result.experiment.reported.label}. Another model, other data and another metric: compare "
            "the order of the rows, not the values.",
            f"> {orders}.",
        ]
    )


def _rows(result: UpscalingResult) -> str:
    table, records = result.experiment, result.records
    measured = [cell for cell in table.cells if records.find(cell.key, "", _first(table))]
    full = table.cells[0].side
    columns = [table.column(timestep) for timestep in table.timesteps]
    heads = ["Order", "Side", "Upscaling", *map(header, columns)]
    heads += [f"{header(column)} (paper {source})" for source in ("v1", "v2") for column in table.reported.columns]
    notes, rows = Footnotes(), []
    for cell in measured:
        cells = [cell.order, f"{cell.side} of {full}", "none" if cell.order == "A" else cell.mode]
        for column in columns:
            shown = estimate(records.find(cell.key, "", column.key))
            cells.append(with_interval(shown, column) if shown else notes.dash("Not measured yet."))
        cells += [
            _paper(result, cell, full, source, column, notes)
            for source in ("v1", "v2")
            for column in table.reported.columns
        ]
        rows.append(cells)
    return "\n\n".join(part for part in (markdown(heads, rows, left=3), notes.text()) if part)


def _first(table: UpscalingTable) -> str:
    return table.column(table.timesteps[0]).key


def _paper(result: UpscalingResult, cell: Cell, full: int, source: str, column: Column, notes: Footnotes) -> str:
    reported = result.experiment.reported
    wanted = (source, str(cell.side * PAPER_SIDE // full))
    for line in published(reported.csv):
        found = (line["source"], line["from_latent"]) == wanted and line["configuration"].startswith(f"{cell.order}:")
        if found and cell.mode == "bicubic":
            return number(float(line[column.key]), column.digits)
    return notes.dash(reported.missing)
