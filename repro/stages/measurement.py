"""What a measurement on images needs, whatever it measures: device, metrics, finished stages, where results go."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from repro.harness import runs, settings
from repro.harness.experiment import Experiment
from repro.harness.files import ROOT, digest_file, digest_folder
from repro.harness.options import RunOptions
from repro.harness.plots import figure_path
from repro.harness.profile import Execution, Profile
from repro.harness.provenance import OpenRun
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
        return StageStore.stamped(self.options.work)

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
        return runs.records_path(self.table, self.profile, self.options)

    @property
    def grid_path(self) -> Path:
        """Where the picture of samples goes."""
        return figure_path(self.options.out, self.profile.stem(self.table.key), "samples")

    @property
    def pictures(self) -> Mapping[str, Path]:
        """What a measurement leaves beside its records, by the names in the mark of its stage."""
        return {"grid": self.grid_path}

    def open(self, config: Mapping[str, Any]) -> OpenRun:
        """Start the clock of a run."""
        return runs.open_run(self.table, self.profile, self.options, config)

    def once(self, stage: str, opened: OpenRun, measure: Callable[[OpenRun], Callable[[], None]]) -> Path:
        """Measure, if this very measurement was not finished here: together, where several processes are asked for it.

        Args:
            stage: under whose name it is remembered.
            opened: the run; its config says all that the measurement follows from.
            measure: does what every process takes part in, and gives what one of them then does: write the records
                and draw the pictures.

        Returns:
            The records file.

        Raises:
            UsageError: it holds the records of other settings; says what differs.
        """
        settings.check_replaced(self.records_path, opened.config, self.options)
        if self.is_done(stage, opened.config):
            return self.records_path
        write = measure(opened)

        def do(_: str) -> None:
            write()
            self.keep(stage, opened.config)

        leases = Leases(self.store.folder(stage, opened.config) / LEASES)
        work_through({"records": 1}, leases, done=lambda _: self._stands(stage, opened.config), do=do)
        return self.records_path

    def is_done(self, stage: str, config: Mapping[str, Any]) -> bool:
        """Whether this very measurement was finished here and its files are as it left them; then says so."""
        if not self._stands(stage, config):
            return False
        print(f"nothing to do: {self.records_path} holds exactly this measurement", file=sys.stderr)
        return True

    def keep(self, stage: str, config: Mapping[str, Any]) -> None:
        """Remember that the measurement is done, and what it left."""
        self.store.finish(stage, config, self._left())

    def _stands(self, stage: str, config: Mapping[str, Any]) -> bool:
        if not (self.store.finished(stage, config) and all(path.exists() for path in self._written.values())):
            return False
        return self.store.result(stage, config) == self._left()

    @property
    def _written(self) -> dict[str, Path]:
        return {"records": self.records_path, **self.pictures}

    def _left(self) -> dict[str, str]:
        return {name: digest_file(path) for name, path in self._written.items()}
