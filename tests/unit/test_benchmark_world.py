"""The world of the paper's own numbers with its metrics: what is declared is built, hashed, and named if missing."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_checkpoints import dino_folder, photograph

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "smoke"))

from benchmark_world import CAPTIONS, build_data, build_metrics, profile

from repro.harness.experiment import UnknownNameError
from repro.harness.files import digest_file
from repro.harness.needs import Need
from repro.harness.profile import Profile, Scorer
from repro.harness.systems import HubFile
from repro.metrics import image_reward, pickscore, weights
from repro.metrics.base import MemoryMeasured, WeightsError
from repro.metrics.dino import DinoFeatures
from repro.metrics.distances import FeatureDistances
from repro.metrics.inception import InceptionFeatures
from repro.metrics.reference import Features, Reference
from repro.profiles import load_profile
from repro.worlds import scorers
from repro.worlds.benchmarks import Benchmarks
from repro.worlds.prompts.entry import PromptFileError
from repro.worlds.references import ReferenceImages, ReferenceStatistics

CPU = torch.device("cpu")
COMMIT = "c0ffee"
PICTURES = [photograph(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build_data(folder / "data")
    build_metrics(folder / "models")
    return folder


@pytest.fixture
def medium(folder: Path) -> Profile:
    return profile(folder, "sd35-medium")


@pytest.fixture
def bare(tmp_path: Path) -> Profile:
    """As it is shipped, with an empty data folder."""
    real = load_profile("sd35-medium")
    return replace(real, data=replace(real.data, folder=str(tmp_path)))


def unasked(features: Features) -> Reference:
    raise AssertionError(f"{features.name} is compared with nothing")


def moments(features: Features) -> Reference:
    size = features.dimensions
    return Reference(np.zeros(size), np.eye(size), 9, None, "0" * 64, None)


def named(profile: Profile, name: str) -> Scorer:
    return next(scorer for scorer in profile.scorers if scorer.name == name)


class Statistics:
    """Keeps what references were asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def features(self, *_: object) -> torch.Tensor:
        raise AssertionError("the mini world's")

    def statistics(self, source: object, features: Features) -> Reference:
        self.asked.append(source)
        return moments(features)


def test_each_set_has_the_metrics_that_are_declared_for_it(medium: Profile, folder: Path) -> None:
    world, references = Benchmarks(medium, folder), Statistics()
    found = {prompts.key: world.metrics(prompts.key, CPU, references) for prompts in medium.prompt_sets}
    keys = {name: [metric.key for metric in metrics] for name, metrics in found.items()}
    assert keys["coco"] == keys["mjhq"] == ["pickscore", "clipscore", "image_reward", "fid"]
    assert (keys["geneval"], keys["diversity"]) == (["geneval"], ["diversity"])
    assert [type(source) for source in references.asked] == [ReferenceImages] * 2
    assert all(len(source.files) == len(CAPTIONS) for source in references.asked)  # type: ignore[attr-defined]
    prompts = world.prompts("coco")[:2]
    for metric in found["coco"][:3]:
        assert np.isfinite(metric.measure(PICTURES[:2], prompts)[metric.key]).all()


