"""A page of the logbook: a heading and cells, in Markdown.

Trackio marks a cell by a rule and a comment that holds its type, id, time and title as JSON; ids and times here follow
from what the page is about and its run, so that the same records give the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repro.harness.exports.scale import toy_scale
from repro.harness.page import provenance
from repro.harness.profile import Profile
from repro.harness.result import Measured
from repro.harness.schema import Run

WRITTEN = "Written by `nox -s logbook` from the records: edits by hand are overwritten."


@dataclass(frozen=True, slots=True)
class BookPage:
    """A page about something in a result.

    Args:
        result: that it is about.
        digest: SHA-256 of the records file.
    """

    result: Measured[Any]
    digest: str

    @property
    def name(self) -> str:
        """What it is about, in a few words; no other page of the result has the same."""
        raise NotImplementedError

    @property
    def status(self) -> str:
        """What came of it, for the list of pages."""
        raise NotImplementedError

    def parts(self) -> Mapping[str, str]:
        """The first cells, by title."""
        raise NotImplementedError

    @property
    def slug(self) -> str:
        """Folder of the page, and its name in links."""
        return _slug(f"{self.result.experiment.key} {self.result.profile.name} {self.name}")

    @property
    def title(self) -> str:
        """Of the page, short enough for the list of pages."""
        mark = "toy scale" if toy_scale(self.result.profile) else self.result.profile.title
        return f"{self.result.experiment.key}: {self.name} ({mark})"

    @property
    def made(self) -> str:
        """When the newest of the runs started."""
        return max(run.start for run in self.result.records.runs)

    def text(self) -> str:
        """The page."""
        bodies = {**self.parts(), "Hardware and time": self._hardware(), "Records": self._records()}
        made = [cell(f"{self.slug}/{title}", title, body, self.made) for title, body in bodies.items()]
        return f"# {self.title}\n" + "".join(made)

    def _hardware(self) -> str:
        return "\n\n".join(pairs(_machine(run)) for run in self.result.records.runs)

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


def pairs(rows: Sequence[Sequence[str]]) -> str:
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
