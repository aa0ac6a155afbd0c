"""What an adapter says of its student."""

from collections.abc import Mapping
from typing import Any

from repro.harness.files import ROOT
from repro.harness.systems import HubFile
from repro.stages import hub
from swd.lora.card import StudentCard
from swd.lora.files import open_adapter
from swd.lora.released import released_card


def student_card(student: HubFile) -> StudentCard | None:
    """The card of a released student by its name, or that in an adapter's header; None where it says nothing.

    Raises:
        WeightsError: the adapter is not to be had.
    """
    return released_card(student.repo) or StudentCard.from_header(student_header(student))


def student_header(student: HubFile) -> Mapping[str, Any]:
    """All that an adapter's header says.

    Raises:
        WeightsError: the adapter is not to be had.
    """
    return open_adapter(hub.require(student, ROOT)).header or {}
