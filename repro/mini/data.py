"""Rendered scenes as tensors, and who may look at which seeds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from repro.scenes import render, sample_scene

IMAGE_SIZE = 64

# Disjoint ranges of scene seeds: nothing is measured on scenes that something was trained on.
TRAIN_SEEDS = range(0, 1_000_000)
CLIP_SEEDS = range(1_000_000, 2_000_000)
HELD_OUT_SEEDS = range(2_000_000, 3_000_000)


@dataclass(frozen=True, slots=True)
class Scenes:
    """Images (N, 3, 64, 64) of uint8 with their captions."""

    images: Tensor
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def batch(self, index: Tensor) -> Tensor:
        """Images (B, 3, 64, 64) in [-1, 1]."""
        return self.images[index].float() / 127.5 - 1


def render_scenes(seeds: range, count: int, cache: Path | None = None) -> Scenes:
    """Render the first ``count`` scenes of a seed range.

    Args:
        seeds: one of the ranges of this module.
        count: how many.
        cache: a safetensors file to read the images from, or to write them to.

    Raises:
        ValueError: the range holds fewer seeds than asked for.
    """
    if count > len(seeds):
        raise ValueError(f"{count} scenes asked of a range of {len(seeds)} seeds")
    scenes = [sample_scene(seed) for seed in seeds[:count]]
    captions = [scene.caption for scene in scenes]
    if cache is not None and cache.exists():
        return Scenes(load_file(cache)["images"], captions)
    pixels = np.stack([render(scene, IMAGE_SIZE) for scene in tqdm(scenes, desc="render scenes")])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file({"images": images}, cache.with_suffix(".tmp"))
        cache.with_suffix(".tmp").replace(cache)
    return Scenes(images, captions)
