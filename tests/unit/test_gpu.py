"""The command for a GPU: its parts on the CPU with tiny networks, and what it does when a part fails or takes long."""

import itertools
import json
import re
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from repro import __main__ as cli
from repro.gpu import PAGE
from repro.gpu_parts import __main__ as parts
from repro.gpu_parts import clock, peaks, table3
from repro.gpu_parts import tests as gpu_tests
from repro.gpu_parts.task import Item, Lazy, OutOfTime, Task
from repro.harness.experiment import ExperimentError
from repro.harness.kind import UsageError
from repro.harness.records import load, save
from repro.harness.schema import RecordSet
from repro.kinds.gpu import keys, measure
from repro.kinds.gpu.declare import PARTS, PartKey
from repro.kinds.gpu.journal import FILE, Found, Journal
from repro.kinds.gpu.options import GpuOptions, make_options
from repro.kinds.gpu.page import TESTED
from repro.profiles.mini import PROFILE
from repro.table3 import TABLE

CARD = {"device": "toy card", "cuda": "13.0", "versions": {}}
TRIVIAL = """
import pytest
pytestmark = pytest.mark.gpu

def test_a():
    pass

def test_b():
    assert 0

@pytest.mark.slow
def test_slow():
    raise SystemExit("compiles for minutes")
"""
MENTIONING = """
NAMED = "pytestmark = pytest.mark.gpu"

def test_text():
    text = \"\"\"
pytestmark = pytest.mark.gpu
\"\"\"
    assert NAMED in text
"""


