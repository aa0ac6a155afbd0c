"""What has been measured so far, one JSON line for every event, so that the next call goes on from there.

Events are ``call`` (which machine and code), ``start`` (with the seconds that were left), ``done`` and ``failed`` of an
item, ``end`` of a part that went through all of its items or ran out of time, ``ran`` (how its process ended), and
``saved`` (the records hold all of this). A line is written at once; one that was torn by a power cut is left out.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repro.harness.files import OutputError, canonical_json

FILE = "gpu.journal.jsonl"
TRIES = 2  # whole tries of an item that never ended: it takes the process down, or longer than a part may
WHOLE = 0.75  # of the time of a part, that an item had from its start: less is no try, for it may end in the next call


@dataclass(frozen=True, slots=True)
class Found:
    """A number, or many, of one thing.

    Args:
        variant: what was measured, see `repro.kinds.gpu.keys`.
        metric: which of its numbers.
        values: one, or one for each round or part; none where there is only a note.
        unit: of the values.
        over: of many values, what they run over; empty for a single number.
        note: what is to be remarked.
    """

    variant: str
    metric: str
    values: tuple[float, ...]
    unit: str = ""
    over: str = ""
    note: str = ""


class Journal:
    """The journal in a folder.

    Args:
        folder: made when the first line is written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def add(self, event: str, **fields: Any) -> None:
        """Write a line, and wait until it is on the disk.

        Raises:
            OutputError: it cannot be written.
        """
        line = canonical_json({"event": event, **fields}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = f"\n{line}" if self._is_torn() else line
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _is_torn(self) -> bool:
        """Whether the last line was not written to its end."""
        return self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")

    def done(self, part: str, item: str, found: Sequence[Found]) -> None:
        """An item was measured."""
        self.add("done", part=part, item=item, found=[asdict(one) for one in found])

    def events(self) -> Iterator[Mapping[str, Any]]:
        """All lines that are whole, in order."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):  # JSON may hold the others
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(event, dict) and "event" in event:
                yield event

    def calls(self) -> list[Mapping[str, Any]]:
        """Every call so far: its machine and code."""
        return [event for event in self.events() if event["event"] == "call"]

    def state(self, part: str, code: str) -> "PartState":
        """What is finished of a part.

        Args:
            part: key.
            code: digest of the code as it is now: what failed under other code may be tried again.
        """
        last: dict[str, str] = {}
        starts: dict[str, list[float]] = {}
        complete = False
        for event in self.events():
            if event.get("part") != part or event["event"] not in ("start", "done", "failed", "end"):
                continue
            item, kind, current = event.get("item", ""), event["event"], event.get("code") == code
            if kind == "end":
                complete = current and event["complete"]
            elif kind == "done" or last.get(item) == "done":
                last[item] = "done"
            else:
                last[item] = kind if current else "again"
                if kind == "start" and current:
                    starts.setdefault(item, []).append(event.get("seconds", 0.0))
        finished = frozenset(item for item, event in last.items() if event in ("done", "failed"))
        waiting = tuple(item for item, event in last.items() if event == "start")
        return PartState(finished, waiting, {item: tuple(had) for item, had in starts.items()}, complete)

    @property
    def is_saved(self) -> bool:
        """Whether the records hold all that was found: nothing was since they were written."""
        kinds = [event["event"] for event in self.events() if event["event"] in ("done", "failed", "saved")]
        return not kinds or kinds[-1] == "saved"

    def found(self) -> list[Found]:
        """Every number so far, the newest of a name."""
        newest: dict[tuple[str, str], Found] = {}
        for event in self.events():
            for fields in event.get("found", ()) if event["event"] == "done" else ():
                one = Found(**{**fields, "values": tuple(fields["values"])})
                newest[one.variant, one.metric] = one
        return list(newest.values())

    def failures(self) -> dict[tuple[str, str], str]:
        """Part and item -> its error, of what was never measured; the item is empty where a part could not start."""
        errors: dict[tuple[str, str], str] = {}
        for event in self.events():
            place = (event.get("part", ""), event.get("item", ""))
            if event["event"] == "failed":
                errors[place] = event["error"]
            elif event["event"] == "done":
                errors.pop(place, None)
                errors.pop((place[0], ""), None)
        return errors


@dataclass(frozen=True, slots=True)
class PartState:
    """How far a part is.

    Attributes:
        finished: items that need nothing more: measured, or failed under the code as it is.
        open: items that were started and neither ended nor failed, in order.
        starts: item -> seconds that were left at each of its starts under the code as it is.
        complete: whether the part went through all of its items under the code as it is.
    """

    finished: frozenset[str]
    open: tuple[str, ...]
    starts: Mapping[str, tuple[float, ...]]
    complete: bool

    def hopeless(self, item: str, part_seconds: float) -> bool:
        """Whether an item was tried as often as it may, with nearly all the time that a part has, and never ended."""
        tries = [had for had in self.starts.get(item, ()) if had >= WHOLE * part_seconds]
        return item in self.open and len(tries) >= TRIES
