import hashlib
import json
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from export_world import published_result
from harness_world import PROFILE, RUN, TABLE, lines

from repro import __main__ as cli
from repro.harness.experiment import ExperimentError
from repro.harness.exports.logbook import write_logbook
from repro.harness.profile import Data
from repro.harness.records import RecordSet, save
from repro.harness.result import Measured
from repro.harness.scope import Scope
from repro.kinds.latency.declare import SpeedClaim
from repro.kinds.scores.declare import Claim, Faster
from repro.kinds.scores.result import ScoresResult
from repro.kinds.upscaling.declare import Contrast

logbook = pytest.importorskip("trackio.logbook")
RESULT = ScoresResult(TABLE, PROFILE, RecordSet.of(lines()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder with the records of the toy table."""
    save(tmp_path / "tables" / "records" / "table2.jsonl", RESULT.records)
    return tmp_path / "tables"


def pages(workspace: Path) -> dict[str, str]:
    found = (workspace / ".trackio" / "logbook" / "pages").rglob("*.md")
    return {str(path.relative_to(workspace)): path.read_text(encoding="utf-8") for path in found}


def cells(workspace: Path, slug: str) -> dict[str, str]:
    """Cells of a page by title, as Trackio reads them."""
    outline = logbook.read_page_outline(workspace / ".trackio", slug)
    found = [logbook.read_cell(workspace / ".trackio", cell["id"]) for cell in outline["cells"]]
    return {cell["title"]: cell["body"] for cell in found}


def write(folder: Path, workspace: Path, result: Measured[Any] = RESULT) -> Path:
    write_logbook([result], folder, workspace)
    return workspace


def test_trackio_finds_a_page_for_every_claim_after_the_summary(folder: Path, tmp_path: Path) -> None:
    workspace = write(folder, tmp_path / "book")
    manifest = json.loads((workspace / ".trackio" / "logbook" / "logbook.json").read_text())
    assert [(page["slug"], page["title"]) for page in manifest["root"]["children"]] == [
        ("summary", "Summary"),
        ("table2-toy-better", "table2: better (toy scale)"),
        ("table2-toy-near", "table2: near (toy scale)"),
        ("table2-toy-elsewhere", "table2: elsewhere (toy scale)"),
    ]
    assert (workspace / ".trackio" / "logbook" / "index.html").exists()  # the viewer


def test_a_page_states_verdict_scope_hardware_time_and_records(folder: Path, tmp_path: Path) -> None:
    found = cells(write(folder, tmp_path / "book"), "table2-toy-better")
    assert list(found) == ["Verdict", "Scope", "Hardware and time", "Records"]
    verdict, scope, hardware, records = found.values()
    assert verdict.startswith("> **Toy scale: images of 64 px")
    for line in ("- Verdict: **reproduced**", "- Source: Table 9", "- Metric: Accuracy", "- Margin: 5.0"):
        assert line in verdict.splitlines()
    assert "- Difference: +40.0 points [" in verdict  # 0.8 against 0.4
    for line in (
        "- Profile: `toy`: Made-up numbers, for tests.",
        "- Compared: `small` and `big`",
        "- Prompt sets: short captions (`short`), long captions (`long`)",
        "- N: 80 paired values, of 80 different captions",
    ):
        assert line in scope.splitlines()
    for line in ("- Device: cpu (2 threads), float32", "- Started: 2025-03-24T10:15:00Z", "- Took: 1.5 min"):
        assert line in hardware.splitlines()
    assert RUN.command in records


def test_a_claim_that_was_not_tested_says_why_and_claims_no_numbers(folder: Path, tmp_path: Path) -> None:
    found = cells(write(folder, tmp_path / "book"), "table2-toy-elsewhere")
    assert "- Verdict: **not tested**" in found["Verdict"]
    assert "- Difference: the toy world has no metric of this" in found["Verdict"]
    assert "Margin" not in found["Verdict"]
    assert "- N:" not in found["Scope"]


def test_the_link_to_the_records_leads_to_the_file_that_was_read(folder: Path, tmp_path: Path) -> None:
    workspace = write(folder, tmp_path / "book")
    text = cells(workspace, "table2-toy-near")["Records"]
    assert "(./records/table2.jsonl)" in text
    linked = (workspace / ".trackio" / "logbook" / "records" / "table2.jsonl").read_bytes()
    assert linked == (folder / "records" / "table2.jsonl").read_bytes()
    assert f"`{hashlib.sha256(linked).hexdigest()}`" in text


def test_results_at_full_scale_carry_no_such_mark(folder: Path, tmp_path: Path) -> None:
    at_scale = ScoresResult(TABLE, replace(PROFILE, data=Data(resolution=1024)), RESULT.records)
    made = pages(write(folder, tmp_path / "book", at_scale))
    assert "# table2: better (the toy world)\n" in made[".trackio/logbook/pages/table2-toy-better/page.md"]
    assert not [name for name, text in made.items() if "Toy scale" in text or "toy scale)" in text]


def test_the_same_records_give_the_same_pages(folder: Path, tmp_path: Path) -> None:
    once, twice = pages(write(folder, tmp_path / "once")), pages(write(folder, tmp_path / "twice"))
    assert once == twice
    assert len(once) == 5
    assert pages(write(folder, tmp_path / "once")) == once  # written over


def test_pages_of_claims_that_are_gone_go_and_those_of_others_stay(folder: Path, tmp_path: Path) -> None:
    workspace = write(folder, tmp_path / "book")
    logbook.add_page(workspace / ".trackio", "My notes")
    metadata_file = workspace / ".trackio" / "metadata.json"
    metadata_file.write_text(json.dumps({"space_id": "me/book"}))
    fewer = replace(TABLE, claims=TABLE.claims[:1])
    write(folder, workspace, ScoresResult(fewer, PROFILE, RESULT.records))
    left = {page.parent.name for page in (workspace / ".trackio" / "logbook" / "pages").glob("*/page.md")}
    assert left == {"summary", "table2-toy-better", "my-notes"}
    assert json.loads(metadata_file.read_text()) == {"space_id": "me/book"}


def test_records_that_test_no_claim_make_no_logbook(folder: Path, tmp_path: Path) -> None:
    none = ScoresResult(replace(TABLE, claims=()), PROFILE, RESULT.records)
    with pytest.raises(ExperimentError, match=r"no claims are tested by the records in .*tables"):
        write(folder, tmp_path / "book", none)
    assert not (tmp_path / "book").exists()


def test_without_trackio_the_extra_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("repro.harness.exports.logbook.version", absent)
    with pytest.raises(
        ExperimentError, match=r"not installed; the extra `tracking` has it: pip install -e '\.\[tracking\]'"
    ):
        write(folder, tmp_path / "book")


def test_a_trackio_without_logbooks_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.harness.exports.logbook.version", lambda _: "0.20.0")
    monkeypatch.setitem(sys.modules, "trackio.logbook", None)  # import finds nothing
    with pytest.raises(
        ExperimentError, match=r"trackio 0\.20\.0 has no logbooks that work here .*expected 0\.40 or newer"
    ):
        write(folder, tmp_path / "book")


def test_the_committed_claims_each_have_a_page_and_all_are_of_toy_scale(tmp_path: Path) -> None:
    assert cli.main(["logbook", "--out", str(tmp_path)]) == 0
    made = pages(tmp_path)
    claims = sum(len(found.result.judgements) for found in cli._found(cli._root() / "paper_tables"))
    assert len(made) == claims + 2 > 10  # and the index, and the summary
    assert all("Toy scale" in text for name, text in made.items() if not name.endswith("index.md"))


def test_every_kind_of_claim_says_what_it_compares() -> None:
    contrast = Contrast(key="c", text="", larger=(("B", 400), ("A", 600)), smaller=(("A", 400), ("B", 600)))
    assert (contrast.scope.rows, contrast.scope.conditions) == (("B", "A"), "t = 400, 600")
    speed = SpeedClaim(key="s", text="", fast="few", slow="many", factor=2.0, batch_size=4)
    assert (speed.scope.rows, speed.scope.conditions) == (("few", "many"), "batches of 4")
    assert TABLE.claims[0].scope == Scope(rows=("small", "big"), prompts=None)
    timed = Claim("t", "", Faster(candidate="small", baseline="big"))
    assert (timed.scope.rows, timed.scope.prompts) == (("small", "big"), ())


def test_published_numbers_have_a_page_of_their_own(tmp_path: Path) -> None:
    result = published_result()
    save(tmp_path / "tables" / "records" / f"{result.stem}.jsonl", result.records)
    workspace = write(tmp_path / "tables", tmp_path / "book", result)
    found = cells(workspace, "table2-sd35-medium-published-numbers")
    assert list(found) == ["Verdict", "Scope", "Hardware and time", "Records"]
    assert "Of 2 published numbers that were measured again here: 1 agrees, 1 differs." in found["Verdict"]
    assert "23.3" in found["Verdict"]
    assert "`sd35-medium`" in found["Scope"]
    (summary,) = cells(workspace, "summary").values()
    assert "- [table2: published numbers (SD3.5 Medium)](#/table2-sd35-medium-published-numbers): 1 agrees" in summary


def test_no_page_of_published_numbers_where_models_are_others(folder: Path, tmp_path: Path) -> None:
    assert not [path for path in pages(write(folder, tmp_path / "book")) if "published" in path]
