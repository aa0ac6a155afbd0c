"""Where a number comes from: commit, versions, command, time, memory."""

import hashlib
import json
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from repro.harness.files import canonical_json, digest_json
from repro.harness.records import Run

PLACES = ("--out", "--work")  # options that say where files lie

WHEEL = "swd-suite"
PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "torchmetrics",
    "open_clip_torch",
    "timm",
    "numpy",
)


@dataclass(frozen=True, slots=True)
class GitState:
    """Commit of the checkout, and whether anything in it differs from that commit."""

    commit: str | None
    dirty: bool | None


def git_stamp(folder: Path) -> dict[str, Any]:
    """The state of the checkout as plain data, for stages that outlive the run which did their work."""
    return asdict(git_state(folder))


def git_state(folder: Path) -> GitState:
    """State of the checkout whose root is ``folder``; both None where it is none, or before the first commit.

    A folder within somebody else's checkout, such as an environment there that the wheel was installed into, is none:
    that repository's commit says nothing of this project.

    Modified and untracked files both count as dirty, but for what git ignores and for `paper_tables/`: no measurement
    reads that folder, and one command may write several of its pages.
    """
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root is None or Path(root.removesuffix("\n")).resolve() != folder.resolve():
        return GitState(None, None)
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ":/", ":(top,exclude)paper_tables")
    if commit is None or status is None:
        return GitState(None, None)
    return GitState(commit.strip(), bool(status.strip()))


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the installed ones among ``packages``, without importing them."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def installed() -> dict[str, str]:
    """Version of this project's wheel with a hash over its files' hashes; empty where it is not installed as one."""
    try:
        wheel = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError:
        return {}
    files = wheel.read_text("RECORD") or ""
    return {WHEEL: f"{wheel.version}, sha256 {hashlib.sha256(files.encode()).hexdigest()[:16]}"}


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far, or of the largest child that has ended."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB, macOS bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run that has started. Git is asked at the start: what the run itself writes is not counted as dirty."""

    table: str
    profile: str
    config: Mapping[str, Any]
    command: str
    git: GitState
    start: str
    clock: float

    @property
    def id(self) -> str:
        """Identity for the records: start time and config hash."""
        return f"{self.start.replace('-', '').replace(':', '')}-{digest_json(self.config)[:8]}"

    def close(
        self,
        *,
        device: str,
        dtype: str,
        data_hash: str,
        weights_hash: str,
        reused: Iterable[Mapping[str, Any]] = (),
        figures: Mapping[str, str] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Run:
        """The finished run, with wall time since the start and peak memory of the process.

        Args:
            device: name of the device.
            dtype: of the networks.
            data_hash: of prompts, seeds and references.
            weights_hash: of all networks, metrics included.
            reused: stamps (``commit``, ``dirty``) of stages that earlier runs finished.
            figures: digests of figures that only the run itself can draw, by kind.
            metrics: what values follow from, by prompt set and metric.
        """
        stamps = list(reused)
        return Run(
            run=self.id,
            table=self.table,
            profile=self.profile,
            commit=self.git.commit,
            dirty=self.git.dirty or any(stamp.get("dirty") for stamp in stamps),
            stage_commits=tuple(sorted({str(stamp["commit"]) for stamp in stamps if stamp.get("commit")})),
            config=json.loads(canonical_json(self.config)),
            config_hash=digest_json(self.config),
            versions=versions() if self.git.commit else {**versions(), **installed()},
            device=device,
            dtype=dtype,
            data_hash=data_hash,
            weights_hash=weights_hash,
            command=self.command,
            start=self.start,
            wall_seconds=round(time.monotonic() - self.clock, 1),
            peak_memory_bytes=peak_memory_bytes(),
            figures=dict(figures or {}),
            metrics=json.loads(canonical_json(metrics or {})),
        )


def start_run(*, table: str, profile: str, config: Mapping[str, Any], command: str, folder: Path) -> OpenRun:
    """Open a run now.

    Args:
        table: key of the experiment.
        profile: in which it is measured.
        config: all that its numbers follow from, as plain data.
        command: that was typed; where it puts files is left out, for that is a matter of one machine.
        folder: root of the checkout whose commit is recorded; outside one, version and hash of the wheel are.

    Raises:
        TypeError: the config holds something that is not plain data.
    """
    digest_json(config)  # fails before the work, not after it
    start = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return OpenRun(
        table=table,
        profile=profile,
        config=config,
        command=_without_places(command),
        git=git_state(folder),
        start=start,
        clock=time.monotonic(),
    )


def _without_places(command: str) -> str:
    command = command.encode(errors="backslashreplace").decode()  # names of files need not be UTF-8
    kept, words = [], iter(shlex.split(command))
    for word in words:
        if word in PLACES:
            next(words, None)
        elif word.partition("=")[0] not in PLACES:
            kept.append(word)
    return shlex.join(kept)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