@pytest.mark.parametrize("source", ["inception.pth", "dino"])
def test_diversity_takes_inception_s_file_or_a_folder_of_dinov2(source: str, folder: Path, tmp_path: Path) -> None:
    place = folder / "models" / source if source == "inception.pth" else dino_folder(tmp_path / source)
    metric = scorers.build(Scorer("diversity", HubFile(str(place)), ()), folder, CPU, unasked)
    assert isinstance(metric, FeatureDistances)
    assert isinstance(metric.features, InceptionFeatures if source == "inception.pth" else DinoFeatures)
    prompts = [{"id": str(i), "prompt_id": str(i // 2), "seed": i % 2} for i in range(4)]
    features = metric.measure([*PICTURES[:2], PICTURES[2], PICTURES[2]], prompts)[metric.name]
    value = metric.estimates(MemoryMeasured(prompts, {metric.name: [features]}))["diversity"].value
    unit = features.astype(np.float64) / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    assert value == pytest.approx((1 - unit[0] @ unit[1]) / 2, rel=1e-4)  # the second prompt has one image twice
    assert metric.inputs()["features"]["network"].startswith("Inception" if source == "inception.pth" else "DINOv2")


def test_a_metric_of_another_name_is_refused(medium: Profile, folder: Path) -> None:
    unknown = replace(medium.scorers[0], name="pikscore")
    with pytest.raises(UnknownNameError, match="unknown metric 'pikscore'; did you mean pickscore"):
        scorers.build(unknown, folder, CPU, unasked)
    with pytest.raises(UnknownNameError, match="did you mean pickscore"):
        scorers.identity(unknown, folder)


def test_the_identity_of_a_metric_is_the_contents_of_its_files(medium: Profile, folder: Path) -> None:
    world, models = Benchmarks(medium, folder), folder / "models"
    found = world.metric_inputs()
    assert found.keys() == {scorer.name for scorer in medium.scorers}
    assert found["fid"]["weights"] == {"weights": {"inception.pth": digest_file(models / "inception.pth")}}
    assert found["fid"]["settings"] == {"recipe": "swd"}
    assert found["pickscore"]["weights"]["processor"].keys() == {"preprocessor_config.json", "tokenizer.json"}
    before = found["image_reward"]["weights"]["weights"]
    path = models / "image_reward" / "ImageReward.pt"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same length
        changed = scorers.identity(named(medium, "image_reward"), folder)["weights"]["weights"]
    finally:
        path.write_bytes(whole)
    assert changed.keys() == before.keys()
    assert changed != before


@pytest.mark.parametrize(
    ("name", "own", "further"),
    [
        ("pickscore", "a/pickscore", {"processor": HubFile("a/processor", revision="v2")}),
        ("image_reward", "a/reward", {"tokenizer": HubFile("a/bert", revision="v2")}),
    ],
)
def test_revisions_of_weights_and_of_what_goes_with_them_reach_the_loader(
    name: str, own: str, further: dict[str, HubFile], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[str, str | None]] = set()
    places = {
        "a/pickscore": "pickscore",
        "a/processor": "processor",
        "a/reward": "image_reward",
        "a/bert": "image_reward",
    }

    def resolve(source: str, *, revision: str | None, files: object = None) -> Path:
        asked.add((source, revision))
        return folder / "models" / places[source]

    for module in (pickscore, image_reward, weights):
        monkeypatch.setattr(module, "resolve", resolve)
    scorer = Scorer(name, HubFile(own, revision=COMMIT), (), settings=further)
    assert scorers.build(scorer, folder, CPU, unasked).key == name
    (other,) = further.values()
    assert asked == {(own, COMMIT), (other.repo, "v2")}
    asked.clear()
    scorers.identity(scorer, folder)
    assert asked == {(own, COMMIT), (other.repo, "v2")}


@pytest.mark.parametrize("name", ["clipscore", "diversity"])
def test_a_revision_reaches_the_hub(name: str, tmp_path: Path) -> None:
    scorer = Scorer(name, HubFile("someone/model", revision=COMMIT), ())
    with pytest.raises(WeightsError, match=f"hf download someone/model --revision {COMMIT}"):
        scorers.build(scorer, tmp_path, CPU, unasked)


def test_a_path_keeps_no_revision(folder: Path) -> None:
    clip = str(folder / "models" / "clip")
    assert scorers.build(Scorer("clipscore", HubFile(clip, revision=COMMIT), ()), folder, CPU, unasked).key
    with pytest.raises(WeightsError, match="is a path and has no revision"):
        weights.resolve(clip, revision=COMMIT)


def test_all_is_here_and_the_plan_says_so(medium: Profile, folder: Path) -> None:
    world = Benchmarks(medium, folder)
    world.check()
    needs = list(world.needs())
    assert [need.name for need in needs if need.missing] == []
    assert {need.why for need in needs if need.why.startswith("metric")} == {
        *(f"metric {scorer.name}" for scorer in medium.scorers),
        "metric pickscore (processor)",
        "metric image_reward (tokenizer)",
        "metric geneval (colors)",
    }
    plans = {plan.key: plan for plan in world.prompt_plans()}
    assert (plans["coco"].images, plans["coco"].reference) == (len(CAPTIONS), f"{len(CAPTIONS)} real images")
    assert (plans["geneval"].images, plans["geneval"].reference) == (3 * 4, "nothing")
    assert plans["diversity"].images == 4 * len(CAPTIONS)


def test_each_thing_that_is_missing_has_its_own_command(bare: Profile, tmp_path: Path) -> None:
    world = Benchmarks(bare, tmp_path)
    missing: dict[str, Need] = {need.why: need for need in world.needs() if need.missing}
    for why, words in {
        "prompts coco": f"curl -L --create-dirs -o {tmp_path}/coco2014/coco.csv",
        "prompts mjhq": "hf download playgroundai/MJHQ-30K meta_data.json",
        "FID on coco": f"unzip -q -d {tmp_path}/coco2014",
        "metric pickscore": "hf download yuvalkirstain/PickScore_v1",
        "metric pickscore (processor)": "hf download laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        "metric image_reward (tokenizer)": "hf download google-bert/bert-base-uncased",
        "metric fid": f"-o {tmp_path}/weights/pt_inception-2015-12-05-6726825d.pth",
        "metric geneval": f"repro.metrics.geneval.convert {tmp_path}/weights/mask2former.pth",
        "metric geneval (colors)": "hf download timm/vit_large_patch14_clip_224.openai",
    }.items():
        assert words in missing[why].command, why
    assert all(need.command for need in missing.values())
    plans = {plan.key: plan for plan in world.prompt_plans()}
    assert (plans["coco"].images, plans["geneval"].images, plans["diversity"].images) == (30_000, 553 * 4, 500 * 4)
    assert plans["coco"].source == "coco2014/not there"
    assert plans["coco"].reference == "not there"
    with pytest.raises(PromptFileError, match=r"no prompts in .*coco2014"):
        world.check()


def test_weights_that_are_missing_are_known_before_any_work(medium: Profile, folder: Path) -> None:
    gone = replace(named(medium, "geneval"), weights=HubFile("weights/geneval-detector"), get="make {folder}/it")
    others = tuple(scorer for scorer in medium.scorers if scorer.name != "geneval")
    with pytest.raises(WeightsError, match=f"geneval-detector is not here. Get it: make {folder}/data/it"):
        Benchmarks(replace(medium, scorers=(*others, gone)), folder).check()


def test_statistics_may_stand_in_for_real_images(medium: Profile, folder: Path, tmp_path: Path) -> None:
    build_data(tmp_path)
    np.savez(tmp_path / "coco2014" / "reference.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    world = Benchmarks(replace(medium, data=replace(medium.data, folder=str(tmp_path))), folder)
    assert isinstance(world.reference("coco"), ReferenceStatistics)
    assert {plan.key: plan.reference for plan in world.prompt_plans()}["coco"] == "reference.npz"
