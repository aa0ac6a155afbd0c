"""What a page says of images that could not be measured: how many, whose, and why. Nothing where there are none."""

from collections.abc import Iterator

from repro.harness.experiment import PromptSet, Row
from repro.kinds.scores.declare import SKIPPED
from repro.kinds.scores.result import ScoresResult


def remark(result: ScoresResult, row: Row, prompts: PromptSet) -> str:
    """Count and reasons of a row's images of a set that are in no number; empty where there are none."""
    found = [record for record in result.records.find(row.key, prompts.key, SKIPPED) if record.value]
    if not found:
        return ""
    count, seeds = _total(result, row, prompts), len({record.seed for record in found})
    asked = result.num_images(prompts) * seeds
    of = f"{count:,} of {asked:,} images" if asked else f"{count:,} {'image' if count == 1 else 'images'}"
    why = "; ".join(record.note for record in found if record.note)
    return f"{of} of this row skipped, in none of its numbers; by id: {why}"


def summary(result: ScoresResult) -> str:
    """All of them in one line of the caption, by row and prompt set; empty where there are none."""
    counts = list(_counts(result))
    if not counts:
        return ""
    parts = "; ".join(f"{result.named(row)}, {prompts.label}: {count:,}" for row, prompts, count in counts)
    total = sum(count for *_, count in counts)
    return f"> **Skipped images: {total:,}**, which are in no number. {parts}. The notes below the tables say why."


def _counts(result: ScoresResult) -> Iterator[tuple[Row, PromptSet, int]]:
    for prompts in result.profile.prompt_sets:
        for row in result.rows:
            if count := _total(result, row, prompts):
                yield row, prompts, count


def _total(result: ScoresResult, row: Row, prompts: PromptSet) -> int:
    return int(sum(record.value or 0 for record in result.records.find(row.key, prompts.key, SKIPPED)))
