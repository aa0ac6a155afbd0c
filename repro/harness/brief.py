"""Plans of what needs no table to be planned: what would be done, what is missing, and how long it took before."""

from collections.abc import Mapping
from pathlib import Path

from repro.harness.experiment import Experiment
from repro.harness.options import RunOptions
from repro.harness.page import joined
from repro.harness.profile import Profile
from repro.harness.records import load
from repro.harness.schema import RecordError

MISSING = "Missing"


def text(experiment: Experiment, profile: Profile, options: RunOptions, parts: Mapping[str, str]) -> str:
    """The plan as Markdown.

    Args:
        experiment: what would be measured.
        profile: in which.
        options: of the command.
        parts: what would be done, as names and words; ``Missing`` among them where something is.
    """
    records = options.out / "records" / f"{profile.stem(experiment.key)}.jsonl"
    said = {**parts, "Time": before(records)}
    said[MISSING] = said.pop(MISSING, "") or "nothing"
    return joined(
        [
            f"# Plan: {experiment.title}",
            f"In profile `{profile.name}`: {profile.caption} Nothing was done; this does it: "
            f"`{options.command.replace(' --dry-run', '')}`",
            "\n".join(f"- **{name}**: {words.removesuffix('.')}." for name, words in said.items()),
        ]
    )


def before(records: Path) -> str:
    """How long the records took that are there."""
    if (found := taken(records)) is None:
        return "not known, since nothing that was measured in one go is there"
    seconds, device = found
    return f"{records} took {f'{seconds:.1f} s' if seconds < 60 else f'{seconds / 60:.1f} min'} on {device}"


def taken(records: Path) -> tuple[float, str] | None:
    """Seconds and device of the measurement that left records, if it did all of its work itself."""
    try:
        run = load(records).runs[0]
    except (RecordError, IndexError):
        return None
    return None if run.stage_commits else (run.wall_seconds, run.device)
