"""Saved states of a run: ``state-000250/`` with tensors, ``state.json`` and ``SHA256SUMS``, never a pickle.

A state folder appears whole or not at all (written under another name, flushed, renamed). It holds what cannot be
derived: adapters, discriminator, EMA, optimiser moments, gradient scaler, iteration. Random numbers and the place in
the data are functions of the iteration; the place is stored all the same, and checked.
"""

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from swd.errors import OutputFolderError, StateError, what_is_kept
from swd.files import check_checksums, replacing_folder, write_checksums, write_json, write_tensors, write_text, writing
from swd.training.config import DistillConfig, differences

SCHEMA = 1
TORN = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RecursionError,
    SafetensorError,
)  # what reading a damaged state raises


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """What a state belongs to: resuming with anything else would give another run under the same name."""

    config: dict[str, Any]
    data: str
    teacher: str

    def check(self, config: DistillConfig, current: "RunIdentity", folder: Path) -> None:
        """Compare with the run that wants to resume.

        Raises:
            StateError: options, data or teacher differ; the message names each.
        """
        changed = differences(self.config, config)
        changed += [f"data: {self.data} -> {current.data}"] if self.data != current.data else []
        changed += [f"teacher weights: {self.teacher} -> {current.teacher}"] if self.teacher != current.teacher else []
        if changed:
            raise StateError(f"{folder} belongs to another run ({'; '.join(changed)}): use another output folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainState:
    """Everything that a run needs to go on.

    Attributes:
        iteration: student updates done.
        position: batches read.
        seconds: training time so far.
        identity: the run it belongs to.
        scaler: state of the fp16 gradient scaler, else empty.
        tensors: ``student/...``, ``fake/...``, ``discriminator/...``, ``ema/...``, ``optimizer_.../...``.
    """

    iteration: int
    position: int
    seconds: float
    identity: RunIdentity
    scaler: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors under ``name/``, without the prefix."""
        prefix = f"{name}/"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


class StateStore:
    """The states of one run, newest last; only the newest ``keep_last`` are kept."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder, self.keep_last = folder, keep_last

    def save(self, state: TrainState) -> Path:
        """Write one state, then drop the oldest ones.

        States numbered above it could not be read, or the run would have gone on from them: they are set aside as
        ``state-000250.torn``, where they neither pass for newer than this one nor push it out.

        Raises:
            OutputFolderError: it cannot be written; the message names the state that is left.
        """
        target = self.folder_of(state.iteration)
        facts = {
            "schema": SCHEMA,
            "torch": torch.__version__,
            "iteration": state.iteration,
            "position": state.position,
            "seconds": state.seconds,
            "identity": asdict(state.identity),
            "scaler": state.scaler,
        }
        try:
            with replacing_folder(target) as temporary:
                write_tensors(temporary / "tensors.safetensors", state.tensors)
                write_json(temporary / "state.json", facts)
                write_checksums(temporary)
        except OutputFolderError as error:
            raise OutputFolderError(f"{error}; {what_is_kept(self.latest_folder())}") from error
        for folder in self._folders():
            if _number(folder) > state.iteration:
                _set_aside(folder)
        for old in self._folders()[: -self.keep_last]:
            _remove(old)
        return target

    def folder_of(self, iteration: int) -> Path:
        """Where the state after so many iterations is or would be."""
        return self.folder / f"state-{iteration:06d}"

    def latest(self) -> TrainState | None:
        """The newest state that reads back whole; torn ones are passed over with a warning.

        Raises:
            StateError: a state is of another version, so that passing it over would throw the run away.
        """
        for folder in reversed(self._folders()):
            try:
                return _read(folder)
            except TORN as error:
                warnings.warn(f"{folder} is torn ({error}); trying the state before it", RuntimeWarning, stacklevel=2)
        return None

    def read(self, iteration: int) -> TrainState:
        """The state after so many iterations; whatever of ``TORN`` keeps it from being read."""
        return _read(self.folder_of(iteration))

    def latest_folder(self) -> Path | None:
        """Folder of the newest state that reads back whole, if any."""
        return next((folder for folder in reversed(self._folders()) if _is_whole(folder)), None)

    def clear(self) -> None:
        """Remove every state."""
        for folder in self._folders():
            _remove(folder)

    def _folders(self) -> list[Path]:
        found = [path for path in self.folder.glob("state-*") if path.is_dir() and path.name[6:].isdigit()]
        return sorted(found, key=_number)


def begin_from(other: Path, folder: Path) -> None:
    """Let a run begin where another ended: copies its newest state and its log.

    The run checks on resuming that the two differ in nothing that its iterations follow from.

    Args:
        other: output folder of the finished run.
        folder: output folder of the run that is to begin; one that has a state of its own is left as it is.
    """
    state = StateStore(other, keep_last=1).latest_folder()
    if state is None or StateStore(folder, keep_last=1).latest_folder() is not None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(LossLog.in_folder(other).path, LossLog.in_folder(folder).path)
    with replacing_folder(folder / state.name) as temporary:
        shutil.copytree(state, temporary, dirs_exist_ok=True)


class LossLog:
    """``log.jsonl``: one line of named losses per iteration; lines after a resumed state are cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def in_folder(cls, folder: Path) -> "LossLog":
        """That of a run."""
        return cls(folder / "log.jsonl")

    def lines(self) -> list[dict[str, Any]]:
        """Iteration, losses and seconds, in order; half a line left by a kill is left out.

        So is any other line that no run wrote, with a warning that names it: what a run goes on from is its states.
        """
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        lines = text.split("\n")
        found = [_logged(line) for line in lines]
        for number, (line, values) in enumerate(zip(lines, found, strict=True), start=1):
            if values is None and number < len(lines) and line.strip():
                warnings.warn(f"{self.path}:{number} is no line of a run: {line:.60}", RuntimeWarning, stacklevel=2)
        return [values for values in found if values is not None]

    def rewind(self, iteration: int) -> None:
        """Keep the lines of the iterations before ``iteration``; whatever is no line of a run goes too."""
        kept = [json.dumps(line) + "\n" for line in self.lines() if line["iteration"] < iteration]
        write_text(self.path, "".join(kept))

    def append(self, values: Mapping[str, Any]) -> None:
        """Add one line."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def _logged(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and isinstance(values.get("iteration"), int) else None


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("state-"))


def _is_whole(folder: Path) -> bool:
    try:
        _read(folder)
    except (*TORN, StateError):
        return False
    return True


def _read(folder: Path) -> TrainState:
    facts = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if facts["schema"] != SCHEMA:
        raise StateError(
            f"{folder} is a state of schema {facts['schema']}, this version reads {SCHEMA}: go on with the version "
            "that wrote it, or use another output folder"
        )
    check_checksums(folder)
    return TrainState(
        iteration=facts["iteration"],
        position=facts["position"],
        seconds=facts["seconds"],
        identity=RunIdentity(**facts["identity"]),
        scaler=facts["scaler"],
        tensors=load_file(folder / "tensors.safetensors"),
    )


def _set_aside(folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.torn")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(folder, aside)


def _remove(folder: Path) -> None:
    """Rename first: a kill in between must not leave a half-deleted folder under a state's name."""
    doomed = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(folder, doomed)
    shutil.rmtree(doomed)
