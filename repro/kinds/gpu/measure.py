"""Runs the parts one after another, each in a process of its own, within the time of this call; writes what they found.

A process of its own: an illegal access on a GPU, or memory that runs out, ends that process and nothing else. The
journal says what is finished, so that the next call, on another machine too, does only the rest.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from repro.harness import records
from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT, digest_code, digest_json
from repro.harness.profile import Profile
from repro.harness.provenance import git_stamp
from repro.harness.runs import open_run, records_path
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.gpu import keys
from repro.kinds.gpu.declare import GpuPage, PartKey
from repro.kinds.gpu.journal import TRIES, Found, Journal, PartState
from repro.kinds.gpu.options import GpuOptions

LOG = "gpu.log"  # what the parts print: at most LOG_BYTES of it
LOG_BYTES = 8 * 2**20
GRACE_SECONDS = 20.0  # between the time at which a part is told to end and the one at which it is ended
PROBE_SECONDS = 600.0
FEWEST_SECONDS = 20.0  # less is not worth the start of a part
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}  # of a part, where the caller says nothing
PAGE_NEEDS = ("pandas", "scipy", "tabulate", "matplotlib")
CODE = ("swd", "repro")  # whose change gives what failed another chance


def run(page: GpuPage, profile: Profile, options: GpuOptions) -> Path:
    """Go on with every part that is not finished, in order, and write the records after each.

    Returns:
        The records file.

    Raises:
        ExperimentError: no CUDA device, a package is missing, or the folder holds another machine's times.
    """
    session = _Session(page, profile, options)
    session.open()
    for part in page.parts:
        if part in options.parts:
            session.go_on(part)
            session.save()
    session.tell()
    return session.path


def missing(page: GpuPage, profile: Profile, options: GpuOptions) -> str:
    """Why the device cannot be used; empty where it can."""
    try:
        _Session(page, profile, options).probe()
    except ExperimentError as error:
        return str(error)
    return ""


class _Session:
    """One call of the command."""

    def __init__(self, page: GpuPage, profile: Profile, options: GpuOptions) -> None:
        self.page, self.profile, self.options = page, profile, options
        self.end = time.monotonic() + 60 * options.minutes
        self.journal = Journal(options.state)
        self.path = records_path(page, profile, options)
        self.code = digest_code(*CODE)[:16]

    def open(self) -> None:
        """Ask for the device, and refuse to mix its times with another's."""
        _refuse_smoke_over_times(self.path, self.options)
        machine = self.probe()
        about = {"machine": machine, "smoke": self.options.smoke}
        if self._starts_again:
            self.journal.path.unlink(missing_ok=True)  # not before it is known that anything can be measured
        for call in self.journal.calls():
            before, now = _told(call["machine"], call["smoke"]), _told(machine, self.options.smoke)
            if before != now:
                raise ExperimentError(
                    f"{self.journal.path} holds what {before} did, and this is {now}: choose another --out, or start "
                    "again with --replace"
                )
        config = {"smoke": self.options.smoke, "machine": machine, "minutes": self.options.minutes}
        self.opened = open_run(self.page, self.profile, self.options, config)
        self.machine = machine
        self.journal.add("call", code=self.code, stamp=git_stamp(ROOT), start=self.opened.start, **about)

    @property
    def _starts_again(self) -> bool:
        """Where it was asked for; the committed page is measured whole by the code as it is."""
        if not self.options.committed:
            return self.options.replace
        return any(call["code"] != self.code for call in self.journal.calls())

    def probe(self) -> dict[str, Any]:
        """Name of the device and versions, by a process of its own: this one never meets torch."""
        done = subprocess.run(
            self._command("probe"), cwd=ROOT, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
        if done.returncode:
            raise ExperimentError(_last_line(done.stderr) or f"the device cannot be asked: exit {done.returncode}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _command(self, name: str, seconds: float = 0.0) -> list[str]:
        command = [sys.executable, "-m", "repro.gpu_parts", name, "--state", str(self.options.state.resolve())]
        return [*command, f"--seconds={seconds:.1f}", f"--code={self.code}", *(["--smoke"] * self.options.smoke)]

    def go_on(self, part: PartKey) -> None:
        """Run a part until it is through, its time is over, or it can only crash."""
        end = min(self.end, time.monotonic() + self.page.part_seconds)
        while (left := end - time.monotonic()) > FEWEST_SECONDS and not self._state(part).complete:
            self._give_up(part)
            before, started = self._state(part), time.monotonic()
            code = self._run_part(part, left)
            state = self._state(part)
            self.journal.add("ran", part=part, seconds=round(time.monotonic() - started, 1), exit=code)
            if code == 0:
                return
            crashed = [item for item in state.open if len(state.starts[item]) > len(before.starts.get(item, ()))]
            if time.monotonic() >= end - 1:
                return
            if not crashed:
                if state.finished == before.finished:
                    self._failed(part, "", f"the part could not start: {self._last_words(code)}")
                    return
                continue
            self._failed(part, crashed[-1], f"it took its process down: {self._last_words(code)}")

    def _state(self, part: str) -> PartState:
        return self.journal.state(part, self.code)

    def _give_up(self, part: str) -> None:
        """On items that were tried as often as they may: they never ended."""
        state = self._state(part)
        for item in [item for item in state.open if state.hopeless(item, self.page.part_seconds)]:
            self._failed(part, item, f"it did not end within the time of a part, {TRIES} times")

    def _failed(self, part: str, item: str, error: str) -> None:
        self.journal.add("failed", part=part, item=item, error=error, code=self.code)

    def _run_part(self, part: str, left: float) -> int:
        """Exit status of the process of a part, which ends by then: it is asked to a little earlier."""
        told = max(1.0, left - min(GRACE_SECONDS, 0.2 * left))
        log = self.log
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.write_bytes(log.read_bytes()[-LOG_BYTES // 2 :])
        with log.open("ab") as stream:
            child = subprocess.Popen(
                self._command(part, told), cwd=ROOT, env=ENVIRONMENT | os.environ, stderr=stream, start_new_session=True
            )
            try:
                return child.wait(timeout=left)
            except subprocess.TimeoutExpired:
                return _end(child)
            except BaseException:
                _end(child)
                raise

    def _last_words(self, code: int) -> str:
        said = _last_line(self.log.read_bytes()[-4096:].decode("utf-8", "replace"))
        if code < 0:
            return f"{signal.Signals(-code).name}; {said}" if said else signal.Signals(-code).name
        return f"exit {code}; {said}" if said else f"exit {code}"

    def tell(self) -> None:
        """What failed, and what is left.

        Raises:
            ExperimentError: there is nothing to make a page of, or nothing to make it with.
        """
        for (part, item), error in self.journal.failures().items():
            print(f"failed: {part}{': ' if item else ''}{item}: {error}", file=sys.stderr)
        if left := [self._left(part) for part in self.options.parts if not self._state(part).complete]:
            print(f"not finished: {', '.join(left)}; the same command goes on from here", file=sys.stderr)
        if not self.path.exists():
            raise ExperimentError(f"nothing was measured in {self.options.minutes:g} minutes; the log is {self.log}")
        if absent := [name for name in PAGE_NEEDS if importlib.util.find_spec(name) is None]:
            raise ExperimentError(
                f"{self.path} is written, but its page needs {', '.join(absent)}: install them, or copy the folder and "
                "write it elsewhere by python -m repro render --out DIR"
            )

    def _left(self, part: PartKey) -> str:
        """A part, with what did not end there: under a small --minutes it may never."""
        state = self._state(part)
        told = [f"{item} did not end in {max(state.starts[item]):.0f} s" for item in state.open if item in state.starts]
        return f"{part} ({'; '.join(told)})" if told else part

    @property
    def log(self) -> Path:
        """What the parts print."""
        return self.options.state / LOG

    def save(self) -> None:
        """The records of all that was found so far, in this call and in those before, unless they hold it already."""
        found, failures = self.journal.found(), self.journal.failures()
        if self.journal.is_saved and (self.path.exists() or not (found or failures)):
            return
        stamps = [call["stamp"] for call in self.journal.calls()]
        closed = self.opened.close(
            device=self.machine["device"],
            dtype=self.page.scope(self.options.smoke).dtype,
            data_hash=digest_json("drawn from seeds"),
            weights_hash=digest_json(self.page.content),
            reused=stamps,
        )
        records.save(self.path, RecordSet.of([closed, *_lines(closed, found), *_failures(closed, failures)]))
        self.journal.add("saved")


def _lines(run: Run, found: list[Found]) -> Iterator[Line]:
    for one in found:
        if one.over:
            over: Any = one.over
            yield Series.of(one.variant, one.metric, one.values, over=over, unit=one.unit)
        elif one.values:
            value = float(f"{one.values[0]:.6g}")
            yield replace(Record.of(run, one.variant, one.metric, value, unit=one.unit), note=one.note)


def _failures(run: Run, failures: Mapping[tuple[str, str], str]) -> Iterator[Record]:
    for (part, item), error in failures.items():
        variant = f"{part}: {item}"
        yield replace(Record.of(run, variant, keys.FAILED, 0.0, n=0), value=None, note=error)


def _told(machine: Mapping[str, Any], smoke: bool) -> str:
    return f"{machine['device']}{' in a smoke run' if smoke else ''}"


def _refuse_smoke_over_times(path: Path, options: GpuOptions) -> None:
    """A smoke run shows that everything runs; it never takes the place of times in the committed folder."""
    if not (options.smoke and options.committed and path.exists()):
        return
    if not all(run.config.get("smoke") for run in records.load(path).runs):
        raise ExperimentError(f"{path} holds times of a GPU, which a smoke run may not replace: choose another --out")


def _end(child: "subprocess.Popen[bytes]") -> int:
    """End a process and all that it started."""
    for kind, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(child.pid, kind)
            return child.wait(timeout=seconds)
        except ProcessLookupError:
            return child.wait()
        except subprocess.TimeoutExpired:
            continue
    return -signal.SIGKILL


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""
