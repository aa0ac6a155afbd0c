"""Content-keyed stages: work that is never done twice, and is resumed where it was torn."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.harness.files import canonical_json, digest_json, write_atomic
from repro.stages.work import LEASES, Leases, work_through

MARKER = "finished.json"
INPUTS = "inputs.json"


@dataclass(frozen=True, slots=True)
class StageStore:
    """Folders named by what goes into them: ``root/<stage>/<sha256 of the inputs>``.

    A stage writes its files into ``folder(...)`` and calls ``finish(...)`` last. Until then ``done`` is False, and a
    second attempt with the same inputs finds the same folder with what the first one left there.
    ``inputs`` is plain data: everything that could change the result, the stage's version and the hashes of its data
    and weights among it. ``stamp`` is kept with every stage that this store finishes: the commit that did the work.
    ``reused`` collects the stamps of the stages that were found finished.
    """

    root: Path
    stamp: Mapping[str, Any] = field(default_factory=dict)
    reused: list[Mapping[str, Any]] = field(default_factory=list)

    def folder(self, name: str, inputs: Mapping[str, Any]) -> Path:
        """The stage's folder, made if needed, with its inputs beside the results for a reader.

        Raises:
            TypeError: inputs hold something that is not plain data.
            OutputError: the store cannot be written.
        """
        folder = self.place(name, inputs)
        if not (folder / INPUTS).exists():
            write_atomic(folder / INPUTS, canonical_json(inputs) + "\n")
        return folder

    def place(self, name: str, inputs: Mapping[str, Any]) -> Path:
        """Where the stage's folder is or would be."""
        return self.root / name / digest_json(inputs)[:32]

    def done(self, name: str, inputs: Mapping[str, Any]) -> bool:
        """Whether the stage was finished; a torn or foreign marker counts as not."""
        marker = self._marker(name, inputs)
        if marker is not None:
            self.reused.append(marker.get("stamp", {}))
        return marker is not None

    def finished(self, name: str, inputs: Mapping[str, Any]) -> bool:
        """Whether the stage was finished, as ``done``, but without taking note that it is used again."""
        return self._marker(name, inputs) is not None

    def once(self, name: str, inputs: Mapping[str, Any], work: Callable[[], Mapping[str, Any] | None]) -> None:
        """Finish a stage with the result of ``work``, in one of the processes that ask for it; the others wait."""

        def do(_: str) -> None:
            self.finish(name, inputs, work())

        leases = Leases(self.folder(name, inputs) / LEASES)
        work_through({"whole": 1}, leases, done=lambda _: self.finished(name, inputs), do=do)

    def finish(self, name: str, inputs: Mapping[str, Any], result: Mapping[str, Any] | None = None) -> None:
        """Mark the stage as finished, atomically, with a small result to be read back."""
        marker = {"key": digest_json(inputs), "result": dict(result or {}), "stamp": dict(self.stamp)}
        write_atomic(self.folder(name, inputs) / MARKER, canonical_json(marker) + "\n")

    def forget(self, name: str, inputs: Mapping[str, Any]) -> None:
        """Take the mark of a finished stage away: what it left is no longer there."""
        (self.place(name, inputs) / MARKER).unlink(missing_ok=True)

    def result(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What ``finish`` was given.

        Raises:
            LookupError: the stage is not finished.
        """
        marker = self._marker(name, inputs)
        if marker is None:
            raise LookupError(f"stage {name!r} is not finished in {self.root}")
        result: dict[str, Any] = marker["result"]
        return result

    def all_finished(self, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folder and inputs of every finished stage of that name."""
        for folder in sorted((self.root / name).glob("*/")):
            try:
                inputs = json.loads((folder / INPUTS).read_text())
            except (OSError, ValueError):
                continue
            if self.finished(name, inputs):
                yield folder, inputs

    def _marker(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        key = digest_json(inputs)
        try:
            marker = json.loads((self.root / name / key[:32] / MARKER).read_text())
        except (OSError, ValueError):
            return None
        return marker if isinstance(marker, dict) and marker.get("key") == key and "result" in marker else None
