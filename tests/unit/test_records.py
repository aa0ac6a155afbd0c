import json
import random
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness_world import RUN, lines, record

from repro.harness import files
from repro.harness.files import OutputError, canonical_json, digest_folder, digest_json, probe_writable, write_atomic
from repro.harness.page import provenance
from repro.harness.provenance import WHEEL, git_state, peak_memory_bytes, start_run, versions
from repro.harness.records import PerImage, RecordError, RecordSet, dumps, load, save

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records" / "table2.jsonl"


def test_round_trip(path: Path) -> None:
    records = RecordSet.of(lines())
    save(path, records)
    assert load(path) == records


def test_same_bytes_in_any_order(path: Path) -> None:
    shuffled = lines()
    random.Random(3).shuffle(shuffled)
    assert dumps(RecordSet.of(shuffled)) == dumps(RecordSet.of(lines()))


def test_find_falls_back_to_records_without_prompts() -> None:
    records = RecordSet.of(lines())
    assert [found.value for found in records.find("small", "short", "tokens")] == [564]
    assert records.find("small", "short", "unheard of") == []


def test_per_image_keeps_absent_values_and_rounds() -> None:
    made = PerImage.of([1.0, float("nan"), 1 / 3], variant="v", prompts="p", metric="m", seed=0)
    assert made.values == (1.0, None, 0.333333)


def test_series_are_found_by_variant_and_metric() -> None:
    records = RecordSet.of(lines())
    found = records.find_series("small", "seconds")
    assert found is not None
    assert (found.values, found.n) == ((0.25, 0.333333, 0.5), 3)
    assert records.find_series("small", "accuracy") is None
    assert records.find_series("teacher", "seconds") is None


BAD_LINES: dict[str, tuple[str, Edit, str]] = {
    "unknown field": ("record", lambda line: line.update(colour="red"), "unknown field 'colour' of a record"),
    "missing field": ("record", lambda line: line.pop("metric"), "record without field 'metric'"),
    "text for a number": ("record", lambda line: line.update(value="0.9"), "field 'value' of a record is '0.9'"),
    "truth for a number": ("record", lambda line: line.update(n=True), "field 'n' of a record is True"),
    "fraction for a count": ("record", lambda line: line.update(n=1.5), "field 'n' of a record is 1.5, expected int"),
    "half an interval": ("record", lambda line: line.update(ci_low=0.5, ci_high=None), "interval"),
    "crossed interval": ("record", lambda line: line.update(ci_low=0.5, ci_high=0.4), "interval"),
    "value outside of its interval": (
        "record",
        lambda line: line.update(value=9.9, ci_low=1.0, ci_high=2.0),
        "value 9.9 is outside of its interval [1.0",
    ),
    "config without its hash": ("run", lambda line: line.update(config={"steps": 5}), "does not have its config_hash"),
    "no value, no reason": ("record", lambda line: line.update(value=None), "needs a note"),
    "other schema": ("record", lambda line: line.update(schema=99), "schema 99; this version reads schema 2"),
    "unknown kind": ("record", lambda line: line.update(kind="rumour"), "kind run, record, per_image"),
    "numbers for versions": ("run", lambda line: line.update(versions={"torch": 2}), "field 'versions' of a run"),
    "the schema before": ("run", lambda line: line.update(schema=1), "schema 2: delete the file and measure again"),
    "series over nothing known": ("series", lambda line: line.update(over="epoch"), "expected round or replicate or"),
    "empty series": ("series", lambda line: line.update(values=[]), "a series without values"),
    "gap in a series": ("series", lambda line: line.update(values=[1.0, None]), "field 'values' of a series"),
    "negative count": ("series", lambda line: line.update(n=-1), "n is -1"),
    "text among values": ("per_image", lambda line: line.update(values=[1.0, "x"]), "field 'values' of a per_image"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_line_is_named(path: Path, case: str) -> None:
    kind, edit, message = BAD_LINES[case]
    save(path, RecordSet.of(lines()))
    texts = path.read_text().splitlines()
    number = next(i for i, text in enumerate(texts) if json.loads(text)["kind"] == kind)
    changed = json.loads(texts[number])
    edit(changed)
    texts[number] = json.dumps(changed)
    path.write_text("\n".join(texts) + "\n")
    with pytest.raises(RecordError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}:{number + 1}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[:-20], r":\d+: not JSON .* may be torn"),
        (lambda text: text + text.splitlines()[-1] + "\n", "repeats line"),
        (lambda text: text.replace('"value":0.9', '"value":NaN', 1), r":\d+: NaN is not a number"),
        (
            lambda text: text.replace('"value":0.9', '"value":1e999', 1),
            r":\d+: 1e999 is no number that a float can hold",
        ),
        (lambda text: text.replace('"n":40', f'"n":{10**400}', 1), r":\d+: 1000+ is no number that a float can hold"),
        (lambda text: "\n".join(text.splitlines()[1:]), "names run .* not in the file"),
        (lambda text: text.replace('"profile":"toy"', '"profile":"other"', 1), "more than one table or profile"),
    ],
)
def test_bad_file_is_refused(path: Path, spoil: Callable[[str], str], message: str) -> None:
    save(path, RecordSet.of(lines()))
    path.write_text(spoil(path.read_text()))
    with pytest.raises(RecordError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": 0.41, "ci_low": None, "ci_high": None}, "is 0.41, but its values per image have the mean 0.4"),
        ({"n": 39}, "accuracy of big has n 39, but 40 values per image"),
    ],
)
def test_a_number_that_its_images_contradict_is_named(path: Path, change: dict[str, Any], message: str) -> None:
    wrong = [
        replace(line, **change) if getattr(line, "identity", ())[:4] == ("record", "big", "long", "accuracy") else line
        for line in lines()
    ]
    assert wrong != lines()
    with pytest.raises(RecordError, match=rf"table2\.jsonl:\d+: .*{message}"):
        save(path, RecordSet.of(wrong))
    assert not path.exists()


