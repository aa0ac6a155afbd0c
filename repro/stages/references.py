"""Reference stage: what the real images of a prompt set are under a network, measured once and kept."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from PIL.Image import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_file, digest_json
from repro.metrics import extract_features
from repro.metrics.reference import Features, Reference, ReferenceFileError, build_reference, load_reference
from repro.stages.autoencoders import Autoencoder, load_vae, reconstructed, vae_digest
from repro.stages.image_files import LIMITS, ImageFileError, decode_image, digest_bytes, read_bytes
from repro.stages.image_sets import READERS
from repro.stages.store import StageStore
from repro.worlds.base import Through, World
from repro.worlds.references import ReferenceImages, ReferenceStatistics
from swd.files import write_tensors

STAGE, FEATURES_STAGE, VERSION = "reference-statistics", "reference", 1
BATCH = 32  # images in memory at once


@dataclass(frozen=True)
class StoredReferences:
    """References of a world, kept in a store (`repro.worlds.base.References`).

    Attributes:
        store: where finished stages are.
        world: whose real images they are; its profile names the VAE.
        device: where the VAE runs.
    """

    store: StageStore
    world: World
    device: torch.device

    def features(self, prompt_set: str, extractor: Callable[[], nn.Module]) -> Tensor:
        """Features (M, D) of the real images of a prompt set."""
        return self._features(prompt_set, extractor, {}, lambda images: images)

    def decoded_features(self, prompt_set: str, extractor: Callable[[], nn.Module]) -> Tensor:
        """The same of the real images through the VAE."""
        return self._features(prompt_set, extractor, {"vae": self.vae}, self.through)

    @cached_property
    def vae(self) -> str:
        """Identity of the VAE: its config and weights."""
        return vae_digest(self._loaded)

    def through(self, images: Tensor) -> Tensor:
        """What the VAE makes of images: uint8 (B, 3, H, W) to the same, on the CPU."""
        return reconstructed(self._on_device, images)

    @cached_property
    def _loaded(self) -> Autoencoder:
        return load_vae(self.world.profile, self.world.root)

    @cached_property
    def _on_device(self) -> Autoencoder:
        return self._loaded.to(self.device)

    def _features(
        self, prompt_set: str, extractor: Callable[[], nn.Module], seen: dict[str, str], through: Through
    ) -> Tensor:
        inputs = {
            "version": VERSION,
            **self.world.fingerprint(),
            "prompts": prompt_set,
            "count": self.world.profile.data.reference_images,
            "metrics": self.world.metric_inputs(),
            **seen,
        }
        path = self.store.folder(FEATURES_STAGE, inputs) / "features.safetensors"

        def encode() -> None:
            features = extract_features(map(through, self.world.reference(prompt_set)), extractor())
            write_tensors(path, {"features": features})

        make = partial(self.store.once, FEATURES_STAGE, inputs, encode, files=(path.name,))
        return self.store.read(FEATURES_STAGE, inputs, make, lambda: load_file(path)["features"])

    def statistics(self, source: ReferenceImages | ReferenceStatistics, features: Features) -> Reference:
        """Statistics of files of images, which are measured, or of an npz of others', which is read.

        Raises:
            ExperimentError: an image cannot be read, or statistics are of other features; the file is named.
        """
        try:
            if isinstance(source, ReferenceStatistics):
                return load_reference(source.path, features)
            return self._measured(source, features)
        except ReferenceFileError as error:
            raise ExperimentError(str(error)) from error

    def _measured(self, source: ReferenceImages, features: Features) -> Reference:
        digests = _digests(source)
        named = [(file.name, digest) for file, digest in zip(source.files, digests, strict=True)]
        inputs = {"version": VERSION, "images": digest_json(named), "features": features.inputs()}
        path = self.store.folder(STAGE, inputs) / "reference.npz"
        files = [path.with_suffix(suffix).name for suffix in (".npz", ".f32", ".json")]
        build = partial(_build, source, digests, features, path)
        make = partial(self.store.once, STAGE, inputs, build, files=files)
        return self.store.read(STAGE, inputs, make, lambda: load_reference(path, features))


def _build(source: ReferenceImages, digests: Sequence[str], features: Features, path: Path) -> None:
    build_reference(_batches(source, digests), features, path)


def _batches(source: ReferenceImages, digests: Sequence[str]) -> Iterator[list[Image]]:
    for start in range(0, len(source.files), BATCH):
        part = slice(start, start + BATCH)
        yield [_read(file, digest) for file, digest in zip(source.files[part], digests[part], strict=True)]


def _read(file: Path, digest: str) -> Image:
    try:
        data = read_bytes(file, LIMITS)
        if digest_bytes(data) != digest:
            raise ExperimentError(f"reference image {file} was replaced since it was first read: run this again")
        return decode_image(data)
    except ImageFileError as error:
        raise ExperimentError(f"reference image {file} cannot be read: {error}") from error


def _digests(source: ReferenceImages) -> list[str]:
    """Of the contents; of 30,000 photographs, 5 GB, in seconds where the disk is quick."""
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(digest_file, source.files))
