"""`.eval_results` of the Hub: scores that the page of a model shows and that the leaderboard of a benchmark collects.

The format is that of huggingface.co/docs/hub/eval-results: in the repository of a *model*, a YAML list in the folder
`.eval_results`, an entry for each score. An entry files its score under a data set of the Hub that is registered as a
benchmark, and under a task that the data set's `eval.yaml` declares. Prompt sets are no such data sets by themselves,
so somebody has to name one. Values are as the pages show them: fractions times 100.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from textwrap import indent
from typing import Any

from repro.harness.exports.scale import toy_scale
from repro.harness.exports.scores import RowScores, Score
from repro.harness.kind import UsageError

_NAME = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?")
DIGITS = 6  # significant, of a value


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A data set of the Hub that is registered as a benchmark.

    Args:
        id: "owner/name".
        revision: commit of it; None for the newest.
    """

    id: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Benchmark":
        """From ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.

        Raises:
            UsageError: the text is neither.
        """
        if (found := _NAME.fullmatch(text)) is None:
            raise UsageError(f"--benchmark takes OWNER/NAME or OWNER/NAME@REVISION of a data set, got {text!r}")
        return cls(found["id"], found["revision"])


def eval_results(found: RowScores, benchmark: Benchmark) -> str:
    """The YAML file of a row."""
    return "".join(_item(_yaml(_entry(found, score, benchmark))) for score in found.scores)


def _entry(found: RowScores, score: Score, benchmark: Benchmark) -> dict[str, Any]:
    dataset = {"id": benchmark.id, "task_id": score.key}
    return {
        "dataset": {**dataset, **({"revision": benchmark.revision} if benchmark.revision else {})},
        "value": _rounded(score.estimate.value * score.column.factor),
        "date": found.run.start,
        "notes": _notes(found, score),
    }


def _notes(found: RowScores, score: Score) -> str:
    shown, factor = score.estimate, score.column.factor
    parts = [f"{found.row.label} ({found.row.key}) of {found.stem}", f"n = {score.n}"]
    if shown.low is not None and shown.high is not None:
        parts.append(f"95 % interval {_rounded(shown.low * factor)} to {_rounded(shown.high * factor)}")
    parts += [
        f"published {_rounded(cell.published * factor)} ({cell.publication}; tolerance "
        f"{_rounded(cell.tolerance * factor)}): {cell.verdict}"
        for cell in score.published
    ]
    return "; ".join([*parts, *filter(None, [toy_scale(found.profile)])])


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _item(mapping: str) -> str:
    return "- " + indent(mapping, "  ")[2:]


def _yaml(mapping: Mapping[str, Any]) -> str:
    """A mapping in YAML. Strings are written as JSON, which YAML contains."""
    lines = []
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            lines.append(f"{name}:\n{indent(_yaml(value), '  ')}")
        else:
            lines.append(f"{name}: {_scalar(value)}\n")
    return "".join(lines)


def _scalar(value: str | float) -> str:
    """Numbers go without an exponent: YAML 1.1 reads the 1e-05 of JSON as a string."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else format(Decimal(repr(value)), "f")
