"""Networks of a profile that come with the repository: its teacher, and its students by their adapters."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.harness.experiment import Row
from repro.harness.files import ROOT
from repro.harness.plan import resolve
from repro.stages.images import Generate, check_pipeline, generator_of, load_pipeline, network_inputs
from repro.stages.measurement import Measurement
from repro.stages.students import check_adapter, shipped_adapter, shipped_training


@dataclass(frozen=True)
class ShippedNetworks:
    """The rows of a measurement that are sampled as they ship."""

    measurement: Measurement[Any, Any]

    def adapter(self, row: Row) -> Path | None:
        """Folder of a student's adapter; None for the teacher.

        Raises:
            ExperimentError: it is not there, or the profile ships none.
        """
        return None if row.is_teacher else shipped_adapter(ROOT, self.measurement.profile, row)

    def check(self, rows: Iterable[Row]) -> None:
        """Refuse a pipeline or an adapter that is missing, broken or another's, before any work.

        Raises:
            PipelineError: no pipeline, or a truncated one.
            ExperimentError: an adapter is missing, broken, of another network or of another training.
        """
        folder, profile = self.measurement.pipeline_folder, self.measurement.profile
        check_pipeline(folder)
        for row in rows:
            if (adapter := self.adapter(row)) is not None:
                check_adapter(adapter, folder, shipped_training(profile, row))

    def inputs(self, row: Row) -> dict[str, Any]:
        """What the images of a row follow from, beside prompts and execution."""
        plan = resolve(self.measurement.profile, row).sample
        return network_inputs(self.measurement.pipeline_digest, self.adapter(row), plan)

    def generator(self, row: Row) -> Generate:
        """What makes its images, of a pipeline of its own."""
        measurement = self.measurement
        pipeline = load_pipeline(measurement.pipeline_folder, measurement.execution.dtype, measurement.device)
        return generator_of(resolve(measurement.profile, row).sample, pipeline, self.adapter(row))
