"""Under what the rows of a table were timed, as the newest run says, and where that differs from the publication's."""

from collections.abc import Mapping

from repro.harness.profile import Profile
from repro.harness.schema import RecordSet, Run
from repro.kinds.scores.declare import Clock, Table, TimedUnder


def newest(records: RecordSet) -> Run | None:
    """The run whose config speaks for all."""
    return max(records.runs, key=lambda run: run.start, default=None)


def clock_of(table: Table, records: RecordSet) -> Clock | None:
    """The clock that rows were timed with: the declared one, but for what was typed."""
    run = newest(records)
    used = run.config.get("clock") if run else None
    return table.clock if used is None or table.clock is None else Clock(**used)


def timed_under(table: Table, profile: Profile, records: RecordSet, row: str) -> TimedUnder | None:
    """Under what a row was timed; None where no run says."""
    run, clock = newest(records), clock_of(table, records)
    if run is None or clock is None:
        return None
    rows: Mapping[str, Mapping[str, str]] = run.config.get("rows", {})
    made = next((made for name, made in rows.items() if name.rsplit(" seed ")[0] == row), {})
    return TimedUnder(
        device=run.device,
        dtype=made.get("own_dtype", run.dtype),
        batch_size=clock.batch_size,
        compiled=False,  # `repro.kinds.latency` has that choice; a table of scores times what made its images
        tiny_vae=has_tiny_vae(profile, records),
    )


def has_tiny_vae(profile: Profile, records: RecordSet) -> bool:
    """Whether the tiny autoencoder decoded."""
    run = newest(records)
    typed = (run.config.get("profile") or {}).get("execution") if run else None
    return bool(typed["tiny_vae"] if typed else profile.execution and profile.execution.tiny_vae)


def differences(ours: TimedUnder, theirs: TimedUnder) -> str:
    """In which ways ours was timed otherwise, as a sentence; empty where in none."""
    found = [
        (theirs.device in ours.device, f"on {ours.device}, not on an {theirs.device}"),
        (ours.dtype == theirs.dtype, f"in {ours.dtype}, not {theirs.dtype}"),
        (ours.batch_size == theirs.batch_size, f"in batches of {ours.batch_size}, not {theirs.batch_size}"),
        (ours.compiled == theirs.compiled, "with torch.compile" if ours.compiled else "without torch.compile"),
        (ours.tiny_vae == theirs.tiny_vae, f"with the {'tiny' if ours.tiny_vae else 'full'} VAE"),
    ]
    unlike = [words for same, words in found if not same]
    return f"ours was timed {', '.join(unlike)}" if unlike else ""
