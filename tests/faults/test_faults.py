"""Every fault of the page of faults, once or twice; `nox -s reliability` injects each as often as the page says."""

from pathlib import Path

import pytest

from repro.kinds.reliability.cases import CASES
from repro.kinds.reliability.faults import UnavailableError
from repro.reliability import PAGE

pytestmark = pytest.mark.slow
SHORT = {"training_kill": 2, "images_kill": 3, "images_damage": 3, "training_damage": 2}


def test_every_fault_of_the_page_has_a_case() -> None:
    assert {fault.key for fault in PAGE.faults} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_disturbed_run_goes_on_to_the_bits_of_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    count = SHORT.get(name, 1)
    try:
        outcome = CASES[name](tmp_path, PAGE.seed, count)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert (outcome.injected, outcome.recovered, outcome.repeated) == (count, count, 0)
