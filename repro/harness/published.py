"""Published numbers, read from their CSV files: the cell of a row, a prompt set and a column."""

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from repro.harness.experiment import PromptSet, Row
from repro.harness.reported import Reported

REPORTED = Path(__file__).resolve().parents[1] / "reported"
# How far two measurements of one model lie apart in the paper itself: v1's Table 2 and the project page have SwD Medium
# at 6 steps with PS 0.001 and 0.002, CS 0.002 and 0.007, IR 0.02 and 0.05 between them (COCO, MJHQ), v2's Tables 7 and
# 3 with IR 0.02 and 0.00; GenEval is 0.69 and 0.70. Rounded, of this order, is no difference between models: it is what
# agreement with a published number tolerates, and the margin of claims. FID is 2.7 and 1.1 apart between v1's Table 2
# and the project page, and up to 0.4 between v1 and v2: 1.
NOISE = {"fid": 1.0, "pickscore": 0.002, "clipscore": 0.003, "image_reward": 0.04, "geneval": 0.02}


@lru_cache
def published(name: str) -> tuple[Mapping[str, str], ...]:
    """Rows of a CSV of published numbers, as text."""
    with (REPORTED / name).open(newline="", encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))


def published_line(reported: Reported, row: Row, prompts: PromptSet) -> Mapping[str, str] | None:
    """The line of a CSV that belongs to a row and a prompt set; None where there is none.

    Raises:
        ValueError: several lines match.
    """
    cells = row.reported_in.get(reported.csv, row.reported)
    if cells is None:
        return None
    wanted = {**reported.match, **cells}
    if not reported.prefixes:
        wanted[reported.prompts_column] = prompts.reported
    found = [line for line in published(reported.csv) if all(line.get(key) == cell for key, cell in wanted.items())]
    if len(found) > 1:
        raise ValueError(f"{reported.csv}: {len(found)} rows match {wanted}")
    return found[0] if found else None


def column_name(reported: Reported, prompts: PromptSet, key: str) -> str | None:
    """Name in the CSV of a column of a prompt set; None where the publication has no number of that set in it."""
    wanted = dict(reported.match)
    if not reported.prefixes:
        name = key
        wanted[reported.prompts_column] = prompts.reported
    elif prompts.reported in reported.prefixes:
        name = reported.prefixes[prompts.reported] + key
    else:
        return None
    lines = (line for line in published(reported.csv) if all(line.get(head) == cell for head, cell in wanted.items()))
    return name if any(line.get(name) for line in lines) else None


def published_cost(reported: Reported, row: Row, key: str) -> float | None:
    """A published number that belongs to no prompt set, such as a latency; None where there is none."""
    line = published_line(reported, row, PromptSet("", "")) if reported.prefixes else None
    return float(line[key]) if line is not None and line.get(key) else None


def published_value(reported: Reported, row: Row, prompts: PromptSet, key: str) -> float | None:
    """A published number, as it is printed; None where there is none.

    Args:
        reported: the publication.
        row: of the table.
        prompts: whose ``reported`` name the publication knows.
        key: column of the CSV, without the prefix of the prompt set.
    """
    line, name = published_line(reported, row, prompts), column_name(reported, prompts, key)
    return float(line[name]) if line is not None and name is not None and line[name] else None
