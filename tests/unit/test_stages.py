from pathlib import Path

import pytest

from repro.harness.files import OutputError
from repro.stages.store import StageStore

INPUTS = {"seed": 1, "sigmas": (1.0, 0.5), "weights": "abc"}


def test_finished_once_and_for_all(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    assert not store.done("train", INPUTS)
    folder = store.folder("train", INPUTS)
    assert not store.done("train", INPUTS)
    store.finish("train", INPUTS, {"seconds": 3})
    assert StageStore(tmp_path).done("train", dict(reversed(INPUTS.items())))
    assert store.result("train", INPUTS) == {"seconds": 3}
    assert store.folder("train", INPUTS) == folder


@pytest.mark.parametrize("change", [{"seed": 2}, {"sigmas": (1.0, 0.25)}, {"version": 2}])
def test_other_inputs_are_another_stage(tmp_path: Path, change: dict[str, object]) -> None:
    store = StageStore(tmp_path)
    store.finish("train", INPUTS)
    assert not store.done("train", {**INPUTS, **change})
    assert not store.done("sample", INPUTS)


def test_a_torn_stage_keeps_what_it_wrote(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    (store.folder("images", INPUTS) / "0001.png").write_bytes(b"half done")
    again = StageStore(tmp_path)
    assert not again.done("images", INPUTS)
    assert (again.folder("images", INPUTS) / "0001.png").read_bytes() == b"half done"


@pytest.mark.parametrize("marker", ["", '{"key": "ab', "[]", '{"key": "another", "result": {}}'])
def test_a_torn_or_foreign_marker_is_not_finished(tmp_path: Path, marker: str) -> None:
    store = StageStore(tmp_path)
    store.finish("train", INPUTS)
    (store.folder("train", INPUTS) / "finished.json").write_text(marker)
    assert not store.done("train", INPUTS)
    with pytest.raises(LookupError, match="'train' is not finished"):
        store.result("train", INPUTS)


def test_inputs_lie_beside_the_results(tmp_path: Path) -> None:
    folder = StageStore(tmp_path).folder("train", INPUTS)
    assert (folder / "inputs.json").read_text() == '{"seed":1,"sigmas":[1.0,0.5],"weights":"abc"}\n'


def test_inputs_must_be_plain(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not plain data"):
        StageStore(tmp_path).folder("train", {"model": object()})


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        StageStore(tmp_path / "store").folder("train", INPUTS)
