"""What measuring needs to know of a world: prompts, references, training images, metrics."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from repro.harness.profile import Profile
from repro.metrics import Metric, Prompt
from repro.worlds.sources import ImageSource


class World(Protocol):
    """A source of prompts and images with the metrics that suit it; a profile names one."""

    @property
    def profile(self) -> Profile:
        """Gives the counts."""
        ...

    @property
    def root(self) -> Path:
        """The checkout; paths in the profile are relative to it."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What prompts, references and training images follow from, as plain data."""
        ...

    def prompts(self, prompt_set: str) -> list[dict[str, Any]]:
        """``caption``, ``kind`` and image ``seed`` of every image, the same for every row."""
        ...

    def reference(self, prompt_set: str) -> Iterator[Tensor]:
        """Batches of real images, uint8 (B, 3, H, W)."""
        ...

    def real_images(self, prompts: Sequence[Prompt]) -> Tensor:
        """The real images behind prompts of this world, (B, 3, H, W) in [-1, 1]."""
        ...

    def captions(self, count: int) -> list[str]:
        """Captions for a clock, all different, so that none is encoded for free."""
        ...

    def image_source(self, name: str, side: int, count: int) -> ImageSource:
        """Square images of a side in pixels, as many of ``count`` as there are.

        Raises:
            UnknownNameError: this world has no such source; the message lists the nearest ones.
        """
        ...

    def training_images(self) -> tuple[Sequence[Tensor], list[str], str]:
        """Images to distil on, their captions, and a name for the fingerprint of the latent cache."""
        ...

    def metric_inputs(self) -> dict[str, Any]:
        """What the metrics follow from: versions and hashes of their weights.

        Raises:
            WeightsError: a weight file is missing or truncated.
        """
        ...

    def per_image_metrics(self, device: torch.device) -> list[Metric]:
        """Metrics with a value for every image."""
        ...

    def extractor(self, device: torch.device) -> nn.Module:
        """Feature network of the set metric."""
        ...

    def set_metric(self, extractor: nn.Module, reference: Tensor) -> Metric:
        """Distance of the whole set to reference features (M, D)."""
        ...


def load_world(profile: Profile, root: Path) -> World:
    """The world that a profile names, as "module:Class".

    Raises:
        ExperimentError: it names none.
    """
    module, _, name = profile.required(profile.data.world, "world of prompts and images").partition(":")
    world: World = getattr(import_module(module), name)(profile, root)
    return world
