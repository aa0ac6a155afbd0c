"""A run of an experiment in a profile: its clock, and where its records go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.harness import records
from repro.harness.experiment import Experiment
from repro.harness.files import ROOT
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, start_run


def open_run(experiment: Experiment, profile: Profile, options: RunOptions, config: Mapping[str, Any]) -> OpenRun:
    """Start the clock of a run of this checkout.

    Args:
        experiment: what is measured.
        profile: in which.
        options: of the command.
        config: all that its numbers follow from, as plain data.

    Raises:
        TypeError: the config holds something that is not plain data.
    """
    return start_run(table=experiment.key, profile=profile.name, config=config, command=options.command, folder=ROOT)


def records_path(experiment: Experiment, profile: Profile, options: RunOptions) -> Path:
    """The file that the records of a run go to."""
    return records.path_of(options.out, profile.stem(experiment.key))
