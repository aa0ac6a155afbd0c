"""Injects every fault as often as the page says, and counts what became of the runs."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from repro.harness import records
from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_json, probe_writable
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.runs import open_run, records_path
from repro.harness.schema import Record, RecordSet, Run
from repro.kinds.reliability import keys
from repro.kinds.reliability.cases import CASES
from repro.kinds.reliability.declare import Fault, ReliabilityPage
from repro.kinds.reliability.faults import FaultError, Outcome, UnavailableError

FOLDER = "faults"


def run(page: ReliabilityPage, profile: Profile, options: RunOptions) -> Path:
    """Disturb runs of a tiny world, all anew, and write the counts.

    Returns:
        The records file.

    Raises:
        ExperimentError: a run did not go on to what an undisturbed one leaves; its files are kept, and named.
    """
    opened = open_run(page, profile, options, page.content)
    probe_writable(options.work / FOLDER)
    found: dict[str, Outcome | str] = {}
    for fault in tqdm(page.faults, desc="faults", leave=False):
        found[fault.key] = _injected(fault, page.seed, options.work / FOLDER)
    closed = opened.close(
        device="cpu", dtype="float32", data_hash=digest_json(page.content), weights_hash=digest_json({})
    )
    path = records_path(page, profile, options)
    lines = [line for fault in page.faults for line in _lines(closed, fault.key, found[fault.key])]
    records.save(path, RecordSet.of([closed, *lines]))
    return path


def _injected(fault: Fault, seed: int, work: Path) -> Outcome | str:
    """The counts of a fault; why there are none where it cannot be injected here."""
    folder = Path(tempfile.mkdtemp(prefix=f"{fault.key}-", dir=work))
    try:
        outcome: Outcome | str = CASES[fault.key](folder, seed, fault.count)
    except FaultError as error:
        raise ExperimentError(f"{fault.title}: {error}; see {folder}") from error
    except UnavailableError as error:
        outcome = str(error)
    shutil.rmtree(folder)
    return outcome


def _lines(run: Run, fault: str, outcome: Outcome | str) -> list[Record]:
    if isinstance(outcome, str):
        return [replace(Record.of(run, fault, keys.INJECTED, 0.0, n=0), note=outcome)]
    counts = {keys.INJECTED: outcome.injected, keys.REPEATED: outcome.repeated}
    return [Record.of(run, fault, key, float(count), n=outcome.injected) for key, count in counts.items()]
