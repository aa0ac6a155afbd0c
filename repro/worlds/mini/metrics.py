"""The metrics of the mini world: those of its tables, and those that are tried on images of known quality beside them.

Distances of sets compare features of EfficientNet-Lite0 with those of other scenes, as they are (FID-E, KID-E) or
through the VAE: what the VAE does to every image is then no part of the distance.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from repro.metrics import FrechetDistance, Metric, Prompt
from repro.metrics.trials import SetStatistics, Statistic, Trials, frechet_of, kid_of, mean_of, spread_of
from repro.worlds.base import References
from repro.worlds.mini.detail import Detail, TopBand
from repro.worlds.mini.placement import placement_of
from repro.worlds.mini.scene_accuracy import SceneAccuracy
from repro.worlds.mini.scene_score import PLACES, SceneScore
from repro.worlds.mini.scenes import render, sample_scene

FEATURES = "fid_e.features"
REPEATED = ("short",)  # sets whose captions repeat; of the 9,024 of two objects hardly any occurs twice in a table
TRIED_MEANS = ("scene_score", "contour_error", "colour_error", "detail", "top_band", "scene_accuracy", "mini_clip")


def of_tables(network: nn.Module, prompt_set: str, references: References) -> list[Metric]:
    """Those of a set of prompts in a table.

    Args:
        network: whose features distances compare.
        prompt_set: gives the reference scenes.
        references: their features, and the VAE.
    """
    decoded = references.decoded_features(prompt_set, lambda: network)
    statistics: dict[str, Statistic] = {
        "fid_e_decoded": frechet_of(FEATURES, decoded),
        "kid_e_decoded": kid_of(FEATURES, decoded),
    }
    if prompt_set in REPEATED:
        statistics["placement"] = placement_of(PLACES)
    return [
        *_of_images(references),
        FrechetDistance(network, references.features(prompt_set, lambda: network)),
        SetStatistics(statistics, (FEATURES, PLACES), reference={"decoded": _digest(decoded)}),
    ]


def tried(network: nn.Module, prompt_sets: Sequence[str], references: References, others: Sequence[Metric]) -> Trials:
    """Those of the tables and more, against the reference scenes of all sets together.

    Args:
        network: whose features distances compare.
        prompt_sets: whose reference scenes are pooled.
        references: their features, and the VAE.
        others: further metrics with a value for each image.
    """
    raw = torch.cat([references.features(name, lambda: network) for name in prompt_sets])
    decoded = torch.cat([references.decoded_features(name, lambda: network) for name in prompt_sets])
    return Trials(
        (*_of_images(references), TopBand(), *others, FrechetDistance(network, raw)),
        {
            **{key: mean_of(key) for key in TRIED_MEANS},
            "fid_e": frechet_of(FEATURES, raw),
            "fid_e_decoded": frechet_of(FEATURES, decoded),
            "kid_e": kid_of(FEATURES, raw),
            "kid_e_decoded": kid_of(FEATURES, decoded),
            "feature_spread": spread_of(FEATURES),
            "placement": placement_of(PLACES),
        },
    )


def _of_images(references: References) -> list[Metric]:
    """With a value for each image."""

    def shown(prompts: Sequence[Prompt]) -> Tensor:
        """Scenes behind captions as the VAE shows them, in [-1, 1]."""
        pixels = np.stack([render(sample_scene(prompt["seed"], prompt["kind"])) for prompt in prompts])
        return references.through(torch.from_numpy(pixels).permute(0, 3, 1, 2)).float() / 127.5 - 1

    return [SceneScore(), SceneAccuracy(), Detail(shown, reference={"vae": references.vae})]


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.contiguous().numpy().tobytes()).hexdigest()
