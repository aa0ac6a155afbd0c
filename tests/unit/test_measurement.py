from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from harness_world import PROFILE

from repro.harness import records
from repro.harness.experiment import Experiment
from repro.harness.kind import UsageError
from repro.harness.options import RunOptions
from repro.harness.provenance import OpenRun
from repro.harness.schema import RecordSet
from repro.stages.measurement import Measurement

COIN = Experiment(key="coin", title="A coin", question="Which side?")


class Coin(Measurement[Experiment, RunOptions]):
    """Thrown once for a config; its picture is the config's number."""

    def throw(self, number: int, throw: Callable[[], None] = lambda: None) -> Path:
        def measure(opened: OpenRun) -> Callable[[], None]:
            throw()
            return partial(self._write, opened)

        return self.once("coins", self.open({"number": number}), measure)

    def _write(self, opened: OpenRun) -> None:
        self.grid_path.parent.mkdir(parents=True, exist_ok=True)
        self.grid_path.write_text(str(opened.config["number"]))
        closed = opened.close(device="cpu", dtype="none", data_hash="", weights_hash="")
        records.save(self.records_path, RecordSet.of([closed]))


@pytest.fixture
def coin(tmp_path: Path) -> Coin:
    return Coin(COIN, PROFILE, RunOptions(out=tmp_path / "out", work=tmp_path / "work", command="test"))


def test_what_was_measured_is_measured_once(coin: Coin, capsys: pytest.CaptureFixture[str]) -> None:
    path = coin.throw(1)
    assert path == coin.options.out / "records" / "coin.jsonl"
    written = path.read_bytes()
    assert coin.throw(1, lambda: pytest.fail("measured again")) == path
    assert path.read_bytes() == written
    assert capsys.readouterr().err == f"nothing to do: {path} holds exactly this measurement\n"


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text("other")])
def test_a_picture_that_is_gone_or_changed_is_made_again(coin: Coin, spoil: Callable[[Path], object]) -> None:
    coin.throw(1)
    spoil(coin.grid_path)
    coin.throw(1)
    assert coin.grid_path.read_text() == "1"


def test_records_of_other_settings_stay_unless_they_are_to_be_replaced(coin: Coin) -> None:
    coin.throw(1)
    with pytest.raises(UsageError, match=r"coin.jsonl was measured with other settings .* number 1, now 2"):
        coin.throw(2, lambda: pytest.fail("measured"))
    assert coin.grid_path.read_text() == "1"
    replace(coin, options=replace(coin.options, replace=True)).throw(2)
    assert coin.grid_path.read_text() == "2"


def test_a_measurement_that_fails_is_not_done(coin: Coin) -> None:
    def broken() -> None:
        raise OSError("no coin")

    with pytest.raises(OSError, match="no coin"):
        coin.throw(1, broken)
    thrown: list[bool] = []
    coin.throw(1, lambda: thrown.append(True))
    assert thrown == [True]