def typed(**changes: Any) -> Namespace:
    return Namespace(**{"minutes": 1.0, "smoke": True, "parts": None, **changes})


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every part has run, in this process; nothing is traced, which would take minutes."""
    out, patch = tmp_path_factory.mktemp("gpu"), pytest.MonkeyPatch()
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "tests").mkdir()
    (checkout / "tests" / "test_trivial.py").write_text(TRIVIAL)
    (checkout / "tests" / "test_mentioning.py").write_text(MENTIONING)
    (checkout / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: on a GPU\n    slow: takes long\n")
    patch.setattr(gpu_tests, "ROOT", checkout)
    patch.setattr(clock, "SMOKE_STANCE", {"stance": "force_eager"})
    patch.setattr(measure._Session, "probe", lambda _: CARD)
    patch.setattr(measure._Session, "_run_part", in_this_process)
    try:
        assert cli.main(["gpu", "--smoke", "--out", str(out)]) == 0
    finally:
        patch.undo()
    return out


def in_this_process(session: Any, part: str, left: float) -> int:
    session.log.touch()
    return parts.main(session._command(part, left)[3:])


def test_every_part_runs_and_is_written_down(smoke: Path) -> None:
    records = load(smoke / "records" / "gpu.jsonl")
    assert [line for line in records.records if line.value is None] == []
    measured = {line.variant for line in (*records.records, *records.series)}
    scope = PAGE.smoke
    for part in PARTS:
        assert any(keys.of_part(variant, part) for variant in measured), part
    cases = itertools.product(scope.models, scope.presets, scope.batches, scope.providers)
    wanted = {keys.sampling(*case) for case in cases}
    wanted |= {keys.kernel(case.name, provider) for case in scope.kernels for provider in case.providers}
    wanted |= {keys.training("plain"), keys.training("lean"), keys.matmul("float32")}
    wanted |= {keys.table("sd35-medium", row) for row in scope.table_rows}
    wanted |= {keys.family(model, preset, 2, "dynamic") for model, preset in scope.families.items()}
    assert wanted <= measured
    assert {line.metric for line in (*records.records, *records.series)} <= keys.METRICS


def test_diffusers_takes_turns_with_every_provider(smoke: Path) -> None:
    records = load(smoke / "records" / "gpu.jsonl")
    for provider in PAGE.smoke.providers:
        variant = keys.sampling("sd35-medium", "sd35-6", 2, provider)
        own, base = (records.find_series(variant, metric) for metric in (keys.SECONDS, keys.BASELINE))
        assert own is not None
        assert base is not None
        assert own.n == base.n >= 1


def test_tests_are_counted_by_file(smoke: Path) -> None:
    records = load(smoke / "records" / "gpu.jsonl")
    found = {metric: records.find("tests: test_trivial.py", "", metric)[0] for metric in (keys.PASSED, keys.FAILED)}
    assert (found[keys.PASSED].value, found[keys.FAILED].value, found[keys.FAILED].note) == (1, 1, "test_b")


def test_slow_tests_are_left_out_and_files_that_only_speak_of_the_marker(smoke: Path) -> None:
    """Each slow one compiles for most of a minute; the page names the files that have GPU tests."""
    records = load(smoke / "records" / "gpu.jsonl")
    tested = [line.variant for line in records.records if keys.of_part(line.variant, "tests")]
    assert set(tested) == {"tests: test_trivial.py"}
    assert sum(records.find("tests: test_trivial.py", "", key)[0].value or 0 for key in TESTED) == 2
    page = (smoke / "gpu.md").read_text(encoding="utf-8")
    assert "Without those marked `slow`" in page


def test_files_of_gpu_tests_are_found_by_their_marks() -> None:
    """Those of this checkout: a mark begins its line, and is no mention."""
    names = {path.name for path in gpu_tests.marked(Path(__file__).parents[1])}
    assert {"test_fast.py", "test_kernels_rbf.py", "test_sampler.py"} <= names
    assert Path(__file__).name not in names


def test_a_page_of_a_smoke_run_says_so_and_judges_no_aim(smoke: Path) -> None:
    page = (smoke / "gpu.md").read_text(encoding="utf-8")
    assert "**A smoke run: no GPU has measured this page yet.**" in page
    assert page.count("not measured") == len(PAGE.aims)
    assert "Failed: test_b." in page
    assert "fast, CUDA graphs" in page


def test_few_files_come_back(smoke: Path) -> None:
    files = [path.relative_to(smoke) for path in smoke.rglob("*") if path.is_file()]
    assert len(files) <= 8
    assert all(len(path.parts) <= 3 for path in files)


def test_the_next_call_repeats_nothing(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> int:
        raise AssertionError("a finished part was started again")

    before = (smoke / "records" / "gpu.jsonl").read_bytes()
    monkeypatch.setattr(measure._Session, "_run_part", never)
    monkeypatch.setattr(measure._Session, "probe", lambda _: CARD)
    assert cli.main(["gpu", "--smoke", "--out", str(smoke)]) == 0
    assert (smoke / "records" / "gpu.jsonl").read_bytes() == before


def test_work_is_counted_as_it_is_elsewhere(smoke: Path) -> None:
    """A quarter of the tokens of attention's text: FLOPs of full scale exceed those of growing scales."""
    records = load(smoke / "records" / "gpu.jsonl")
    small, large = (
        records.find(keys.work("sampling", "sd35-medium", preset), "", keys.FLOPS)[0].value
        for preset in ("sd35-6", "sd35-full-6")
    )
    assert small is not None
    assert large is not None
    assert 0 < small < large


# Clocks.


def test_a_short_call_is_repeated_between_marks_until_they_are_far_apart(task: Task) -> None:
    counted: list[int] = []
    found = clock.timed(task, {"short": lambda: counted.append(1), "long": lambda: time.sleep(0.02)})
    assert found["long"].calls == 1
    assert found["short"].calls > 1
    assert len(counted) == 3 + found["short"].calls * len(found["short"].rounds)
    assert max(found["short"].rounds) < clock.SPAN_SECONDS < min(found["long"].rounds)


