"""The tests that need a GPU, a file at a time, so that one which takes the process down leaves the others."""

import ast
import importlib.util
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from repro.gpu_parts.task import Item, Items, OutOfTime, Task, named, single
from repro.harness.files import ROOT
from repro.kinds.gpu import keys
from repro.kinds.gpu.journal import Found

MARKER = "pytest.mark.gpu"
CHOSEN = "gpu and not slow"  # a slow one compiles for most of a minute: six in one file outlast the part
FILES = "tests"


def items(task: Task) -> Items:
    """Every file that has such tests; without any, one item that says so."""
    files = marked(ROOT / FILES)
    if not files:
        yield Item("files", _no_files)
    for path in files[: task.scope.test_files]:
        yield Item(named(keys.tests(path.name)), partial(_run, task, path))


def marked(folder: Path) -> list[Path]:
    """Files with a test that needs a GPU, by their marks: on a test, on a class, or ``pytestmark``."""
    return sorted(path for path in folder.rglob("test_*.py") if _is_marked(path.read_text(encoding="utf-8")))


def _is_marked(source: str) -> bool:
    """Whether the mark is code, and not in a string that a test writes somewhere."""
    return MARKER in source and any(
        isinstance(node, ast.Attribute) and ast.unparse(node) == MARKER for node in ast.walk(ast.parse(source))
    )


def _no_files() -> list[Found]:
    raise FileNotFoundError(f"no GPU tests in {ROOT / FILES}: they come with the checkout, not the package")


def _run(task: Task, path: Path) -> list[Found]:
    """How many passed, failed and were skipped, and which failed."""
    if importlib.util.find_spec("pytest") is None:
        raise ModuleNotFoundError("pytest is not installed: pip install pytest")
    report = task.scratch / f"{path.stem}.xml"
    command = [sys.executable, "-m", "pytest", str(path), "-m", CHOSEN, "-q", "-p", "no:cacheprovider"]
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
