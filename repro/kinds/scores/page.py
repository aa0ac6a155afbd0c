"""The page of one table: measured numbers beside the paper's, claims with verdicts, figures, provenance."""

from collections.abc import Sequence
from pathlib import Path

from repro.harness.agreement import agreement
from repro.harness.cells import DASH, TIMES, Footnotes, estimate, header, here, markdown, paper
from repro.harness.claims import Verdict, claims_table, difference
from repro.harness.experiment import Column, PromptSet, Reported, Row
from repro.harness.page import footer, joined, lower
from repro.harness.plan import steps_of
from repro.harness.published import column_name
from repro.kinds.scores.costs import cost_columns
from repro.kinds.scores.result import ScoresResult

CLAIM_RULE = """\
Difference: the first minus the second, positive where the first is better, with the 95 % interval of a paired
bootstrap over captions, all images of a caption together (and over training seeds where there are several). *At least
as good* is reproduced if the whole interval is at or above zero and not reproduced if it is below; *not worse* takes
minus the margin in place of zero, and the margin is the half-width of the second's own 95 % interval. All else is
inconclusive, and so are two rows that agree on every image. FID has no value per image, so no claim is tested on it."""

SPEED_RULE = """\
A speed-up is the median ratio of two latencies within a round, less the factor that is claimed; its interval is a
bootstrap over the rounds, whose number stands where others have images."""

FIGURES = {
    "compute": "Quality against compute. Further left costs less; arrows point to better; bars are 95 % intervals.",
    "samples": "Samples. In each column every row has the same prompt and the same seed.",
}


def page(result: ScoresResult, folder: Path) -> str:
    """The Markdown page. Figures are linked if they are in ``folder``; all else comes from the records."""
    blocks = [
        f"# {result.experiment.title}",
        result.experiment.question,
        f"**Reading.** {reading(result)}",
        caption(result),
        *(block for prompts in result.profile.prompt_sets for block in prompt_set(result, prompts)),
        *details(result),
        *claims(result),
        *agreement(result.agreement),
        *figures(result, folder),
        *result.experiment.notes,
        *footer(result),
    ]
    return joined(blocks)


def reading(result: ScoresResult) -> str:
    """One sentence: how many claims hold, and how the first one came out."""
    judged = [judgement for judgement in result.judgements if judgement.is_tested]
    if not judged:
        return f"No claim of this table can be tested in {result.profile.title}."
    counts = [(verdict, sum(j.verdict is verdict for j in judged)) for verdict in Verdict]
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    sentence = f"Of {len(judged)} claims tested in {result.profile.title}, {parts}"
    first = judged[0]
    if first.comparison is None:
        return f"{sentence}."
    gap = f"{first.column.label} {difference(first)}"
    return f'{sentence}; the first, "{lower(first.claim.text)}", is {first.verdict}: {gap}.'


def caption(result: ScoresResult) -> str:
    """Profile, number of images, and what the two groups of columns are."""
    profile, reported = result.profile, result.reported
    lines = [
        f"> **Profile `{profile.name}`.** {profile.caption}",
        f"> **here**: measured, {_images(result)} for each row and prompt set, 95 % interval in brackets.",
    ]
    if reported is not None and profile.name in reported.profiles:
        lines.append(f"> **paper**: {reported.label}.")
    elif reported is not None:
        warning = "Another model and other data: compare the order of the rows, not the values."
        lines.append(f"> **paper**: {reported.label}. {warning}")
    steps, guidance = profile.teacher.steps, profile.teacher.guidance_scale
    teacher = f"which takes {steps} steps with guidance {guidance:g} and pays twice for each"
    lines.append(f"> **Compute**: image tokens {TIMES} steps, and FLOPs relative to the teacher, {teacher}.")
    if (clock := result.experiment.clock) is not None:
        lines.append(
            f"> **Latency**: seconds of an image from text to pixels in batches of {clock.batch_size}, the median of "
            f"{clock.rounds} interleaved rounds; **parameters**: of the network, without text encoders and VAE."
        )
    return "\n>\n".join(lines)


def prompt_set(result: ScoresResult, prompts: PromptSet) -> list[str]:
    """Heading, table and footnotes of one prompt set."""
    profile, notes = result.profile, Footnotes()
    reported = result.reported if prompts.reported else None
    published = _published(reported, prompts)
    measured = [column for column in profile.columns if not column.detail and column.is_of(prompts.key)]
    costs = cost_columns(result.experiment, result.records)
    heads = ["Setup", "Steps", *map(header, costs)]
    heads += [header(column, "paper") for column in published] + [header(column, "here") for column in measured]
    rows = []
    for row in result.rows:
        cells = [row.label, _steps(result, row)]
        cells += [here(result.records, row, prompts.key, column, profile, notes) for column in costs]
        if reported is not None:
            cells += [paper(reported, row, prompts, column, notes) for column in published]
        cells += [here(result.records, row, prompts.key, column, profile, notes) for column in measured]
        rows.append(cells)
    heading = f"## {_upper(prompts.label)}"
    beside = f"*Here: {prompts.label}. Paper: {prompts.reported}.*" if reported is not None else ""
    return [heading, beside, markdown(heads, rows), notes.text()]


def details(result: ScoresResult) -> list[str]:
    """One more table for the detail columns: a column for each prompt set that has the metric."""
    profile, records, notes = result.profile, result.records, Footnotes()
    wanted = [
        (prompts, column)
        for prompts in profile.prompt_sets
        for column in profile.columns
        if column.detail and any(estimate(records.find(row.key, prompts.key, column.key)) for row in result.rows)
    ]
    if not wanted:
        return []
    heads = ["Setup", "Steps", *(header(column, prompts.label) for prompts, column in wanted)]
    rows = [_detail_row(result, row, wanted, notes) for row in result.rows]
    return ["## In detail", markdown(heads, rows), notes.text()]


def claims(result: ScoresResult) -> list[str]:
    """Every claim with verdict, difference and interval, or why it is not tested."""
    if not result.judgements:
        return []
    heads = ("Verdict", "Claim", "Source", "Metric", "Difference", "Margin", "Images", "Captions")
    rules = [CLAIM_RULE] if result.experiment.clock is None else [CLAIM_RULE, SPEED_RULE]
    return ["## Claims", claims_table(result.judgements, heads), *rules]


def figures(result: ScoresResult, folder: Path) -> list[str]:
    """Links to the figures of this table that exist."""
    found = [(f"figures/{result.stem}_{kind}.png", text) for kind, text in FIGURES.items()]
    links = [f"![{text.split('.')[0]}]({name})\n\n*{text}*" for name, text in found if (folder / name).exists()]
    return ["## Figures", *links] if links else []


def _detail_row(
    result: ScoresResult, row: Row, wanted: Sequence[tuple[PromptSet, Column]], notes: Footnotes
) -> list[str]:
    cells = [here(result.records, row, prompts.key, column, result.profile, notes) for prompts, column in wanted]
    return [row.label, _steps(result, row), *cells]


def _published(reported: Reported | None, prompts: PromptSet) -> list[Column]:
    """The columns that the publication has of a prompt set."""
    if reported is None:
        return []
    return [column for column in reported.columns if column_name(reported, prompts, column.key) is not None]


def _steps(result: ScoresResult, row: Row) -> str:
    steps = steps_of(result.profile, row)
    return DASH if steps is None else str(steps)


def _images(result: ScoresResult) -> str:
    keys = {column.key for column in result.profile.columns if not column.detail}
    counts = sorted({record.n for record in result.records.records if record.metric in keys and record.n})
    if not counts:
        return "no images"
    return f"{counts[0]:,} images" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} images"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
