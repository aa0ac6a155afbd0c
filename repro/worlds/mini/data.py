"""Rendered scenes as tensors, and who may look at which seeds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from repro.worlds.mini.scenes import Scene, render, sample_scene

IMAGE_SIZE = 64
SAMPLE = 16  # so many images or latents tell whether data is the same

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
    images = cached(cache, count, _pixels(scenes[:SAMPLE]), lambda: _pixels(tqdm(scenes, desc="render scenes")))
    return Scenes(images, [scene.caption for scene in scenes])


def cached(path: Path | None, count: int, first: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """A tensor (N, ...) from a file that holds just this, or else made now and written there.

    Args:
        path: a safetensors file; None keeps nothing.
        count: N.
        first: the first rows as they are made today. A file that holds others is of another making.
        make: gives all rows.
    """
    if path is not None and path.exists():
        found = load_file(path).get("rows")
        fits = found is not None and found.shape == (count, *first.shape[1:])
        if fits and torch.allclose(found[: len(first)].float(), first.float(), rtol=0.02, atol=0.02):
            return found
    rows = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"rows": rows}, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
    return rows


def _pixels(scenes: Iterable[Scene]) -> Tensor:
    pixels = np.stack([render(scene, IMAGE_SIZE) for scene in scenes])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