def test_missing_file_is_a_record_error(path: Path) -> None:
    with pytest.raises(RecordError, match="cannot read records"):
        load(path)


def test_save_refuses_what_load_would(path: Path) -> None:
    with pytest.raises(RecordError, match=r"small short accuracy .* holds NaN"):
        save(path, RecordSet.of([RUN, record("small", "short", "accuracy", float("nan"))]))
    with pytest.raises(RecordError, match="needs a note"):
        save(path, RecordSet.of([RUN, record("small", "short", "accuracy", None)]))
    assert not path.exists()


def test_full_disk_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*table2\.jsonl: No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_probe_names_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write into .*file/out"):
        probe_writable(tmp_path / "file" / "out")
    probe_writable(tmp_path / "fine")
    assert list((tmp_path / "fine").iterdir()) == []


def test_canonical_json_ignores_order_and_container() -> None:
    assert digest_json({"a": 1, "b": (1, 2)}) == digest_json({"b": [1, 2], "a": 1})
    assert canonical_json(RUN) == canonical_json(replace(RUN))
    with pytest.raises(TypeError, match="not plain data"):
        canonical_json({"f": object()})


def test_digest_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("a")
    same = digest_folder(tmp_path / "one")
    assert digest_folder(tmp_path / "two") == same
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "b")
    assert digest_folder(tmp_path / "two") != same
    with pytest.raises(FileNotFoundError, match="no such folder"):
        digest_folder(tmp_path / "three")


def test_outside_a_checkout_the_commit_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    state = git_state(tmp_path)
    assert (state.commit, state.dirty) == (None, None)


def test_a_folder_within_another_checkout_has_no_commit_of_ours(tmp_path: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "theirs"], cwd=tmp_path, check=True)
    installed_into = tmp_path / "site-packages"
    installed_into.mkdir()
    assert git_state(installed_into).commit is None
    opened = start_run(table="t", profile="p", config={}, command="c", folder=installed_into)
    run = opened.close(device="cpu", dtype="float32", data_hash="d", weights_hash="w")
    assert re.fullmatch(r"[0-9.]+, sha256 [0-9a-f]{16}", run.versions[WHEEL])
    assert f"wheel {run.versions[WHEEL]}" in provenance(run)


def test_untracked_files_are_dirty_but_for_written_pages(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert git_state(tmp_path).dirty is False
    (tmp_path / "paper_tables").mkdir()
    (tmp_path / "paper_tables" / "table9.md").write_text("")
    assert git_state(tmp_path).dirty is False
    (tmp_path / "new").write_text("")
    state = git_state(tmp_path)
    assert state.dirty is True
    assert state.commit is not None
    assert len(state.commit) == 40


def test_a_run_records_its_start_and_cost(tmp_path: Path) -> None:
    config = {"steps": (1, 2), "path": Path("a/b")}
    opened = start_run(table="table2", profile="toy", config=config, command="c", folder=tmp_path)
    run = opened.close(device="cpu", dtype="float32", data_hash="d", weights_hash="w")
    assert run.config == {"steps": [1, 2], "path": "a/b"}
    assert run.config_hash == digest_json(config)
    assert run.run.endswith(run.config_hash[:8])
    assert run.wall_seconds >= 0
    assert 1e6 < run.peak_memory_bytes <= peak_memory_bytes()
    assert set(versions(["numpy", "no-such-package"])) == {"python", "numpy"}


@pytest.mark.parametrize("typed", ["--work /a/b --rows 'a b' --out=/c", "--rows 'a b'"])
def test_a_recorded_command_does_not_say_where_files_lie(typed: str, tmp_path: Path) -> None:
    command = f"python -m repro table2 {typed}"
    opened = start_run(table="t", profile="p", config={}, command=command, folder=tmp_path)
    assert opened.command == "python -m repro table2 --rows 'a b'"


def test_a_config_that_cannot_be_recorded_fails_first(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not plain data"):
        start_run(table="t", profile="p", config={"f": object()}, command="c", folder=tmp_path)


def test_names_of_files_that_are_no_unicode_do_not_reach_a_page(path: Path, tmp_path: Path) -> None:
    opened = start_run(
        table="t", profile="p", config={}, command="python -m repro t --images a=\udcff", folder=tmp_path
    )
    assert "a=" in opened.command
    opened.command.encode()
    with pytest.raises(RecordError, match=r"holds text that is no Unicode: .*images.*udcff"):
        save(path, RecordSet.of([replace(RUN, config={"images": "a\udcff"}, config_hash="")]))
    assert not path.exists()
