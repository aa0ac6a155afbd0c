"""The tests that need a GPU, a file at a time, so that one which takes the process down leaves the others."""

import importlib.util
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from repro.gpu_parts.task import Item, Items, OutOfTime, Task, named, single
from repro.harness.files import ROOT
from repro.kinds.gpu import keys
from repro.kinds.gpu.journal import Found

MARKER = re.compile(r"mark\.gpu\b")
FILES = "tests"


def items(task: Task) -> Items:
    """Every file that has such tests; without any, one item that says so."""
    files = sorted(path for path in (ROOT / FILES).rglob("test_*.py") if MARKER.search(path.read_text("utf-8")))
    if not files:
        yield Item("files", _no_files)
    for path in files[: task.scope.test_files]:
        yield Item(named(keys.tests(path.name)), partial(_run, task, path))


def _no_files() -> list[Found]:
    raise FileNotFoundError(f"no GPU tests in {ROOT / FILES}: they come with the checkout, not the package")


def _run(task: Task, path: Path) -> list[Found]:
    """How many passed, failed and were skipped, and which failed."""
    if importlib.util.find_spec("pytest") is None:
        raise ModuleNotFoundError("pytest is not installed: pip install pytest")
    report = task.scratch / f"{path.stem}.xml"
    command = [sys.executable, "-m", "pytest", str(path), "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    command += ["-o", "addopts=--strict-markers"]  # the project's own need a plugin that may not be there
    with task.log.open("ab") as log:
        try:
            done = subprocess.run(
                [*command, f"--junitxml={report}"], cwd=ROOT, stdout=log, stderr=log, timeout=task.left, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise OutOfTime(f"{path.name} takes longer than is left") from error
    if not report.exists():
        raise RuntimeError(f"pytest ended with exit status {done.returncode} and no report: see {task.log.name}")
    return counted(keys.tests(path.name), report)


def counted(variant: str, report: Path) -> list[Found]:
    """From pytest's report."""
    outcomes: dict[str, list[str]] = {keys.PASSED: [], keys.FAILED: [], keys.SKIPPED: []}
    for case in ElementTree.parse(report).iter("testcase"):
        failed = case.find("failure") is not None or case.find("error") is not None
        outcome = keys.FAILED if failed else keys.SKIPPED if case.find("skipped") is not None else keys.PASSED
        outcomes[outcome].append(case.get("name", ""))
    notes = {keys.FAILED: ", ".join(outcomes[keys.FAILED])}
    return [single(variant, key, len(names), note=notes.get(key, "")) for key, names in outcomes.items()]
