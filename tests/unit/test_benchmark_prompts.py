import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.harness.experiment import ExperimentError, PromptSet, UnknownNameError
from repro.harness.profile import Profile
from repro.profiles import load_profile
from repro.worlds.base import load_world
from repro.worlds.benchmark_prompts import BenchmarkPrompts
from repro.worlds.data_folder import BENCHMARKS
from repro.worlds.prompts import PromptFileError, image_seed
from repro.worlds.references import ReferenceImages, ReferenceStatistics, read_statistics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for benchmark in BENCHMARKS.values():
        (tmp_path / benchmark.folder).mkdir()
    rows = [f"{number},COCO_val2014_{number // 2:012d}.jpg,caption {number}" for number in range(20)]
    (tmp_path / "coco2014" / "coco.csv").write_text("\n".join([",file_name,caption", *rows]) + "\n")
    meta = {name: {"category": category, "prompt": name * 3} for name, category in (("a", "art"), ("b", "people"))}
    (tmp_path / "mjhq30k" / "meta_data.json").write_text(json.dumps(meta))
    include = [{"class": "cow", "count": 1}]
    lines = [{"tag": "single_object", "include": include, "prompt": f"a photo of {n} cows"} for n in range(3)]
    (tmp_path / "geneval" / "evaluation_metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "partiprompts" / "PartiPrompts.tsv").write_text(
        "Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\t\n"
    )
    return tmp_path


def profile(count: int = 20, sets: tuple[str, ...] = ("coco", "geneval")) -> Profile:
    return replace(
        load_profile("sd35-medium"),
        images_per_set=count,
        prompt_sets=tuple(PromptSet(name, name, reported="COCO 2014") for name in sets),
    )


def images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(folder / name)


def test_each_set_has_its_prompts_and_images(data: Path) -> None:
    world = BenchmarkPrompts(profile(), ROOT, data=data)
    counts = {name: len(world.prompts(name)) for name in ("coco", "geneval", "diversity", "parti")}
    assert counts == {"coco": 20, "geneval": 3 * 4, "diversity": 20 * 4, "parti": 1}
    for name in counts:
        found = world.prompts(name)
        assert len({prompt["id"] for prompt in found}) == len({prompt["seed"] for prompt in found}) == counts[name]
    parti = world.prompts("parti")[0]
    assert (parti["caption"], parti["category"], parti["kind"]) == ("bond", "Abstract", "Basic")


def test_images_of_a_prompt_share_all_but_id_and_seed(data: Path) -> None:
    world = BenchmarkPrompts(profile(), ROOT, data=data)
    first = world.prompts("geneval")[:4]
    name = first[0]["prompt_id"]
    assert [prompt["id"] for prompt in first] == [f"{name}-{index}" for index in range(4)]
    assert [prompt["seed"] for prompt in first] == [image_seed(name, index) for index in range(4)]
    assert {prompt["caption"] for prompt in first} == {first[0]["geneval"]["prompt"]}
    coco = {prompt["id"]: prompt["seed"] for prompt in world.prompts("coco")}
    assert all(coco[p["prompt_id"]] == p["seed"] for p in world.prompts("diversity") if p["id"].endswith("-0"))


def test_fewer_prompts_are_the_beginning_of_more(data: Path) -> None:
    world = BenchmarkPrompts(profile(), ROOT, data=data)
    fewer = BenchmarkPrompts(replace(profile(), data=replace(profile().data, num_prompts=5)), ROOT, data=data)
    assert fewer.prompts("coco") == world.prompts("coco")[:5]
    assert fewer.prompts("diversity") == world.prompts("diversity")[:20]
    assert len(fewer.prompts("geneval")) == 12
    assert fewer.fingerprint() != world.fingerprint()


def test_the_order_of_the_file_plays_no_part(data: Path) -> None:
    before = BenchmarkPrompts(profile(), ROOT, data=data)
    prompts, fingerprint = before.prompts("coco"), before.fingerprint()
    path = data / "coco2014" / "coco.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\r\n".join([header, *reversed(rows)]), encoding="utf-8-sig")
    after = BenchmarkPrompts(profile(), ROOT, data=data)
    assert after.prompts("coco") == prompts
    assert after.fingerprint() == fingerprint
    path.write_text(path.read_text(encoding="utf-8-sig").replace("caption 3", "Caption 3"))
    assert BenchmarkPrompts(profile(), ROOT, data=data).fingerprint() != fingerprint


def test_too_few_prompts_are_named_with_what_to_do(data: Path) -> None:
    world = BenchmarkPrompts(profile(30_000), ROOT, data=data)
    with pytest.raises(PromptFileError, match=r"coco.csv has 20 prompts, 30000 are asked for; --num-prompts 20 takes"):
        world.check()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_missing_file_comes_with_its_command_and_licence(tmp_path: Path, name: str) -> None:
    world = BenchmarkPrompts(profile(sets=(name,)), ROOT, data=tmp_path)
    folder = tmp_path / BENCHMARKS[name].folder
    with pytest.raises(
        PromptFileError, match=rf"no prompts in {folder}: expected .*(curl|hf) .*{folder}.*\(licence: ."
    ):
        world.check()


def test_the_commands_are_those_of_the_documentation() -> None:
    text = (ROOT / "docs" / "data.md").read_text()
    for benchmark in BENCHMARKS.values():
        assert benchmark.folder in text
        assert benchmark.licence in text
        for source in (benchmark.prompts_from, benchmark.images_from):
            for word in source.split():
                assert not word.startswith("http") or word in text
                assert "/MJHQ" not in word or word in text


