"""Measurements of images: one pass feeds all of them, and each image keeps its own value where it has one.

| metric | measures | needs |
|---|---|---|
| `FrechetDistance` | distance of the set to a reference set: FID-E, FID-infinity | a packaged EfficientNet-Lite0 |
| `ClipScore` | agreement of image and caption | an open_clip folder |
| `SceneAccuracy` | whether the caption is true of the image, by kind | scenes of the mini world |
"""

from repro.metrics.base import Estimate, EvaluationResult, Metric, Prompt, WeightsError, evaluate
from repro.metrics.clip_score import ClipScore
from repro.metrics.fid import EfficientNetLite0, FrechetDistance, extract_features
from repro.worlds.mini.scene_accuracy import SceneAccuracy

__all__ = [
    "ClipScore",
    "EfficientNetLite0",
    "Estimate",
    "EvaluationResult",
    "FrechetDistance",
    "Metric",
    "Prompt",
    "SceneAccuracy",
    "WeightsError",
    "evaluate",
    "extract_features",
]
