"""What all pages share: how to make them again and where their numbers come from."""

from collections.abc import Iterable
from typing import Any

from repro.harness.files import EDITED
from repro.harness.profile import Profile
from repro.harness.provenance import WHEEL
from repro.harness.reported import Reported
from repro.harness.result import Measured
from repro.harness.schema import Run

COMMANDS = """\
```sh
{measure}
nox -s tables  # only writes the pages again, from the records
```"""


def joined(blocks: Iterable[str]) -> str:
    """The Markdown of a page from its blocks, empty ones left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def comparable(profile: Profile, reported: Reported) -> str:
    """How measured and published numbers may be read together."""
    if profile.name in reported.profiles:
        return "The same models, data and metrics: compare values."
    if profile.scorers:
        return "Another model: compare the order of the rows, not the values."
    return "Another model, other data and other metrics: compare the order of the rows, not the values."


def footer(result: Measured[Any], measure: str = "") -> list[str]:
    """How to make a page again, and where its numbers come from.

    Args:
        result: what the page shows.
        measure: the command that measures it; empty for the session of its experiment.
    """
    return [
        "## Make it again",
        COMMANDS.format(measure=measure or session(result)),
        f"Numbers: [records/{result.stem}.jsonl](records/{result.stem}.jsonl). {EDITED}",
        "---",
        "\n".join(f"- {provenance(run)}" for run in result.records.runs),
    ]


def session(result: Measured[Any], *more: str) -> str:
    """The command that measures a page, with more options."""
    words: list[str] = [*result.experiment.command, *more]
    name, *options = words
    if result.profile.name != "mini":
        options += ["--profile", result.profile.name]
    return " ".join(["nox -s", name, *(["--", *options] if options else [])])


def provenance(run: Run) -> str:
    """One line about a run."""
    wheel = f"wheel {run.versions[WHEEL]}" if WHEEL in run.versions else "no commit"
    state = wheel if run.commit is None else f"commit {run.commit[:10]}{' with local changes' if run.dirty else ''}"
    if others := [commit[:10] for commit in run.stage_commits if commit != run.commit]:
        state += f" (with stages of {', '.join(others)})"
    used = ", ".join(f"{name} {version}" for name, version in run.versions.items() if name in ("torch", "diffusers"))
    minutes, memory = run.wall_seconds / 60, run.peak_memory_bytes / 2**30
    cost = f"{minutes:.1f} min, {memory:.1f} GiB at peak"
    return f"{run.start[:10]}, {state}, {run.device}, {run.dtype}, {used}, {cost}: `{run.command}`"
