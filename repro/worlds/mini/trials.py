"""The metrics of the mini world that are tried on images of known quality: those of its tables and the graded ones."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from repro.metrics import FrechetDistance, Metric, Prompt
from repro.metrics.base import Measured
from repro.metrics.fid import extract_features
from repro.metrics.trials import Statistic, Trials, frechet_of, kid_of, mean_of, spread_of
from repro.worlds.base import Through
from repro.worlds.mini.detail import Detail, TopBand
from repro.worlds.mini.placement import spreads
from repro.worlds.mini.scene_score import PLACES, SceneScore
from repro.worlds.mini.scenes import render, sample_scene

FEATURES = "fid_e.features"
MEANS = ("scene_score", "contour_error", "colour_error", "detail", "top_band", "scene_accuracy", "mini_clip")


def trials(real: Sequence[Tensor], network: nn.Module, per_image: Sequence[Metric], through: Through) -> Trials:
    """All of them.

    Args:
        real: reference scenes, batches of uint8 (B, 3, H, W).
        network: feature network of FID-E.
        per_image: metrics of the tables with a value for each image.
        through: the VAE.
    """
    raw = extract_features(real, network)
    decoded = extract_features(map(through, real), network)

    def shown(prompts: Sequence[Prompt]) -> Tensor:
        """Scenes behind captions as the VAE shows them, in [-1, 1]."""
        pixels = np.stack([render(sample_scene(prompt["seed"], prompt["kind"])) for prompt in prompts])
        return through(torch.from_numpy(pixels).permute(0, 3, 1, 2)).float() / 127.5 - 1

    features = FrechetDistance(network, raw)
    return Trials(
        (SceneScore(), Detail(shown, reference={}), TopBand(), *per_image, features),
        {
            **{key: mean_of(key) for key in MEANS},
            "fid_e": frechet_of(FEATURES, raw),
            "fid_e_decoded": frechet_of(FEATURES, decoded),
            "kid_e": kid_of(FEATURES, raw),
            "kid_e_decoded": kid_of(FEATURES, decoded),
            "feature_spread": spread_of(FEATURES),
            "placement": placement_of(PLACES),
        },
    )


def placement_of(places: str) -> Statistic:
    """Standard deviation of places within a caption in percent of the side, as `Placement` shows it."""

    def statistic(images: Measured) -> float:
        found = spreads(images.column(places), [str(prompt["caption"]) for prompt in images.prompts]).values()
        weights = sum(spread.images - 1 for spread in found)
        if not weights:
            return float("nan")
        variance = sum((spread.images - 1) * spread.variance for spread in found) / weights
        return 100 * float(variance) ** 0.5

    return statistic
