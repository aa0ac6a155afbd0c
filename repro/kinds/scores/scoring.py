"""Scores the images of a row: metrics of this process in one pass, with those that another environment computed."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from repro.harness.provenance import versions
from repro.kinds.scores.options import ScoresOptions
from repro.metrics import EvaluationResult, Metric
from repro.stages.external_scores import external_score
from repro.stages.image_sets import ImageSet
from repro.stages.measurement import Measurement
from repro.stages.references import StoredReferences
from repro.stages.scores import score_images

LIBRARIES = ("torch", "torchmetrics", "torch-fidelity", "timm", "open_clip_torch", "transformers")


@dataclass(frozen=True)
class Scoring:
    """What scores images in a measurement.

    Attributes:
        measurement: store, device, world, profile.
        loaded: metrics of the last prompt set, which stay loaded for the next row.
    """

    measurement: Measurement[Any, ScoresOptions]
    loaded: dict[str, list[Metric]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Build all metrics once and measure what images are compared with: what is broken is known before any image.

        Raises:
            ExperimentError: a real image cannot be read, or statistics are of other features.
            WeightsError: weights do not load.
        """
        for prompts in self.measurement.profile.prompt_sets:
            self._own(prompts.key)
        self.loaded.clear()

    def scores(self, prompt_set: str, images: ImageSet) -> EvaluationResult:
        """Values of an image set; measured once, read back afterwards.

        Raises:
            ScorerError: a program of another environment failed.
            WeightsError: weights are missing or broken.
        """
        measurement = self.measurement
        world, count = measurement.world, measurement.profile.data.reference_images
        inputs = {
            "metrics": world.metric_inputs(),
            "reference": {**world.fingerprint(), "count": count},
            "prompts": prompt_set,
            "versions": versions(LIBRARIES),
        }
        metrics = partial(self._metrics, prompt_set, images)
        return score_images(measurement.store, images, inputs, metrics, batch_size=measurement.execution.batch_size)

    def _metrics(self, prompt_set: str, images: ImageSet) -> list[Metric]:
        return [*self._external(prompt_set, images), *self._own(prompt_set)]

    def _external(self, prompt_set: str, images: ImageSet) -> list[Metric]:
        """Those of other environments, ahead of ours: what is wrong with a program is known early."""
        measurement, world = self.measurement, self.measurement.world
        asked = world.external_scorers(prompt_set, measurement.device)
        identities = world.metric_inputs() if asked else {}
        return [external_score(measurement.store, images, scorer, identities[scorer.key]) for scorer in asked]

    def _own(self, prompt_set: str) -> list[Metric]:
        if prompt_set not in self.loaded:
            self.loaded.clear()
            measurement = self.measurement
            references = StoredReferences(measurement.store, measurement.world, measurement.device)
            self.loaded[prompt_set] = measurement.world.metrics(prompt_set, measurement.device, references)
        return self.loaded[prompt_set]
