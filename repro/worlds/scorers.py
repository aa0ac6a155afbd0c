"""Metrics by name: from what a profile declares to what measures. Nothing is loaded before it is asked for.

| name | measures | weights | further weights, in ``settings`` |
|---|---|---|---|
| `pickscore` | PS of the paper | PickScore_v1 | `processor` |
| `clipscore` | CS of the paper | CLIP ViT-H-14, laion2B | |
| `image_reward` | IR of the paper | ImageReward-v1.0 | `tokenizer` |
| `fid` | FID, FID-infinity, KID (with real images) | Inception of FID | |
| `diversity` | mean distance between seeds of a prompt | Inception of FID, or DINOv2 ViT-L/14 | |
| `geneval` | GenEval | its detector, converted | `colors`: CLIP ViT-L/14 of OpenAI |
| `fd_dinov2` | Frechet distance of DINOv2 features | DINOv2 ViT-L/14 | |
| `cmmd` | CMMD | CLIP ViT-L/14 at 336 px | |
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from repro.harness.experiment import UnknownNameError
from repro.harness.profile import Scorer
from repro.harness.systems import HubFile
from repro.metrics import weights
from repro.metrics.base import Metric, WeightsError
from repro.metrics.reference import Features, Reference

WITHOUT_WEIGHTS: Mapping[str, list[str]] = {  # settings that name a folder whose weights play no part
    "processor": ["preprocessor_config.json", "tokenizer.json|vocab.json"],
    "tokenizer": ["tokenizer.json|vocab.txt"],
}
ReferenceOf = Callable[[Features], Reference]


@dataclass(frozen=True, slots=True)
class Request:
    """What a metric is built from.

    Attributes:
        places: file or folder, or name on the hub, of the weights and of further weights by the name of their setting.
        revisions: of those on the hub.
        settings: that are no weights.
        device: where networks run.
        reference: statistics of real images under a network's features.
    """

    places: Mapping[str, str]
    revisions: Mapping[str, str | None]
    settings: Mapping[str, Any]
    device: torch.device
    reference: ReferenceOf

    def folder(self, name: str = "weights", files: tuple[str, ...] | None = None) -> Path:
        """Where weights lie on this machine.

        Raises:
            WeightsError: they are not to be had.
        """
        return weights.resolve(self.places[name], revision=self.revisions[name], files=files)


def sources(scorer: Scorer) -> dict[str, HubFile]:
    """All weights of a metric: its own, and those that its settings name."""
    found = {"weights": scorer.weights} if scorer.weights is not None else {}
    return {**found, **{name: value for name, value in scorer.settings.items() if isinstance(value, HubFile)}}


def build(scorer: Scorer, root: Path, device: torch.device, reference: ReferenceOf) -> Metric:
    """The metric that a profile declares.

    Args:
        scorer: its name, weights and settings.
        root: what relative paths are relative to: the data folder.
        device: where its networks run.
        reference: gives statistics of real images; only asked by distances of sets.

    Raises:
        UnknownNameError: no such metric.
        WeightsError: its weights are missing or broken.
    """
    if scorer.name not in BUILDERS:
        raise UnknownNameError("metric", scorer.name, BUILDERS)
    named = sources(scorer)
    places = {name: _local(source, root) for name, source in named.items()}
    revisions = {name: None if Path(places[name]).exists() else source.revision for name, source in named.items()}
    settings = {name: value for name, value in scorer.settings.items() if name not in named}
    return BUILDERS[scorer.name](Request(places, revisions, settings, device, reference))


def identity(scorer: Scorer, root: Path) -> dict[str, Any]:
    """Settings of a metric and hashes of its weights, as plain data.

    Raises:
        UnknownNameError: no such metric.
        WeightsError: weights are not to be had.
    """
    if scorer.name not in BUILDERS and not is_external(scorer):
        raise UnknownNameError("metric", scorer.name, BUILDERS)
    named = sources(scorer)
    return {
        "name": scorer.name,
        "weights": {name: _hashes(name, source, root, scorer.get) for name, source in named.items()},
        "settings": {name: value for name, value in scorer.settings.items() if name not in named},
    }


def is_external(scorer: Scorer) -> bool:
    """Whether a program of another environment scores the images: `repro.worlds.external_scorers`."""
    return "command" in scorer.settings or scorer.settings.get("backend") == "official"


def resolved(source: HubFile, root: Path, files: Sequence[str]) -> Path:
    """Folder of weights on this machine.

    Raises:
        WeightsError: they are not to be had.
    """
    place = _local(source, root)
    return weights.resolve(place, revision=None if Path(place).exists() else source.revision, files=files)


def is_here(source: HubFile, root: Path) -> bool:
    """Whether weights are on this machine; the network is not asked."""
    return Path(_local(source, root)).exists() or weights.is_cached(source.repo, source.revision, source.file)


def compares(scorer: Scorer) -> bool:
    """Whether a metric needs real images."""
    return scorer.name in COMPARED and not is_external(scorer)


def _hashes(name: str, source: HubFile, root: Path, get: str) -> dict[str, str]:
    """Of the files that matter: those of a processor or tokenizer by their names, else the weights."""
    place = Path(_local(source, root))
    patterns = [source.file] if source.file else WITHOUT_WEIGHTS.get(name)
    if not place.exists():
        if get:
            raise WeightsError(f"{place} is not here. Get it: {get.format(folder=root)}")
        place = weights.resolve(source.repo, revision=source.revision, files=patterns)
    weights.check(place, None if place.is_file() else patterns)
    if place.is_file():
        return {place.name: weights.digest(place)}
    return weights.digests(place, patterns or [f"*{suffix}" for suffix in _suffixes(place)])


def _suffixes(folder: Path) -> list[str]:
    found = {file.suffix for file in folder.rglob("*") if file.is_file()}
    return sorted(found & weights.WEIGHT_SUFFIXES)


def _local(source: HubFile, root: Path) -> str:
    path = (root / source.repo / source.file) if source.file else root / source.repo
    return str(path) if path.exists() else source.repo


def _pickscore(request: Request) -> Metric:
    from repro.metrics.pickscore import PROCESSOR, pick_score

    return pick_score(
        request.places["weights"],
        processor=request.places.get("processor", PROCESSOR),
        revision=request.revisions["weights"],
        processor_revision=request.revisions.get("processor"),
        device=request.device,
    )


def _clipscore(request: Request) -> Metric:
    from repro.metrics.clip_vit_h import clip_vit_h_score

    return clip_vit_h_score(request.places["weights"], revision=request.revisions["weights"], device=request.device)


def _image_reward(request: Request) -> Metric:
    from repro.metrics.image_reward import TOKENIZER, ImageReward

    return ImageReward(
        request.places["weights"],
        tokenizer=request.places.get("tokenizer", TOKENIZER),
        revision=request.revisions["weights"],
        tokenizer_revision=request.revisions.get("tokenizer"),
        device=request.device,
    )


def _fid(request: Request) -> Metric:
    from repro.metrics.distances import FeatureDistances, SetDistance
    from repro.metrics.frechet import Fid
    from repro.metrics.kid import Kid

    features = _inception(request)
    reference = request.reference(features)
    distances: list[SetDistance] = [Fid(reference, device=request.device)]
    if reference.features is not None:
        distances.append(Kid(reference))
    return FeatureDistances(features, distances, key="fid")


def _diversity(request: Request) -> Metric:
    from repro.metrics.distances import FeatureDistances
    from repro.metrics.diversity import Diversity

    is_inception = Path(request.places["weights"]).suffix in weights.WEIGHT_SUFFIXES  # one file; DINOv2 is a folder
    features = _inception(request) if is_inception else _dino(request)
    return FeatureDistances(features, [Diversity()], key="diversity")


def _inception(request: Request) -> Features:
    from repro.metrics.inception import InceptionFeatures

    return InceptionFeatures(request.folder(), recipe=request.settings.get("recipe", "swd"), device=request.device)


def _geneval(request: Request) -> Metric:
    from repro.metrics.geneval.metric import load_geneval

    return load_geneval(request.folder(), request.folder("colors"), device=request.device)


def _fd_dinov2(request: Request) -> Metric:
    from repro.metrics.distances import FeatureDistances
    from repro.metrics.frechet import Fid

    features = _dino(request)
    reference = request.reference(features)
    return FeatureDistances(features, [Fid(reference, key="fd_dinov2", device=request.device)], key="fd_dinov2")


def _dino(request: Request) -> Features:
    from repro.metrics.dino import DinoFeatures

    return DinoFeatures(request.places["weights"], revision=request.revisions["weights"], device=request.device)


def _cmmd(request: Request) -> Metric:
    from repro.metrics.cmmd import ClipImageFeatures, Cmmd
    from repro.metrics.distances import FeatureDistances

    place, revision = request.places["weights"], request.revisions["weights"]
    features = ClipImageFeatures(place, revision=revision, device=request.device)
    return FeatureDistances(features, [Cmmd(request.reference(features))], key="cmmd")


COMPARED = frozenset({"fid", "fd_dinov2", "cmmd"})
BUILDERS: Mapping[str, Callable[[Request], Metric]] = {
    "pickscore": _pickscore,
    "clipscore": _clipscore,
    "image_reward": _image_reward,
    "fid": _fid,
    "diversity": _diversity,
    "geneval": _geneval,
    "fd_dinov2": _fd_dinov2,
    "cmmd": _cmmd,
}
