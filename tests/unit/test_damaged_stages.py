"""Files of finished stages that were cut, zeroed, edited or removed: found when asked for, and made again."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_image_stage import INPUTS, PROMPTS, Level, Painter
from test_reference import ColourFeatures, pictures
from torch import Tensor

from repro.harness.experiment import ExperimentError
from repro.metrics.base import EvaluationResult
from repro.metrics.reference import Reference
from repro.stages import references
from repro.stages.images import ImageSet, make_images
from repro.stages.references import StoredReferences
from repro.stages.scores import score_images
from repro.stages.store import MARKER, StageStore
from repro.worlds.references import ReferenceImages

Damage = Callable[[Path], None]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def zeroed(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def removed(path: Path) -> None:
    path.unlink()


each_damage = pytest.mark.parametrize("damage", [cut, zeroed, flipped, removed], ids=lambda damage: damage.__name__)


def images_of(folder: Path, painter: Painter | None = None) -> ImageSet:
    painter = painter or Painter()
    return make_images(StageStore(folder), INPUTS, PROMPTS, lambda: painter, "")


def scored(folder: Path, metric: Level | None = None, painter: Painter | None = None) -> EvaluationResult:
    metrics = [metric or Level()]
    return score_images(StageStore(folder), images_of(folder, painter), {"metrics": 1}, lambda: metrics, label="")


def numbers(result: EvaluationResult) -> Any:
    return result.values, {key: values.tolist() for key, values in result.per_image.items()}, result.skipped


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    scored(folder)
    return folder


@pytest.fixture
def work(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "work"))


@each_damage
@pytest.mark.parametrize("file", ["000005.png", "shard-00001.jsonl"])
def test_damaged_images_are_made_again_and_no_number_moves(
    file: str, damage: Damage, work: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(work / "scores")
    shutil.rmtree(work / "measured")
    damage(only(work, f"images/*/{file}"))
    painter = Painter()
    assert numbers(scored(work, painter=painter)) == numbers(scored(whole))
    assert painter.drawn == ([104, 105, 106, 107] if file.endswith("png") else [])
    told = capsys.readouterr().err
    assert "made again" in told
    assert file in told or "files of shard-00001 are missing or cut" in told
    for name in ("000005.png", "shard-00001.jsonl"):
        assert only(work, f"images/*/{name}").read_bytes() == only(whole, f"images/*/{name}").read_bytes()
    images_of(work, Painter(stop_at=0))
    assert "made again" not in capsys.readouterr().err  # the marker is of the new files


def test_a_manifest_that_was_edited_is_not_believed(work: Path, whole: Path) -> None:
    shutil.rmtree(work / "scores")
    shutil.rmtree(work / "measured")
    manifest = only(work, "images/*/shard-00000.jsonl")
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[1] = {"id": rows[1]["id"], "skipped": "NaN pixels"}
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert numbers(scored(work)) == numbers(scored(whole))


@each_damage
def test_damaged_arrays_of_a_pass_are_measured_again(
    damage: Damage, work: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(work / "scores")
    path = only(work, "measured/*/shard-00001.safetensors")
    damage(path)
    metric = Level()
    assert numbers(scored(work, metric)) == numbers(scored(whole))
    assert metric.seen == 4
    assert ("measured again" in capsys.readouterr().err) == (damage is not removed)
    assert path.read_bytes() == only(whole, "measured/*/shard-00001.safetensors").read_bytes()


@each_damage
@pytest.mark.parametrize("file", ["values.json", MARKER])
def test_damaged_values_are_estimated_again_from_what_was_measured(
    file: str, damage: Damage, work: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(only(work, f"scores/*/{file}"))
    metric = Level()
    assert numbers(scored(work, metric)) == numbers(scored(whole))
    assert metric.seen == 0
    assert ("made again" in capsys.readouterr().err) == (damage is not removed or file == "values.json")


def test_an_edited_value_is_not_believed(work: Path, whole: Path) -> None:
    path = only(work, "scores/*/values.json")
    found = json.loads(path.read_text())
    found["values"]["level"]["value"] += 1
    path.write_text(json.dumps(found))
    assert numbers(scored(work)) == numbers(scored(whole))


def test_values_of_before_there_were_hashes_are_read_where_they_are_whole(
    work: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = only(work, f"scores/*/{MARKER}")
    old = {key: value for key, value in json.loads(marker.read_text()).items() if key not in ("files", "sha256")}
    marker.write_text(json.dumps(old))
    metric = Level()
    assert numbers(scored(work, metric)) == numbers(scored(whole))
    assert not capsys.readouterr().err
    cut(only(work, "scores/*/values.json"))
    assert numbers(scored(work, metric)) == numbers(scored(whole))
    assert "it is made again" in capsys.readouterr().err


def test_files_are_hashed_once_a_run(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, inputs = StageStore(work), {"a": 1}
    (store.folder("any", inputs) / "file").write_text("content")
    store.finish("any", inputs, {"found": 2}, files=("file", "absent"))
    assert store.finished("any", inputs)
    monkeypatch.setattr("repro.stages.store.digest_file", lambda path: pytest.fail(f"hashed {path} again"))
    assert store.finished("any", inputs)
    assert store.result("any", inputs) == {"found": 2}


def test_zeroed_pictures_of_half_the_images_are_found(work: Path, whole: Path) -> None:
    """The same sizes and nine tenths of the bytes: what a power cut leaves."""
    shutil.rmtree(work / "scores")
    shutil.rmtree(work / "measured")
    for path in sorted(work.glob("images/*/*.png"))[5:]:
        zeroed(path)
    assert numbers(scored(work)) == numbers(scored(whole))
    with Image.open(only(work, "images/*/000009.png")) as image:
        assert np.asarray(image).shape == (8, 8, 3)


class World:
    """Real images for references; nothing else is asked of it."""

    profile = SimpleNamespace(data=SimpleNamespace(reference_images=4))

    def __init__(self) -> None:
        self.asked = 0

    def fingerprint(self) -> dict[str, Any]:
        return {"world": "noise"}

    def metric_inputs(self) -> dict[str, Any]:
        return {}

    def reference(self, prompt_set: str) -> Iterator[Tensor]:
        self.asked += 1
        yield torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).reshape(4, 3, 2, 2)


@each_damage
def test_damaged_features_of_real_images_are_measured_again(
    damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world: Any = World()

    def features() -> Tensor:
        references = StoredReferences(StageStore(tmp_path), world, torch.device("cpu"))
        return references.features("any", lambda: lambda images: images.float().flatten(1)).clone()

    expected = features()
    path = only(tmp_path, "reference/*/features.safetensors")
    whole = path.read_bytes()
    damage(path)
    assert torch.equal(features(), expected)
    assert world.asked == 2
    assert path.read_bytes() == whole
    assert "features.safetensors" in capsys.readouterr().err
    features()
    assert world.asked == 2


def test_a_real_image_that_is_replaced_while_it_is_measured_is_not_kept_under_its_old_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = pictures(2)
    file = tmp_path / "0.png"
    first.save(file)
    world: Any = World()
    found = StoredReferences(StageStore(tmp_path / "work"), world, torch.device("cpu"))
    digests = references._digests

    def replaced(source: ReferenceImages) -> list[str]:
        hashed = digests(source)
        other.save(file)
        return hashed

    monkeypatch.setattr(references, "_digests", replaced)
    with pytest.raises(ExperimentError, match=r"reference image .*0.png was replaced since it was first read"):
        found.statistics(ReferenceImages((file,)), ColourFeatures())
    assert not list(tmp_path.glob(f"work/reference-statistics/*/{MARKER}"))


@pytest.mark.parametrize("damage", [cut, zeroed, flipped], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("suffix", [".npz", ".f32", ".json"])
def test_damaged_statistics_of_real_images_are_measured_again(suffix: str, damage: Damage, tmp_path: Path) -> None:
    files = []
    for number, image in enumerate(pictures(6)):
        files.append(tmp_path / f"{number}.png")
        image.save(files[-1])
    world: Any = World()

    def statistics() -> Reference:
        references = StoredReferences(StageStore(tmp_path / "work"), world, torch.device("cpu"))
        return references.statistics(ReferenceImages(tuple(files)), ColourFeatures())

    before = statistics()
    expected = np.array(before.features)  # which are a map of the file that is about to be damaged
    path = only(tmp_path / "work", f"reference-statistics/*/reference{suffix}")
    whole = path.read_bytes()
    damage(path)
    found = statistics()
    assert path.read_bytes() == whole
    assert found.sha256 == before.sha256
    np.testing.assert_array_equal(np.array(found.features), expected)
