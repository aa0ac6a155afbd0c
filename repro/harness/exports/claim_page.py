"""One page of the logbook for each claim: verdict, scope, hardware, time and records, in Markdown.

A page is a heading and cells. Trackio marks a cell by a rule and a comment that holds its type, id, time and title as
JSON; ids and times here follow from the claim and its run, so that the same records give the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from repro.harness.claims import Judgement, cells
from repro.harness.exports.scale import toy_scale
from repro.harness.page import provenance
from repro.harness.profile import Profile
from repro.harness.result import Measured
from repro.harness.schema import Run
from repro.harness.scope import Scope

WRITTEN = "Written by `nox -s logbook` from the records: edits by hand are overwritten."


@dataclass(frozen=True, slots=True)
class ClaimPage:
    """A claim in a result.

    Args:
        result: that tests it.
        judgement: what came of it.
        digest: SHA-256 of the records file.
    """

    result: Measured[Any]
    judgement: Judgement
    digest: str

    @property
    def slug(self) -> str:
        """Folder of the page, and its name in links."""
        return _slug(f"{self.result.experiment.key} {self.result.profile.name} {self.judgement.claim.key}")

    @property
    def title(self) -> str:
        """Of the page, short enough for the list of pages."""
        mark = "toy scale" if toy_scale(self.result.profile) else self.result.profile.title
        return f"{self.result.experiment.key}: {self.judgement.claim.key.replace('_', ' ')} ({mark})"

    def text(self) -> str:
        """The page."""
        bodies = {
            "Verdict": self._verdict(),
            "Scope": self._scope(),
            "Hardware and time": self._hardware(),
            "Records": self._records(),
        }
        made = [cell(f"{self.slug}/{title}", title, body, self.made) for title, body in bodies.items()]
        return f"# {self.title}\n" + "".join(made)

    @property
    def made(self) -> str:
        """When the newest of the runs started."""
        return max(run.start for run in self.result.records.runs)

    def _verdict(self) -> str:
        heads = ("Verdict", "Claim", "Source", "Metric", "Difference", "Margin")
        rows = [[head, cell] for head, cell in zip(heads, cells(self.judgement, heads), strict=True) if cell]
        blocks = [*warnings([self.result.profile]), _pairs(rows)]
        if self.judgement.comparison:
            blocks.append(
                "A positive difference favours the claim; in brackets its 95 % interval. Reproduced: the whole "
                "interval lies above minus the margin. Not reproduced: all of it lies below. Else inconclusive."
            )
        return "\n\n".join(blocks)

    def _scope(self) -> str:
        profile, scope = self.result.profile, self.judgement.claim.scope
        rows = [
            ["Profile", f"`{profile.name}`: {profile.caption}"],
            ["Experiment", f"{self.result.title}. {self.result.experiment.question}"],
            ["Compared", " and ".join(f"`{row}`" for row in scope.rows)],
            ["Prompt sets", ", ".join(self._prompt_sets(scope))],
            ["Conditions", scope.conditions],
            ["N", self._n()],
        ]
        return _pairs([row for row in rows if row[1]])

    def _prompt_sets(self, scope: Scope) -> list[str]:
        sets = self.result.profile.prompt_sets
        column = self.judgement.column
        wanted = [found for found in sets if scope.prompts is None or found.key in scope.prompts]
        return [f"{found.label} (`{found.key}`)" for found in wanted if column.is_of(found.key)]

    def _n(self) -> str:
        compared = self.judgement.comparison
        if compared is None:
            return ""
        captions = f", of {compared.captions:,} different captions" if compared.captions else ""
        return f"{compared.n:,} paired values{captions}"

    def _hardware(self) -> str:
        return "\n\n".join(_pairs(_machine(run)) for run in self.result.records.runs)

    def _records(self) -> str:
        name = f"{self.result.stem}.jsonl"
        lines = [f"Numbers: [records/{name}](./records/{name}), SHA-256 `{self.digest}`."]
        lines += [f"- {provenance(run)}" for run in self.result.records.runs]
        return "\n".join([lines[0], "", *lines[1:], "", WRITTEN])


def _machine(run: Run) -> list[list[str]]:
    packages = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    return [
        ["Device", f"{run.device}, {run.dtype}"],
        ["Started", run.start],
        ["Took", f"{run.wall_seconds / 60:.1f} min"],
        ["Memory", f"{run.peak_memory_bytes / 2**30:.1f} GiB at peak"],
        ["Versions", packages],
    ]


def _pairs(rows: Sequence[Sequence[str]]) -> str:
    """A list: Trackio's viewer sets the head of a table in capitals and reads no Markdown there."""
    return "\n".join(f"- {name}: {value}" for name, value in rows)


def warnings(profiles: Iterable[Profile]) -> list[str]:
    """A quoted line for each reason why results of these profiles are of toy scale."""
    reasons = dict.fromkeys(toy_scale(profile) for profile in profiles)
    return [f"> **{reason[:1].upper()}{reason[1:]}.**" for reason in reasons if reason]


def cell(key: str, title: str, body: str, made: str) -> str:
    """A cell of a page, as Trackio marks it.

    Args:
        key: what its id follows from.
        title: above it.
        body: Markdown.
        made: time, ISO 8601.
    """
    identity = f"cell_{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    meta = {"type": "markdown", "id": identity, "created_at": made, "title": title}
    return f"\n\n---\n<!-- trackio-cell\n{json.dumps(meta)}\n-->\n{body}\n"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
