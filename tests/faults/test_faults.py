"""Every fault of the page of faults, once or twice; `nox -s reliability` injects each as often as the page says."""

from pathlib import Path

import pytest

from repro.kinds.reliability.cases import CASES
from repro.kinds.reliability.faults import FaultError, UnavailableError
from repro.kinds.reliability.work import IMAGES, Finished, Work
from repro.reliability import PAGE

pytestmark = pytest.mark.slow
DAMAGED = {"training_damage": 2, "images_damage": 3}  # what was damaged is done again, and nothing else
SHORT = {  # the first time comes before anything is finished, where more are needed
    "training_kill": 2,
    "training_damage": 2,
    "training_group": 2,
    "images_kill": 3,
    "images_shared": 3,
    "images_damage": 3,
}


def test_every_fault_of_the_page_has_a_case() -> None:
    assert {fault.key for fault in PAGE.faults} == set(CASES)


def test_a_file_that_differs_is_named(tmp_path: Path) -> None:
    for name, text in (("whole", b"1"), ("run", b"2")):
        (tmp_path / name / "images" / "set").mkdir(parents=True)
        (tmp_path / name / "images" / "set" / "0.png").write_bytes(text)
    with pytest.raises(FaultError, match=r"run: 1 of 1 differ, first \['images/set/0.png'\]"):
        IMAGES.check(tmp_path / "run", tmp_path / "whole")
    with pytest.raises(FaultError, match="0 of 0 differ"):
        IMAGES.check(tmp_path / "nothing", tmp_path / "nothing")


@pytest.mark.parametrize("name", CASES)
def test_a_disturbed_run_goes_on_to_the_bits_of_an_undisturbed_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, repeated, compared = SHORT.get(name, 1), Work.repeated, []

    def counted(work: Work, folder: Path, before: Finished) -> int:
        compared.append(len(before))
        return repeated(work, folder, before)

    monkeypatch.setattr(Work, "repeated", counted)
    try:
        outcome = CASES[name](tmp_path, PAGE.seed, count)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert (outcome.injected, outcome.repeated) == (count, DAMAGED.get(name, 0))
    assert len(compared) >= count  # each time what had been finished before was compared
    assert any(compared)
