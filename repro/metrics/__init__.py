"""Measurements of images: one pass feeds all of them, and each image keeps its own value where it has one.

A world may add its own; the mini world does, with scene accuracy.

| metric | measures | needs |
|---|---|---|
| `FrechetDistance` | distance of the set to a reference set: FID-E, FID-infinity | a packaged EfficientNet-Lite0 |
| `ClipScore` | agreement of image and caption | an open_clip folder |
"""

from repro.metrics.base import (
    Estimate,
    EvaluationResult,
    Measured,
    MemoryMeasured,
    Metric,
    Prompt,
    WeightsError,
    evaluate,
)
from repro.metrics.clip_score import ClipScore
from repro.metrics.fid import EfficientNetLite0, FrechetDistance, extract_features

__all__ = [
    "ClipScore",
    "EfficientNetLite0",
    "Estimate",
    "EvaluationResult",
    "FrechetDistance",
    "Measured",
    "MemoryMeasured",
    "Metric",
    "Prompt",
    "WeightsError",
    "evaluate",
    "extract_features",
]
