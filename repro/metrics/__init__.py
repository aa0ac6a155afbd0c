"""Measurements of images: one pass feeds all of them, and each image keeps its own value where it has one.

A world may add its own; the mini world does, with scene accuracy.

| metric | measures | needs |
|---|---|---|
| `FrechetDistance` | distance of the set to a reference set: FID-E, FID-infinity | a packaged EfficientNet-Lite0 |
| `ClipScore` | agreement of image and caption | an open_clip folder |
| `distances.FeatureDistances` of `Fid`, `Kid` | FID by recipe (the paper's first), its limit, KID | Inception's file |
| the same of `Fid` (`DinoFeatures`), `Cmmd` (`ClipImageFeatures`) | FD-DINOv2, CMMD | DINOv2, CLIP ViT-L/14 at 336 |
| the same of `Diversity` | how far images of one prompt and other seeds lie apart | any of these networks |
| `pickscore.pick_score` | which image people would pick for a caption | PickScore_v1 |
| `clip_vit_h.clip_vit_h_score` | agreement of image and caption, as the paper's CS | CLIP ViT-H-14 of laion2B |
| `image_reward.ImageReward` | what people prefer, as a reward | ImageReward.pt |
| `external.ExternalScore` | HPSv3 and others | a command in an environment of its own |
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
