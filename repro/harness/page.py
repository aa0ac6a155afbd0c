"""What all pages share: how to make them again, where their numbers come from, how a difference is written."""

from collections.abc import Iterable

from repro.harness.cells import signed
from repro.harness.claims import Judgement
from repro.harness.profile import Profile
from repro.harness.schema import RecordSet, Run

EDITED = "Written by `python -m repro render` from the records: edits by hand are overwritten."
COMMANDS = """\
```sh
{session}
nox -s tables  # only writes the pages again, from the records
```"""


def joined(blocks: Iterable[str]) -> str:
    """The Markdown of a page from its blocks, empty ones left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def difference(judgement: Judgement) -> str:
    """The signed difference with its interval, or the reason why there is none."""
    compared, column = judgement.comparison, judgement.column
    if compared is None:
        return judgement.reason
    value, low, high = (
        signed(number_ * column.factor, column.digits) for number_ in (compared.difference, compared.low, compared.high)
    )
    return f"{value}{' points' if column.percent else ''} [{low}, {high}]"


def footer(key: str, profile: Profile, records: RecordSet) -> list[str]:
    """How to make the page of an experiment again, and where its numbers come from."""
    name, _, extended = key.partition("_")
    arguments = ["--extended"] if extended else []
    if profile.name != "mini":
        arguments += ["--profile", profile.name]
    session, stem = " ".join(["nox -s", name, *(["--", *arguments] if arguments else [])]), profile.stem(key)
    source = f"Numbers: [records/{stem}.jsonl](records/{stem}.jsonl). {EDITED}"
    return [
        "## Make it again",
        COMMANDS.format(session=session),
        source,
        "---",
        "\n".join(f"- {provenance(run)}" for run in records.runs),
    ]


def provenance(run: Run) -> str:
    """One line about a run."""
    state = (
        "no commit" if run.commit is None else f"commit {run.commit[:10]}{' with local changes' if run.dirty else ''}"
    )
    if others := [commit[:10] for commit in run.stage_commits if commit != run.commit]:
        state += f" (with stages of {', '.join(others)})"
    used = ", ".join(f"{name} {version}" for name, version in run.versions.items() if name in ("torch", "diffusers"))
    minutes, memory = run.wall_seconds / 60, run.peak_memory_bytes / 2**30
    cost = f"{minutes:.1f} min, {memory:.1f} GiB at peak"
    return f"{run.start[:10]}, {state}, {run.device}, {run.dtype}, {used}, {cost}: `{run.command}`"


def lower(text: str) -> str:
    """With a small first letter."""
    return text[:1].lower() + text[1:]
