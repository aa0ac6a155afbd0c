"""Content-keyed stages: work that is never done twice, and is resumed where it was torn.

The marker of a finished stage holds the hashes of the files that later stages read, and its own. They are compared
once a run, when the stage is first asked for: what was cut, zeroed or edited since counts as not finished and is made
again, with a line that says so. Markers of before there were hashes pass.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from safetensors import SafetensorError
from tqdm import tqdm

from repro.harness.files import ROOT, canonical_json, digest_file, digest_json, write_atomic
from repro.harness.provenance import git_stamp
from repro.stages.work import LEASES, Leases, work_through

MARKER = "finished.json"
INPUTS = "inputs.json"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, SafetensorError)  # what reading a damaged file raises
T = TypeVar("T")


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
    _whole: dict[Path, str] = field(default_factory=dict, repr=False, compare=False)  # markers that were verified
    _told: set[tuple[Path, str]] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def stamped(cls, root: Path) -> Self:
        """The store of a folder, whose stages bear the commit of this checkout."""
        return cls(root, stamp=git_stamp(ROOT))

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
        marker = self._marker(name, digest_json(inputs))
        if marker is not None:
            self.reused.append(marker.get("stamp", {}))
        return marker is not None

    def finished(self, name: str, inputs: Mapping[str, Any]) -> bool:
        """Whether the stage was finished, as ``done``, but without taking note that it is used again."""
        return self.marked(name, digest_json(inputs))

    def marked(self, name: str, key: str) -> bool:
        """As `finished`, for who asks again and again: ``key`` is the digest of the inputs."""
        return self._marker(name, key) is not None

    def once(
        self,
        name: str,
        inputs: Mapping[str, Any],
        work: Callable[[], Mapping[str, Any] | None],
        *,
        files: Iterable[str] = (),
    ) -> None:
        """Finish a stage with the result of ``work``, in one of the processes that ask for it; the others wait."""

        def do(_: str) -> None:
            self.finish(name, inputs, work(), files=files)

        leases = Leases(self.folder(name, inputs) / LEASES)
        work_through({"whole": 1}, leases, done=lambda _: self.finished(name, inputs), do=do)

    def read(self, name: str, inputs: Mapping[str, Any], make: Callable[[], None], read: Callable[[], T]) -> T:
        """What a stage left, made where it is not finished, and again where what it left cannot be read.

        Args:
            name: of the stage.
            inputs: of the stage.
            make: finishes the stage.
            read: gives what it left.
        """
        if not self.done(name, inputs):
            make()
        try:
            return read()
        except UNREADABLE as error:  # of before there were hashes, or damaged in these moments
            tell(f"{self.place(name, inputs)} cannot be read ({error}): it is made again")
            self.forget(name, inputs)
            make()
            return read()

    def finish(
        self,
        name: str,
        inputs: Mapping[str, Any],
        result: Mapping[str, Any] | None = None,
        *,
        files: Iterable[str] = (),
    ) -> None:
        """Mark the stage as finished, atomically, with a small result to be read back.

        Args:
            name: of the stage.
            inputs: of the stage.
            result: plain data.
            files: that later stages read, by their names below the folder: damaged, they are made again. Those that
                are not there, as a result may say, are left out.
        """
        folder = self.folder(name, inputs)
        marker = {"key": digest_json(inputs), "result": dict(result or {}), "stamp": dict(self.stamp)}
        marker["files"] = {file: digest_file(folder / file) for file in files if (folder / file).exists()}
        write_atomic(folder / MARKER, canonical_json({**marker, "sha256": digest_json(marker)}) + "\n")

    def changed(self, name: str, inputs: Mapping[str, Any]) -> list[str]:
        """Files of a finished stage that are no longer what was written."""
        folder = self.place(name, inputs)
        try:
            files = json.loads((folder / MARKER).read_text(encoding="utf-8")).get("files", {})
            return [file for file, digest in files.items() if _changed(folder / file, digest)]
        except (OSError, ValueError, AttributeError):
            return []

    def forget(self, name: str, inputs: Mapping[str, Any]) -> None:
        """Take the mark of a finished stage away: what it left is no longer there."""
        (self.place(name, inputs) / MARKER).unlink(missing_ok=True)

    def result(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What ``finish`` was given.

        Raises:
            LookupError: the stage is not finished.
        """
        marker = self._marker(name, digest_json(inputs))
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

    def _marker(self, name: str, key: str) -> dict[str, Any] | None:
        folder = self.root / name / key[:32]
        try:
            text = (folder / MARKER).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            text = ""
        if self._whole.get(folder) != text:
            if damage := _damage(folder, text, key):
                if (folder, damage) not in self._told:  # whoever waits for it asks again and again
                    self._told.add((folder, damage))
                    tell(f"{folder}: {damage}: it is made again")
                return None
            self._whole[folder] = text
        marker: dict[str, Any] = json.loads(text)
        return marker


def tell(line: str) -> None:
    """Say something that a reader should know, between progress bars."""
    tqdm.write(line, file=sys.stderr)


def _damage(folder: Path, text: str, key: str) -> str | None:
    """What is wrong with a finished stage, in words; None where it is whole."""
    try:
        marker = json.loads(text)
        found, files = marker["key"], marker.get("files", {})
        rest = {name: value for name, value in marker.items() if name != "sha256"}
        if found != key or "result" not in marker or marker.get("sha256", digest_json(rest)) != digest_json(rest):
            return f"{MARKER} is not what was written"
        return next((why for file, digest in files.items() if (why := _changed(folder / file, digest))), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MARKER} is damaged"


def _changed(path: Path, digest: str) -> str | None:
    try:
        return None if digest_file(path) == digest else f"{path.name} is not what was written (another SHA-256)"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