@pytest.mark.parametrize(("seconds", "calls"), [(0.0, 1000), (1e-4, 100), (3e-3, 4), (0.01, 1), (2.0, 1)])
def test_so_many_calls_go_between_marks(seconds: float, calls: int) -> None:
    assert clock.calls_between_marks(seconds) == calls


def test_what_is_done_once_is_in_the_first_two_calls(task: Task) -> None:
    """As CUDA graphs do it: the first call compiles, the second records."""
    waits = iter([0.06, 0.04])
    found = clock.timed(task, {"graphs": lambda: time.sleep(0.001 + next(waits, 0.0))})["graphs"]
    assert found.once == pytest.approx(0.1, abs=0.03)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Of a smoke run."""
    return Task(PAGE, True, torch.device("cpu"), time.monotonic() + 60, tmp_path, tmp_path / "log")


def test_table_3_compares_batches_with_batches(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch takes 4 s, its first 10 s, its second 5 s; it needs 3 of the 103 bytes in use."""
    spans = iter([[4.0, 6.0], [2.0, 3.0]])
    monkeypatch.setattr(table3, "image_spans", lambda *_, **__: next(spans, [1.0, 3.0]))
    in_use = iter([100, 103])
    monkeypatch.setattr(clock.PeakMemory, "bytes", lambda _: next(in_use))
    monkeypatch.setattr(clock.PeakMemory, "restart", lambda _: None)
    found = {one.metric: one.values for one in table3._measure(task, MagicMock(), TABLE.rows[0], "table3: x, y")}
    assert task.scope.table_batch == 2
    assert set(found[keys.SECONDS]) == {2.0}
    assert found[keys.ONCE] == (10.0 + 5.0 - 2 * 4.0,)
    assert found[keys.PEAK_BYTES] == (3.0,)


def test_calls_between_marks_are_written_down(smoke: Path) -> None:
    records = load(smoke / "records" / "gpu.jsonl")
    for case in PAGE.smoke.kernels:
        found = records.find(keys.kernel(case.name, "eager"), "", keys.CALLS)[0].value
        assert found is not None
        assert found >= 1
    assert "| Calls |" in re.sub(" +", " ", (smoke / "gpu.md").read_text(encoding="utf-8"))


# What goes wrong: parts are little programs without torch.

