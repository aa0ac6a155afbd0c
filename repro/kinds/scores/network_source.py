"""Images of a network of the profile: the teacher's own or another in its place, or a student."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.harness.experiment import Row
from repro.harness.files import ROOT, digest_folder
from repro.harness.plan import network_folder, resolve
from repro.metrics import Prompt
from repro.stages.images import (
    ENLARGED,
    Generate,
    ImageSet,
    generator_of,
    load_pipeline,
    network_inputs,
    put_network,
)

if TYPE_CHECKING:
    from repro.kinds.scores.sources import Studio


@dataclass(frozen=True)
class NetworkSource:
    """A network of the profile, through our own sampler; images of a smaller side are enlarged to the whole one."""

    studio: "Studio"
    row: Row
    adapter: Path | None

    def inputs(self) -> dict[str, Any]:
        """Pipeline, adapter and steps; the network where it is another, and how small images are enlarged."""
        plan = resolve(self.studio.profile, self.row).sample
        found = network_inputs(self.studio.measurement.pipeline_digest, self.adapter, plan)
        enlarged = {} if self.row.share == 1 else {"enlarged": ENLARGED}
        return found | enlarged | ({} if self._network is None else {"network": digest_folder(self._network)})

    def images(self, prompt_set: str, prompts: Sequence[Prompt], place: str = "") -> ImageSet:
        """Sampled."""
        label, side = f"{place}{self.row.key}, {prompt_set}: images", self.studio.profile.data.resolution
        return self.studio.made(label, prompts, self.inputs(), self._make, side=side)

    def missing_bytes(self, prompts: Sequence[Prompt]) -> float:
        """Of those that are not sampled yet."""
        return self.studio.missing_bytes(prompts, self.inputs(), side=self.studio.profile.data.resolution)

    def has(self, prompt_set: str) -> bool:
        """Any set can be sampled."""
        return True

    def close(self) -> None:
        """Nothing is kept between sets of prompts but encoded captions."""

    def _make(self) -> Generate:
        measurement, profile = self.studio.measurement, self.studio.profile
        pipeline = load_pipeline(measurement.pipeline_folder, measurement.execution.dtype, measurement.device)
        if self._network is not None:
            put_network(pipeline, self._network)
        plan = resolve(profile, self.row).sample
        side = None if self.row.share == 1 else profile.data.resolution
        return generator_of(plan, pipeline, self.adapter, self.studio.encoded, side=side)

    @property
    def _network(self) -> Path | None:
        """That takes the place of the pipeline's own."""
        folder = network_folder(self.studio.profile, self.row)
        return ROOT / folder if folder else None