def test_the_environment_names_the_folder(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWD_DATA", str(data))
    named = replace(profile(), data=replace(profile().data, world="repro.worlds.benchmark_prompts:BenchmarkPrompts"))
    assert len(load_world(named, ROOT).prompts("coco")) == 20
    monkeypatch.delenv("SWD_DATA")
    with pytest.raises(PromptFileError, match=rf"no prompts in {data / 'data' / 'coco2014'}"):
        BenchmarkPrompts(profile(), data).prompts("coco")


def test_files_of_ones_own(data: Path) -> None:
    own = data / "mine.txt"
    own.write_text("a cat\na dog\n")
    files = {"mine": str(own), "coco": str(data / "other.csv")}
    named = replace(profile(2), data=replace(profile(2).data, prompt_files=files))
    world = BenchmarkPrompts(named, ROOT, data=data)
    assert {prompt["caption"] for prompt in world.prompts("mine")} == {"a cat", "a dog"}
    (data / "other.csv").write_text("caption\nx\ny\n")
    assert {prompt["caption"] for prompt in world.prompts("coco")} == {"x", "y"}
    with pytest.raises(UnknownNameError, match="unknown prompt set 'cocoo'; did you mean coco"):
        world.prompts("cocoo")
    of_coco = replace(named, data=replace(named.data, prompt_files={"diversity": str(own)}))
    with pytest.raises(
        PromptFileError, match=r"prompts of diversity are drawn from coco: name a file of that, not .*mine"
    ):
        BenchmarkPrompts(of_coco, ROOT, data=data).prompts("diversity")


def test_captions_of_a_clock_differ(data: Path) -> None:
    world = BenchmarkPrompts(profile(), ROOT, data=data)
    assert len(set(world.captions(7))) == 7
    with pytest.raises(PromptFileError, match="20 different captions, expected 21"):
        world.captions(21)


def test_nothing_is_trained_on_benchmarks(data: Path) -> None:
    with pytest.raises(ExperimentError, match=r"no training images.*--adapters DIR"):
        BenchmarkPrompts(profile(), ROOT, data=data).training_images()


def test_reference_images_are_those_behind_the_prompts_each_once(data: Path) -> None:
    folder = data / "coco2014" / "val2014"
    images(folder, *[f"COCO_val2014_{number:012d}.jpg" for number in range(12)])  # two more than are named
    found = BenchmarkPrompts(profile(), ROOT, data=data).reference("coco")
    assert isinstance(found, ReferenceImages)
    assert sorted(found.files) == [folder / f"COCO_val2014_{number:012d}.jpg" for number in range(10)]
    (folder / "COCO_val2014_000000000004.jpg").unlink()
    with pytest.raises(
        PromptFileError, match=r"1 of 10 images .*val2014: the first is COCO_val2014_000000000004 \(exp"
    ):
        BenchmarkPrompts(profile(), ROOT, data=data).reference("coco")


@pytest.mark.parametrize("inner", ["mjhq30k_imgs", "."])
def test_mjhq_images_lie_in_folders_of_categories(data: Path, inner: str) -> None:
    folder = data / "mjhq30k" / inner
    images(folder, "art/a.jpg", "people/b.jpg")
    found = BenchmarkPrompts(profile(2), ROOT, data=data).reference("mjhq")
    assert isinstance(found, ReferenceImages)
    assert sorted(found.files) == [folder / "art" / "a.jpg", folder / "people" / "b.jpg"]


def test_without_names_all_images_are_references(data: Path) -> None:
    (data / "coco2014" / "coco.csv").write_text("caption\nx\ny\n")
    images(data / "coco2014" / "images", "1.png", "2.webp", "3.JPG")
    found = BenchmarkPrompts(profile(2), ROOT, data=data).reference("coco")
    assert isinstance(found, ReferenceImages)
    assert [path.name for path in found.files] == ["1.png", "2.webp", "3.JPG"]


def test_statistics_win_over_images(data: Path) -> None:
    path = data / "coco2014" / "fid_stats_mscoco256_val.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.eye(3))
    images(data / "coco2014" / "val2014", "a.jpg")
    assert BenchmarkPrompts(profile(), ROOT, data=data).reference("coco") == ReferenceStatistics(path, 3)


def test_no_references_come_with_the_command(data: Path) -> None:
    world = BenchmarkPrompts(profile(), ROOT, data=data)
    with pytest.raises(PromptFileError, match=r"no reference images in .*val2014 or images .*curl .*val2014.zip"):
        world.reference("coco")
    with pytest.raises(PromptFileError, match="prompt set geneval has no real images; expected coco or mjhq"):
        world.reference("geneval")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, "holds mu; expected mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"mu is \(3,\) and sigma \(4, 4\); expected \(D,\) and \(D, D\)"),
        ({"mu": np.zeros((3, 1)), "sigma": np.eye(3)}, r"mu is \(3, 1\)"),
        ({"mu": np.zeros(3, int), "sigma": np.eye(3)}, "mu.npy is of int64"),
        ({"mu": np.array([None] * 3), "sigma": np.eye(3)}, "mu.npy is of object"),
    ],
)
def test_statistics_are_checked(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(PromptFileError, match=message):
        read_statistics(tmp_path / "s.npz")


@pytest.mark.parametrize("keep", [0, 100, -30])
def test_truncated_statistics_are_refused(tmp_path: Path, keep: int) -> None:
    np.savez(tmp_path / "s.npz", mu=np.zeros(3), sigma=np.eye(3))
    data = (tmp_path / "s.npz").read_bytes()
    (tmp_path / "s.npz").write_bytes(data[:keep])
    with pytest.raises(PromptFileError, match=r"cannot read .*s.npz: .*; expected an npz with mu"):
        read_statistics(tmp_path / "s.npz")
