"""What the runner asks of the mini world: prompts, reference images, training images and metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.harness.experiment import UnknownNameError
from repro.harness.files import digest_folder
from repro.harness.needs import Need, PromptPlan
from repro.harness.profile import Profile
from repro.metrics import ClipScore, EfficientNetLite0, Metric, Prompt
from repro.metrics.clip_score import load_clip
from repro.metrics.external import Scorer
from repro.metrics.fid import WEIGHTS_SHA256, packaged_weights, read_weights
from repro.metrics.trials import Trials
from repro.worlds.base import References
from repro.worlds.mini.data import HELD_OUT_SEEDS, IMAGE_SIZE, TRAIN_SEEDS, render_scenes
from repro.worlds.mini.metrics import of_tables, tried
from repro.worlds.mini.scenes import Kind, Scene, changed, render, sample_scene
from repro.worlds.real_images import ReadImage
from repro.worlds.sources import ImageSource, photographs

VERSION = 1  # raise it when a scene of the same seed looks different
METRICS_VERSION = 2  # raise it when a metric gives another value for the same images
_PROMPT_KINDS: dict[str, tuple[Kind, ...]] = {"short": ("single", "count"), "compositional": ("position",)}
_OFFSETS = {"short": 0, "compositional": 100_000}  # into the held-out seeds
_REFERENCE_OFFSET = 500_000


@dataclass(frozen=True, slots=True)
class MiniWorld:
    """Scenes that nothing was trained on, for prompts and references; the training range for distillation.

    Attributes:
        profile: gives the counts.
        root: the checkout, where the VAE and the mini-CLIP lie.
    """

    profile: Profile
    root: Path

    def fingerprint(self) -> dict[str, Any]:
        """What prompts and references follow from."""
        return {"world": "scenes", "version": VERSION, "size": IMAGE_SIZE}

    def prompts(self, prompt_set: str) -> list[dict[str, Any]]:
        """Captions with their kind and image seed, the same for every row.

        Raises:
            ValueError: the mini world has no such prompt set.
        """
        if prompt_set not in _PROMPT_KINDS:
            raise ValueError(f"the mini world has prompt sets {', '.join(_PROMPT_KINDS)}, not {prompt_set!r}")
        scenes = self._scenes(prompt_set, 0, self.profile.images_per_set)
        return [{"caption": scene.caption, "kind": scene.kind, "seed": scene.seed} for scene in scenes]

    def reference(self, prompt_set: str) -> Iterator[Tensor]:
        """Rendered scenes with captions of the same distribution: batches of uint8 (B, 3, 64, 64)."""
        scenes = self._scenes(prompt_set, _REFERENCE_OFFSET, self.profile.data.reference_images)
        for start in range(0, len(scenes), 50):
            pixels = np.stack([render(scene, IMAGE_SIZE) for scene in scenes[start : start + 50]])
            yield torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def check_real_images(self, prompts: Sequence[Prompt], read: ReadImage | None = None) -> None:
        """Scenes are drawn: none is missing."""

    def real_images(self, prompts: Sequence[Prompt], read: ReadImage) -> Tensor:
        """The scenes behind the captions, (B, 3, 64, 64) in [-1, 1]; nothing is read."""
        pixels = [torch.from_numpy(render(sample_scene(prompt["seed"], prompt["kind"]))) for prompt in prompts]
        return torch.stack(pixels).permute(0, 3, 1, 2) / 127.5 - 1

    def captions(self, count: int) -> list[str]:
        """The first different captions of the training range, for a clock."""
        found: dict[str, None] = {}
        seeds = iter(TRAIN_SEEDS)
        while len(found) < count:
            found[sample_scene(next(seeds)).caption] = None
        return list(found)

    def image_source(self, name: str, side: int, count: int) -> ImageSource:
        """Held-out scenes of all kinds drawn at any size, or photographs, which the VAE has never seen.

        Raises:
            UnknownNameError: the name is neither ``scenes`` nor ``photographs``.
        """
        sources = {"scenes": _held_out_scenes, "photographs": photographs}
        if name not in sources:
            raise UnknownNameError("source of images", name, sources)
        return sources[name](side, count)

    def image_needs(self) -> tuple[Need, ...]:
        """None: scenes are drawn, and photographs come with packages."""
        return ()

    def training_images(self) -> tuple[Tensor, list[str], str]:
        """Images (N, 3, 64, 64) of uint8, their captions, and a name for the fingerprint of the latent cache."""
        count = self.profile.data.training_images
        scenes = render_scenes(TRAIN_SEEDS, count)
        return scenes.images, scenes.captions, f"scenes version {VERSION}, {count} from seed {TRAIN_SEEDS.start}"

    def metric_inputs(self) -> dict[str, Any]:
        """Versions of the metrics and hashes of their weights, which are read on the way.

        Raises:
            WeightsError: a weight file is missing or truncated.
        """
        load_clip(self._clip)
        read_weights(packaged_weights())
        return {
            "version": METRICS_VERSION,
            "clip": digest_folder(self._clip),
            "fid_e": WEIGHTS_SHA256,
            "vae": digest_folder(self.root / self.profile.weights.pipeline / "vae"),
        }

    def metrics(self, prompt_set: str, device: torch.device, references: References) -> list[Metric]:
        """Scene score, its errors and its binary form, detail, distances and placement."""
        return of_tables(self.extractor(device), prompt_set, references)

    def external_scorers(self, prompt_set: str, device: torch.device) -> list[Scorer]:
        """None: its metrics ship with it."""
        return []

    def check(self) -> None:
        """Read the weights of the metrics."""
        self.metric_inputs()

    def prompt_plans(self) -> list[PromptPlan]:
        """Scenes are drawn from seeds: nothing is read."""
        reference = f"{self.profile.data.reference_images:,} rendered scenes"
        return [
            PromptPlan(key=sets.key, images=self.profile.images_per_set, source="drawn from seeds", reference=reference)
            for sets in self.profile.prompt_sets
        ]

    def needs(self) -> list[Need]:
        """Nothing that does not ship."""
        return []

    def extractor(self, device: torch.device) -> torch.nn.Module:
        """EfficientNet-Lite0, the feature network of FID-E."""
        return EfficientNetLite0().to(device)

    def trials(self, device: torch.device, references: References) -> Trials:
        """The metrics of the tables, and those that failed or that no claim may use."""
        names = [prompts.key for prompts in self.profile.prompt_sets]
        return tried(self.extractor(device), names, references, [ClipScore(self._clip, device=device)])

    def changed(self, prompt: Prompt, change: str) -> Prompt:
        """The prompt of a scene with a caption that is wrong in one word, where it has such a word."""
        return {**prompt, "caption": changed(prompt["caption"], change, prompt["seed"])}

    @property
    def _clip(self) -> Path:
        return self.root / self.profile.required(self.profile.weights.clip, "CLIP that scores images")

    def _scenes(self, prompt_set: str, offset: int, count: int) -> list[Scene]:
        kinds = _PROMPT_KINDS[prompt_set]
        first = HELD_OUT_SEEDS.start + _OFFSETS[prompt_set] + offset
        return [sample_scene(first + index, kinds[index % len(kinds)]) for index in range(count)]


def _held_out_scenes(side: int, count: int) -> ImageSource:
    first = HELD_OUT_SEEDS.start

    def image(index: int) -> Tensor:
        pixels = render(sample_scene(first + index), side)
        return torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1

    return ImageSource(count, side, f"scenes {first} to {first + count - 1} at {side} px", image)
