"""The page of faults, from the records alone."""

from pathlib import Path

from repro.harness.cells import DASH, markdown, number
from repro.harness.page import footer, joined
from repro.kinds.reliability import keys
from repro.kinds.reliability.declare import Fault
from repro.kinds.reliability.result import ReliabilityResult

HEADS = ["Fault", "Injected, and recovered from to the same bits", "Done twice"]


def page(result: ReliabilityResult, _: Path) -> str:
    """The Markdown page."""
    faults = result.experiment.faults
    return joined(
        [
            f"# {result.title}",
            result.experiment.question,
            markdown(HEADS, [_row(result, fault) for fault in faults], left=1),
            "\n".join(f"- {fault.title}: not injected, {note}." for fault in faults if (note := _note(result, fault))),
            *result.experiment.notes,
            *footer(result),
        ]
    )


def _note(result: ReliabilityResult, fault: Fault) -> str:
    return result.count(fault.key, keys.INJECTED).note


def _row(result: ReliabilityResult, fault: Fault) -> list[str]:
    if _note(result, fault):
        return [fault.title, "0", DASH]
    injected = result.count(fault.key, keys.INJECTED).value
    repeated = [record.value for record in result.records.find(fault.key, "", keys.REPEATED)]  # or was not counted
    return [fault.title, *(DASH if count is None else number(count, 0) for count in (injected, *(repeated or [None])))]
