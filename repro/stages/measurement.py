"""What a measurement on images needs, whatever it measures: device, metrics, finished stages, where results go."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from repro.harness import settings
from repro.harness.experiment import Experiment
from repro.harness.files import ROOT, digest_file, digest_folder
from repro.harness.options import RunOptions
from repro.harness.profile import Execution, Profile
from repro.harness.provenance import OpenRun, git_stamp, start_run
from repro.stages import hub
from repro.stages.device import torch_device
from repro.stages.store import StageStore
from repro.stages.work import LEASES, Leases, work_through
from repro.worlds.base import World, load_world

T = TypeVar("T", bound=Experiment)
Options = TypeVar("Options", bound=RunOptions)


@dataclass(frozen=True)
class Measurement(Generic[T, Options]):
    """An experiment, the profile that it is measured in, and the options of the command."""

    table: T
    profile: Profile
    options: Options

    @cached_property
    def store(self) -> StageStore:
        """Finished stages of this and earlier runs."""
        return StageStore(self.options.work, stamp=git_stamp(ROOT))

    @cached_property
    def device(self) -> torch.device:
        """Where networks run."""
        return torch_device(self.options.device)

    @cached_property
    def world(self) -> World:
        """Prompts, references and metrics of the profile."""
        return load_world(self.profile, ROOT)

    @property
    def execution(self) -> Execution:
        """How images are made.

        Raises:
            ExperimentError: the profile does not say.
        """
        return self.profile.required(self.profile.execution, "batch size and dtype of images")

    @cached_property
    def extractor(self) -> torch.nn.Module:
        """Network whose features FID-E compares."""
        return self.world.extractor(self.device)

    @cached_property
    def pipeline_folder(self) -> Path:
        """The teacher's pipeline; one of the Hub is downloaded where it is not in the cache.

        Raises:
            WeightsError: it is not to be had.
        """
        weights = self.profile.weights
        ships = not self.profile.scorers
        return ROOT / weights.pipeline if ships else hub.require(weights.base, ROOT, hub.pipeline_files())

    @cached_property
    def pipeline_digest(self) -> str:
        """Hash of the pipeline's files; of a published one, of those that are loaded."""
        folder = self.pipeline_folder
        return hub.digest(folder) if self.profile.scorers else digest_folder(folder)

    @property
    def records_path(self) -> Path:
        """Where the records go."""
        return self.options.out / "records" / f"{self.profile.stem(self.table.key)}.jsonl"

    @property
    def grid_path(self) -> Path:
        """Where the picture of samples goes."""
        return self.options.out / "figures" / f"{self.profile.stem(self.table.key)}_samples.png"

    def open(self, config: Mapping[str, Any]) -> OpenRun:
        """Start the clock of a run."""
        key, profile, command = self.table.key, self.profile.name, self.options.command
        return start_run(table=key, profile=profile, config=config, command=command, folder=ROOT)

    def check_replaced(self, config: Mapping[str, Any]) -> None:
        """Refuse to replace the records of other settings.

        Raises:
            UsageError: it was not asked for; says what differs.
        """
        settings.check_replaced(self.records_path, config, self.options)

    def is_done(self, stage: str, config: Mapping[str, Any]) -> bool:
        """Whether this very measurement was finished here and its files are as it left them; then says so."""
        if not self._stands(stage, config):
            return False
        print(f"nothing to do: {self.records_path} holds exactly this measurement", file=sys.stderr)
        return True

    def finish(self, stage: str, config: Mapping[str, Any], write: Callable[[], None]) -> None:
        """Write what the measurement leaves, in one of the processes that measured it, and remember that it is done."""

        def do(_: str) -> None:
            write()
            self.store.finish(stage, config, self._left())

        leases = Leases(self.store.folder(stage, config) / LEASES)
        work_through({"records": 1}, leases, done=lambda _: self._stands(stage, config), do=do)

    def _stands(self, stage: str, config: Mapping[str, Any]) -> bool:
        if not self.store.finished(stage, config) or not self.records_path.exists() or not self.grid_path.exists():
            return False
        return self.store.result(stage, config) == self._left()

    def _left(self) -> dict[str, str]:
        return {"records": digest_file(self.records_path), "grid": digest_file(self.grid_path)}