PROGRAM = """
import os, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from repro.kinds.gpu.journal import Found, Journal
journal, part, code = Journal(Path({state!r})), {part!r}, {code!r}
state = journal.state(part, code)
def item(name, work=lambda: None):
    if name in state.finished:
        return
    journal.add("start", part=part, item=name, seconds={seconds!r}, code=code)
    work()
    journal.done(part, name, [Found(f"{{part}}: {{name}}", "seconds", (1.0, 2.0), unit="s", over="round")])
item("before")
{body}
item("after")
journal.add("end", part=part, complete=True, code=code)
"""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call whose parts are `bodies`: what each does between its first and its last item."""
    bodies: dict[str, str] = dict.fromkeys(PARTS, "")

    def command(self: Any, name: str, seconds: float = 0.0) -> list[str]:
        root, state = str(Path(cli.__file__).parents[1]), str(self.options.state)
        return [
            sys.executable,
            "-c",
            PROGRAM.format(root=root, state=state, part=name, code=self.code, seconds=seconds, body=bodies[name]),
        ]

    monkeypatch.setattr(measure._Session, "_command", command)
    monkeypatch.setattr(measure._Session, "probe", lambda _: CARD)
    monkeypatch.setattr(measure, "FEWEST_SECONDS", 0.0)

    def start(parts: tuple[PartKey, ...] = ("peaks", "kernels"), minutes: float = 1.0, **changes: str) -> RecordSet:
        bodies.update(changes)
        options = GpuOptions(out=tmp_path, work=tmp_path / "work", minutes=minutes, parts=parts)
        return load(measure.run(PAGE, PROFILE, options))

    return start


def errors(records: RecordSet) -> dict[str, str]:
    return {line.variant: line.note for line in records.records if line.value is None}


def timed_variants(records: RecordSet) -> set[str]:
    return {line.variant for line in records.series}


BOTH = {f"{part}: {item}" for part in ("peaks", "kernels") for item in ("before", "after")}


def test_an_item_that_kills_its_process_is_named_and_the_others_go_on(session: Any) -> None:
    records = session(peaks="item('deadly', lambda: os.kill(os.getpid(), 11))")
    assert timed_variants(records) == BOTH
    assert list(errors(records)) == ["peaks: deadly"]
    assert "took its process down: SIGSEGV" in errors(records)["peaks: deadly"]


def test_a_part_that_cannot_start_is_named_and_the_others_go_on(session: Any) -> None:
    session(parts=("kernels",))
    records = session(peaks="raise SystemExit('no such library')")
    assert timed_variants(records) == BOTH - {"peaks: after"}
    assert "exit 1; no such library" in errors(records)["peaks: "]


def test_a_part_ends_within_its_time_and_its_next_call_goes_on(session: Any, tmp_path: Path, capsys: Any) -> None:
    slow = "item('slow', lambda: time.sleep(0 if Path({!r}).exists() else 60))".format(str(tmp_path / "now"))
    records = session(parts=("peaks",), minutes=4 / 60, peaks=slow)
    assert timed_variants(records) == {"peaks: before"}
    assert errors(records) == {}
    assert re.search(r"not finished: peaks \(slow did not end in \d s\)", capsys.readouterr().err)
    (tmp_path / "now").touch()
    records = session(parts=("peaks",), peaks=slow)
    assert timed_variants(records) == {"peaks: before", "peaks: slow", "peaks: after"}
    assert starts(tmp_path) == ["before", "slow", "slow", "after"]


def test_what_never_ends_is_given_up_after_two_tries(session: Any, tmp_path: Path) -> None:
    started(tmp_path, "endless", seconds=0.9 * PAGE.part_seconds)
    records = session(parts=("peaks",), minutes=8 / 60, peaks="item('endless', lambda: time.sleep(60))")
    assert timed_variants(records) == {"peaks: before", "peaks: after"}
    assert errors(records) == {"peaks: endless": "it did not end within the time of a part, 2 times"}
    assert starts(tmp_path).count("endless") == 2


def test_a_start_with_little_time_left_is_no_try(session: Any, tmp_path: Path) -> None:
    started(tmp_path, "unlucky", seconds=20.0)
    records = session(parts=("peaks",), peaks="item('unlucky')")
    assert errors(records) == {}
    assert timed_variants(records) == {f"peaks: {item}" for item in ("before", "unlucky", "after")}


def started(folder: Path, item: str, *, seconds: float) -> None:
    """Twice, and never ended."""
    code = measure.digest_code(*measure.CODE)[:16]
    for _ in range(2):
        Journal(folder).add("start", part="peaks", item=item, seconds=seconds, code=code)


def starts(folder: Path) -> list[str]:
    return [event["item"] for event in Journal(folder).events() if event["event"] == "start"]


def test_what_failed_is_tried_again_under_other_code_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add("start", part="peaks", item="a", code="old")
    journal.add("failed", part="peaks", item="a", error="broken", code="old")
    journal.add("end", part="peaks", complete=True, code="old")
    assert journal.state("peaks", "old").finished == {"a"}
    assert journal.state("peaks", "old").complete
    state = journal.state("peaks", "new")
    assert (state.finished, state.complete, state.open) == (frozenset(), False, ())
    journal.add("start", part="peaks", item="a", code="new")
    assert journal.state("peaks", "new").open == ("a",)
    journal.done("peaks", "a", [])
    assert journal.failures() == {}
    assert journal.state("peaks", "newer").finished == {"a"}


def test_a_torn_line_of_the_journal_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.done("peaks", "a", [Found("peaks: a", "rate", (1.0,))])
    with (tmp_path / FILE).open("a") as stream:
        stream.write('{"event":"done","part":"peaks","item":"b","fou')
    assert journal.state("peaks", "").finished == {"a"}
    journal.done("peaks", "c", [])
    assert journal.state("peaks", "").finished >= {"a", "c"}


def test_a_line_of_the_journal_ends_at_a_newline_alone(tmp_path: Path) -> None:
    """Not at the line ends of Unicode, which JSON may hold as they are; ours is ASCII."""
    error, journal = "one\u2028two\x85three\nfour", Journal(tmp_path)
    line = json.dumps({"event": "failed", "part": "peaks", "item": "a", "error": error}, ensure_ascii=False)
    journal.path.write_text(f"{line}\n", encoding="utf-8")
    assert journal.failures() == {("peaks", "a"): error}


@pytest.mark.parametrize("reason", ["no GPU", "smoke over times", "other code"])
def test_nothing_that_was_measured_is_lost_where_nothing_can_be(
    reason: str, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of a call that may start again outlives a probe that fails, and a refusal."""

    def fails(_: Any) -> dict[str, Any]:
        raise ExperimentError("sees no CUDA device")

    records = session(parts=("peaks",))
    before = (tmp_path / FILE).read_bytes()
    options = GpuOptions(out=tmp_path, work=tmp_path / "work", minutes=1, replace=True)
    if reason != "no GPU":
        save(tmp_path / "paper_tables" / "records" / "gpu.jsonl", records)
        (tmp_path / "work" / "gpu").mkdir(parents=True)
        (tmp_path / "work" / "gpu" / FILE).write_bytes(before)
        options = replace(options, out=tmp_path / "paper_tables", smoke=reason == "smoke over times", committed=True)
        monkeypatch.setattr(measure, "digest_code", lambda *_: "other")
    if reason != "smoke over times":
        monkeypatch.setattr(measure._Session, "probe", fails)
    with pytest.raises(ExperimentError, match=r"sees no CUDA device|may not replace"):
        measure.run(PAGE, PROFILE, options)
    assert Journal(options.state).path.read_bytes() == before


