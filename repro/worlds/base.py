"""What measuring needs to know of a world: prompts, references, training images, metrics."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from repro.harness.needs import Need, PromptPlan
from repro.harness.profile import Profile
from repro.metrics import Metric, Prompt
from repro.metrics.external import Scorer
from repro.metrics.reference import Features, Reference
from repro.metrics.trials import Trials
from repro.worlds.real_images import ReadImage
from repro.worlds.references import Reference as ReferenceSource
from repro.worlds.sources import ImageSource

Through = Callable[[Tensor], Tensor]
"""What a VAE makes of images: uint8 (B, 3, H, W) to the same."""


class References(Protocol):
    """Real images as distances of sets want them, measured once and kept; and the VAE that all images came through."""

    def features(self, prompt_set: str, extractor: Callable[[], nn.Module]) -> Tensor:
        """Features (M, D) of the real images of a prompt set."""
        ...

    def decoded_features(self, prompt_set: str, extractor: Callable[[], nn.Module]) -> Tensor:
        """The same of the real images through the VAE."""
        ...

    @property
    def vae(self) -> str:
        """Identity of the VAE."""
        ...

    def through(self, images: Tensor) -> Tensor:
        """What the VAE makes of images: uint8 (B, 3, H, W) to the same."""
        ...

    def statistics(self, source: ReferenceSource, features: Features) -> Reference:
        """Moments, and features where there are images, of real images or of a file of statistics."""
        ...


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

    def real_images(self, prompts: Sequence[Prompt], read: ReadImage) -> Tensor:
        """The real images behind prompts of this world, (B, 3, H, W) in [-1, 1].

        Args:
            prompts: of any set.
            read: decodes files, where there are any.
        """
        ...

    def check_real_images(self, prompts: Sequence[Prompt], read: ReadImage | None = None) -> None:
        """Look for the real images behind prompts.

        Args:
            prompts: of any set.
            read: decodes files, each of which is then read once; None only looks whether they are there.

        Raises:
            ExperimentError: one is missing, or cannot be read; it is named.
        """
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

    def image_needs(self) -> Iterable[Need]:
        """Files that `image_source` reads, whether or not they are there."""
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

    def metrics(self, prompt_set: str, device: torch.device, references: References) -> list[Metric]:
        """All metrics of a prompt set.

        Raises:
            WeightsError: weights are missing or broken.
        """
        ...

    def external_scorers(self, prompt_set: str, device: torch.device) -> Sequence[Scorer]:
        """Programs of other environments that score the images of a prompt set; their keys are in `metric_inputs`.

        Raises:
            WeightsError: a program or its weights are not here.
        """
        ...

    def check(self) -> None:
        """Read all prompts, and look for all weights and references, so that what is wrong is known before any work.

        Raises:
            ExperimentError: something of it is missing or broken.
            WeightsError: weights are missing or truncated.
        """
        ...

    def prompt_plans(self) -> Iterable[PromptPlan]:
        """Every set of prompts; nothing is raised where files are missing."""
        ...

    def needs(self) -> Iterable[Need]:
        """Files and weights that have to be on this machine, whether or not they are."""
        ...

    def extractor(self, device: torch.device) -> nn.Module:
        """Feature network of the set metric."""
        ...


@runtime_checkable
class TriedWorld(Protocol):
    """A world whose metrics can be tried on images of known quality."""

    def trials(self, device: torch.device, references: References) -> Trials:
        """Metrics and their numbers.

        Args:
            device: where networks run.
            references: real images of each set of prompts that distances are measured to, and the VAE.
        """
        ...

    def changed(self, prompt: Prompt, change: str) -> Prompt:
        """The prompt of an image with a caption that is wrong in one word, or as it is where it has no such word.

        Raises:
            ValueError: captions do not change in this way.
        """
        ...


def load_world(profile: Profile, root: Path) -> World:
    """The world that a profile names, as "module:Class".

    Raises:
        ExperimentError: it names none.
    """
    module, _, name = profile.required(profile.data.world, "world of prompts and images").partition(":")
    world: World = getattr(import_module(module), name)(profile, root)
    return world