def test_what_starts_again_forgets_another_device(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session(parts=("peaks",))
    monkeypatch.setattr(measure._Session, "probe", lambda _: {**CARD, "device": "another card"})
    options = GpuOptions(out=tmp_path, work=tmp_path / "work", minutes=1, parts=("peaks",), replace=True)
    assert load(measure.run(PAGE, PROFILE, options)).runs[0].device == "another card"
    assert starts(tmp_path) == ["before", "after"]


def test_times_of_two_devices_are_not_mixed(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session()
    monkeypatch.setattr(measure._Session, "probe", lambda _: {**CARD, "device": "another card"})
    with pytest.raises(ExperimentError, match="holds what toy card did, and this is another card"):
        session()


def test_a_smoke_run_never_replaces_times(session: Any, tmp_path: Path) -> None:
    records = session()
    folder = tmp_path / "paper_tables"
    save(folder / "records" / "gpu.jsonl", records)
    options = GpuOptions(out=folder, work=tmp_path, minutes=1, smoke=True, committed=True)
    with pytest.raises(ExperimentError, match="which a smoke run may not replace"):
        measure.run(PAGE, PROFILE, options)


# A process of a part.


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs items as those of a part."""

    def run(*items: Item) -> Journal:
        monkeypatch.setattr(peaks, "items", lambda task: iter(items))
        assert parts.main(["peaks", "--smoke", "--state", str(tmp_path), "--seconds", "60"]) == 0
        return Journal(tmp_path)

    return run


def failing(error: Exception) -> Any:
    def measure() -> list[Found]:
        raise error

    return measure


def test_an_error_is_the_items_own(part: Any) -> None:
    journal = part(
        Item("large", failing(torch.OutOfMemoryError("too large"))),
        Item("unfinished", failing(OutOfTime("later"))),
        Item("small", lambda: [Found("peaks: small", "rate", (1.0,))]),
    )
    assert journal.failures() == {("peaks", "large"): "OutOfMemoryError: too large"}
    state = journal.state("peaks", "")
    assert state.open == ("unfinished",)
    assert 50 < state.starts["unfinished"][0] <= 60
    assert [found.variant for found in journal.found()] == ["peaks: small"]


def test_no_item_starts_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "items", lambda task: iter([Item("late", failing(AssertionError("started")))]))
    assert parts.main(["peaks", "--smoke", "--state", str(tmp_path), "--seconds", "-1"]) == 0
    assert not Journal(tmp_path).state("peaks", "").complete
    assert Journal(tmp_path).failures() == {}


def test_an_error_of_what_items_share_is_raised_for_each_and_made_once() -> None:
    made = []

    def make() -> None:
        made.append(1)
        raise ValueError("no room")

    shared: Lazy[None] = Lazy(make)
    for _ in range(2):
        with pytest.raises(ValueError, match="no room"):
            shared()
    assert made == [1]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(parts, "NEEDED", ("torch", "no-such-package"))
    assert parts.main(["probe", "--state", str(tmp_path)]) == 1
    assert "these packages are missing, install them first: no-such-package" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_how_to_run_without_one(tmp_path: Path, capsys: Any) -> None:
    assert parts.main(["probe", "--state", str(tmp_path)]) == 1
    assert "sees no CUDA device; --smoke runs every part on the CPU" in capsys.readouterr().err


def test_a_probe_that_fails_is_an_error_of_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setattr(
        measure._Session, "_command", lambda *_: [sys.executable, "-c", "raise SystemExit('sees no CUDA device')"]
    )
    assert cli.main(["gpu", "--out", str(tmp_path)]) == 1
    assert "error: sees no CUDA device" in capsys.readouterr().err


def test_without_what_a_page_needs_the_records_are_written_all_the_same(
    session: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "PAGE_NEEDS", ("numpy", "no_such_package"))
    with pytest.raises(ExperimentError, match="is written, but its page needs no_such_package"):
        session(parts=("peaks",))
    assert timed_variants(load(tmp_path / "records" / "gpu.jsonl")) == {"peaks: before", "peaks: after"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0.0}, "--minutes must be above 0, got 0"),
        ({"parts": ["peaks", "peeks"]}, "--parts are tests, peaks, .*, got 'peeks'"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    common = GpuOptions(out=tmp_path, work=tmp_path, minutes=1)
    with pytest.raises(UsageError, match=message):
        make_options(PAGE, PROFILE, typed(**changes), common)


def test_parts_run_in_their_order_whatever_was_typed(tmp_path: Path) -> None:
    common = GpuOptions(out=tmp_path, work=tmp_path, minutes=1)
    found = make_options(PAGE, PROFILE, typed(parts=["families", "tests"]), common)
    assert found.parts == ("tests", "families")
    assert tuple(PAGE.parts) == PARTS


def test_whole_names_what_there_is() -> None:
    """Names of the whole scope, which no test runs: presets, rows, models, kernels."""
    from repro.gpu_parts.networks import _WHOLE
    from repro.table3 import TABLE
    from swd.schedule import PRESETS

    scope = PAGE.whole
    assert {*scope.presets, *scope.families.values(), scope.train_preset, *PAGE.ratio} <= set(PRESETS)
    assert {*scope.models, *scope.families, scope.train_model} <= set(_WHOLE)
    assert set(scope.table_rows) <= {row.key for row in TABLE.rows}
    assert {PAGE.provider(key).key for key in scope.providers} == {one.key for one in PAGE.providers}
    cases = {(case.operator, *case.shape) for case in scope.kernels}
    assert {aim.of for aim in PAGE.aims if aim.kind in ("kernel", "memory")} <= cases
