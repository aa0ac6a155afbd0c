"""Images on disk: made once by any number of processes, killed and resumed to the same bytes, scored in one pass."""

import errno
import gc
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
import tracemalloc
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from repro.harness.experiment import ExperimentError
from repro.metrics.base import Estimate, EvaluationResult, Measured, Prompt, Skipped, mean_estimate
from repro.stages import device, image_sets, shard_maker
from repro.stages.failures import told
from repro.stages.images import ImageSet, ImageSetError, Unusable, finished, make_images, missing_images
from repro.stages.score_shards import skipped_of, write_arrays
from repro.stages.scores import score_images
from repro.stages.store import MARKER, StageStore

PROMPTS = [{"id": f"p{i}", "caption": f"caption {i}", "seed": 100 + i} for i in range(10)]
INPUTS = {"model": "noise", "shard_size": 4}
FORK = multiprocessing.get_context("fork")


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8))


class Painter:
    """Stands in for a pipeline: noise by seed; counts what it draws, may be slow, stop, or break images."""

    def __init__(self, *, stop_at: int | None = None, broken: Sequence[int] = (), seconds: float = 0) -> None:
        self.drawn: list[int] = []
        self.sizes: list[int] = []
        self.stop_at, self.broken, self.seconds = stop_at, broken, seconds

    def __call__(self, prompts: Sequence[Prompt]) -> list[Image.Image | Unusable]:
        if self.stop_at is not None and len(self.drawn) >= self.stop_at:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        self.sizes.append(len(prompts))
        self.drawn += [prompt["seed"] for prompt in prompts]
        return [Unusable("NaN pixels") if p["seed"] in self.broken else noise(p["seed"]) for p in prompts]


class Level:
    """Mean level of each image, and its pixels as features."""

    def __init__(self, key: str = "level", version: int = 1) -> None:
        self.key, self.version, self.seen = key, version, 0

    def inputs(self) -> dict[str, Any]:
        return {"version": self.version}

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Mapping[str, np.ndarray]:
        self.seen += len(images)
        pixels = np.stack([np.asarray(image, dtype=np.float32) for image in images])
        return {self.key: pixels.mean((1, 2, 3)), f"{self.key}.pixels": pixels.reshape(len(images), -1)}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        sums = sum(block.astype(np.float64).sum() for block in measured.blocks(f"{self.key}.pixels"))
        return {self.key: mean_estimate(measured.column(self.key)), "sum": Estimate(float(sums), None, None, 0)}


def made(folder: Path, painter: Painter | None = None, **options: Any) -> ImageSet:
    painter = painter or Painter()
    inputs = {**INPUTS, **options.pop("inputs", {})}
    return make_images(StageStore(folder), inputs, PROMPTS, lambda: painter, "test", **options)


def files(folder: Path) -> dict[str, bytes]:
    """All that an image set left, by name."""
    (found,) = (folder / "images").iterdir()
    return {path.name: path.read_bytes() for path in found.iterdir() if path.is_file() and path.name != "finished.json"}


def scored(folder: Path, images: ImageSet, *metrics: Level, batch_size: int = 3) -> EvaluationResult:
    names = {metric.key: metric.version for metric in metrics}
    return score_images(StageStore(folder), images, {"metrics": names}, lambda: list(metrics), batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_images_come_in_prompt_order_and_once(tmp_path: Path, batch_size: int | None, encoding: str) -> None:
    painter = Painter()
    images = made(tmp_path, painter, batch_size=batch_size, inputs={"encoding": encoding})
    assert painter.drawn == [prompt["seed"] for prompt in PROMPTS]
    assert max(painter.sizes) == (batch_size or 4)
    batches = list(images.batches())
    assert [len(pictures) for pictures, _ in batches] == [4, 4, 2]
    for pictures, prompts in batches:
        for picture, prompt in zip(pictures, prompts, strict=True):
            assert picture.tobytes() == noise(prompt["seed"]).tobytes()
    again = make_images(StageStore(tmp_path), images.inputs, PROMPTS, lambda: pytest.fail("drawn twice"), "test")
    assert [len(pictures) for pictures, _ in again.batches()] == [4, 4, 2]


def test_a_manifest_says_what_lies_there(tmp_path: Path) -> None:
    left = files(tmp_path) if made(tmp_path) else {}
    rows = [json.loads(line) for line in left["shard-00001.jsonl"].splitlines()]
    assert [row["id"] for row in rows] == ["p4", "p5", "p6", "p7"]
    assert set(rows[0]) == {"id", "caption", "seed", "file", "bytes", "sha256", "width", "height"}
    assert (rows[0]["file"], rows[0]["width"], rows[0]["height"], rows[0]["seed"]) == ("000004.png", 8, 8, 104)


def test_the_batch_size_changes_no_byte(tmp_path: Path) -> None:
    for size in (1, 3, 4):
        made(tmp_path / str(size), batch_size=size)
    assert files(tmp_path / "1") == files(tmp_path / "3") == files(tmp_path / "4")


@pytest.mark.parametrize("moment", range(5))
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path: Path, moment: int) -> None:
    made(tmp_path / "whole")
    worker = FORK.Process(target=lambda: made(tmp_path / "killed", Painter(seconds=0.05), batch_size=2))
    worker.start()
    time.sleep(random.Random(moment).uniform(0.02, 0.2))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)
    assert worker.exitcode == -signal.SIGKILL
    made(tmp_path / "killed", batch_size=2)
    left = files(tmp_path / "killed")
    assert {name: data for name, data in left.items() if not name.startswith(".")} == files(tmp_path / "whole")


def test_two_processes_make_and_score_what_one_does(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        scored(folder, made(folder, Painter(seconds=0.02)), Level(), Level("other"))

    work(tmp_path / "one")
    workers = [FORK.Process(target=work, args=(tmp_path / "two",)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert files(tmp_path / "one") == files(tmp_path / "two")
    one, two = (next((tmp_path / name / "scores").glob("*/values.json")).read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_finished_batch_of_a_torn_shard_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, Painter(stop_at=6), batch_size=2)
    rest = Painter()
    made(tmp_path, rest, batch_size=2)
    assert rest.drawn == [106, 107, 108, 109]


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "manifest"])
def test_torn_files_are_made_again(tmp_path: Path, damage: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, Painter(stop_at=8))
    (folder,) = (tmp_path / "images").iterdir()
    victim = folder / "000005.png"
    if damage == "missing":
        victim.unlink()
    elif damage == "manifest":
        (folder / "shard-00001.jsonl").write_text('{"id": "p4", "fi')
    else:
        victim.write_bytes(victim.read_bytes()[:20] if damage == "truncated" else b"")
        (folder / "shard-00001.jsonl").unlink()
    rest = Painter()
    made(tmp_path, rest)
    assert rest.drawn == ([108, 109] if damage == "manifest" else [104, 105, 106, 107, 108, 109])
    made(tmp_path / "whole")
    assert files(tmp_path) == files(tmp_path / "whole")


def test_a_foreign_file_and_other_settings_are_named(tmp_path: Path) -> None:
    made(tmp_path)
    (folder,) = (tmp_path / "images").iterdir()
    (folder / "000010.png").write_bytes(b"of a longer run")
    with pytest.raises(ImageSetError, match=r"not of this image set: 000010\.png"):
        made(tmp_path)
    (folder / "000010.png").unlink()
    (folder / "inputs.json").write_text('{"model":"another"}\n')
    with pytest.raises(ImageSetError, match=r"begun with other settings, see inputs\.json"):
        made(tmp_path)


def test_two_prompts_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageSetError, match="two prompts have the id 'p1'"):
        make_images(StageStore(tmp_path), INPUTS, [PROMPTS[1], PROMPTS[1]], Painter, "test")


def test_room_is_asked_for_before_the_first_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shard_maker, "disk_usage", lambda _: free)
    with pytest.raises(ImageSetError, match=r"10 more images need about 2,\d\d\d bytes, 100 are free"):
        made(tmp_path)
    assert not [name for name in files(tmp_path) if name.endswith(".png")]


def test_room_is_estimated_before_the_first_image_where_its_side_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=4_000_000)
    monkeypatch.setattr(shard_maker, "disk_usage", lambda _: free)
    painter = Painter()
    with pytest.raises(ImageSetError, match=r"10 more images need about 4,194,304 bytes, 4,000,000 are free"):
        made(tmp_path, painter, side=512)  # 10 of 512 x 512 pixels and 1.6 bytes each
    assert not painter.drawn
    made(tmp_path, painter, side=256)
    assert len(painter.drawn) == 10
    free = shutil.disk_usage(tmp_path)._replace(free=0)
    assert made(tmp_path, side=512).prompts  # nothing is missing


def test_nan_images_are_recorded_and_not_measured(tmp_path: Path) -> None:
    images = made(tmp_path, Painter(broken=[103]))
    metric = Level()
    result = scored(tmp_path, images, metric)
    assert result.skipped == (Skipped("p3", "NaN pixels"),)
    assert metric.seen == result.values["level"].n == 9
    assert np.isnan(result.per_image["level"]).tolist() == [i == 3 for i in range(10)]
    assert len(images.shown(4)) == 4
    with pytest.raises(ImageSetError, match="image 'p3' is needed here: NaN pixels"):
        list(images.batches())


def test_missing_images_are_counted_and_nothing_is_made(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    assert missing_images(store, INPUTS, 10) == 10
    assert not list(tmp_path.iterdir())
    images = made(tmp_path)
    assert missing_images(store, INPUTS, 10) == 0
    (images.folder / MARKER).unlink()
    for name in ("000002.png", "000007.png"):
        (images.folder / name).unlink()
    assert missing_images(store, INPUTS, 10) == 2


def test_finished_finds_nan() -> None:
    decoded = torch.full((3, 3, 2, 2), 0.5)
    decoded[1, 2, 0, 1] = torch.nan
    decoded[2] = 7.0
    first, second, third = finished(decoded)
    assert isinstance(first, Image.Image)
    assert first.getpixel((0, 0)) == (128, 128, 128)
    assert second == Unusable("NaN pixels")
    assert isinstance(third, Image.Image)
    assert third.getpixel((1, 1)) == (255, 255, 255)


def test_an_image_of_somebody_that_changed_or_broke_is_skipped_with_its_reason(tmp_path: Path) -> None:
    images = replace(made(tmp_path), remake=None)
    (images.folder / "000002.png").write_bytes((images.folder / "000001.png").read_bytes())
    (images.folder / "000007.png").write_bytes(b"")
    result = scored(tmp_path, images, Level())
    reasons = {lost.id: lost.reason for lost in result.skipped}
    assert reasons == {"p2": reasons["p2"], "p7": "empty file"}
    assert "000002.png is not the file of its manifest" in reasons["p2"]
    expected = np.mean([np.asarray(noise(100 + i), dtype=np.float32).mean() for i in range(10) if i not in {2, 7}])
    assert result.values["level"].value == pytest.approx(float(expected))


def test_too_few_images_are_an_error_with_reasons(tmp_path: Path) -> None:
    images = made(tmp_path, Painter(broken=range(100, 109)))
    with pytest.raises(ImageSetError, match=r"1 of 10 images can be measured, at least 2 .*p0: NaN pixels"):
        scored(tmp_path, images, Level())


def test_scores_are_kept_and_read_by_id(tmp_path: Path) -> None:
    images = made(tmp_path)
    first = scored(tmp_path, images, Level())
    names = {"level": 1}
    again = score_images(StageStore(tmp_path), images, {"metrics": names}, lambda: pytest.fail("measured twice"))
    assert again.values == first.values
    assert again.inputs == first.inputs == {"level": Level().inputs()}
    np.testing.assert_array_equal(again.per_image["level"], first.per_image["level"])
    (path,) = (tmp_path / "scores").glob("*/values.json")
    assert json.loads(path.read_text())["ids"] == [prompt["id"] for prompt in PROMPTS]


@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_batches_of_scoring_do_not_matter(tmp_path: Path, batch_size: int) -> None:
    whole = scored(tmp_path / "a", made(tmp_path / "a"), Level(), batch_size=4)
    other = scored(tmp_path / "b", made(tmp_path / "b"), Level(), batch_size=batch_size)
    assert whole.values == other.values


def test_a_metric_added_later_is_measured_alone_and_a_changed_one_again(tmp_path: Path) -> None:
    images, first, second = made(tmp_path), Level(), Level("other")
    alone = scored(tmp_path, images, first)
    both = scored(tmp_path, images, first, second)
    assert (first.seen, second.seen) == (10, 10)
    assert both.values["level"] == alone.values["level"]
    changed = Level(version=2)
    scored(tmp_path, images, changed, second)
    assert (changed.seen, second.seen) == (10, 10)


@pytest.mark.parametrize("back", [True, False], ids=["readable again", "gone since"])
def test_an_image_that_only_one_of_two_metrics_could_read_is_measured_again_by_both(
    tmp_path: Path, back: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    images, first, second = replace(made(tmp_path), remake=None), Level(), Level("other")
    path = images.folder / "000006.png"
    whole, torn = path.read_bytes(), b""
    path.write_bytes(torn if back else whole)
    scored(tmp_path, images, first)
    path.write_bytes(whole if back else torn)
    both = scored(tmp_path, images, first, second)
    assert [lost.id for lost in both.skipped] == ([] if back else ["p6"])
    assert both.values["level"].value == both.values["other"].value
    np.testing.assert_array_equal(both.per_image["level"], both.per_image["other"])
    assert np.isnan(both.per_image["level"]).tolist() == [not back and i == 6 for i in range(10)]
    assert first.seen == (9 + 4 if back else 10 + 3)  # the shard of that image once more, and no other
    assert "shard-00001: other images can be read than before" in capsys.readouterr().err


def test_arrays_that_are_whole_are_not_replaced_by_a_late_owner(tmp_path: Path) -> None:
    """It slept through its lease, and computes on other hardware, whose rounding is another."""
    path, lost = tmp_path / "shard-00000.safetensors", [Skipped("p3", "empty file")]
    write_arrays(path, {"level": [np.array([1.0, 2.0])]}, lost)
    first = path.read_bytes()
    write_arrays(path, {"level": [np.array([1.5, 2.5])]}, lost)
    assert path.read_bytes() == first
    path.write_bytes(first[:-3])
    write_arrays(path, {"level": [np.array([1.0, 2.0])]}, lost)
    assert path.read_bytes() == first
    write_arrays(path, {"level": [np.array([1.0, 2.0, 3.0])]}, [])
    assert skipped_of(path) == ()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_can_no_longer_be_written_ends_the_work_with_one_line(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Any, *_: Any) -> int:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr("repro.stages.work.os.open", refused)
    words = rf"shard-00000.0000.lease: {os.strerror(code)}; finished stages stay in .*{tmp_path.name}"
    with pytest.raises(ExperimentError, match=words), told(tmp_path):
        made(tmp_path)


def test_scoring_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    images, metric = made(tmp_path), Level()
    scored(tmp_path, images, metric)
    torn = sorted((tmp_path / "measured").glob("*/shard-00001.safetensors"))[0]
    torn.write_bytes(torn.read_bytes()[:50])
    shutil.rmtree(tmp_path / "scores")
    again = Level()
    scored(tmp_path, images, again)
    assert again.seen == 4


def test_memory_of_a_pass_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """Seven times the images, of 64 x 64 x 3 bytes each, may cost no more than a few of them."""
    peaks = []
    for count in (24, 160):
        prompts = [{"id": str(i), "caption": "", "seed": i} for i in range(count)]

        def large(prompts: Sequence[Prompt]) -> list[Image.Image]:
            return [noise(prompt["seed"]).resize((64, 64)) for prompt in prompts]

        images = make_images(StageStore(tmp_path), {**INPUTS, "n": count}, prompts, lambda: large, "test")
        tracemalloc.start()
        assert sum(len(batch.images) for shard in images.shards for batch in images.read(shard, 4)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 8 * 64 * 64 * 3


def test_a_pass_lets_go_of_a_batch_before_it_reads_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, decode = made(tmp_path), image_sets.decode_image
    given: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []

    class Watching(Level):
        def measure(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Mapping[str, np.ndarray]:
            given.extend(map(weakref.ref, images))
            return super().measure(images, prompts)

    def decoded(data: bytes) -> Image.Image:
        gc.collect()
        alive.append(sum(found() is not None for found in given))
        return decode(data)

    monkeypatch.setattr(image_sets, "decode_image", decoded)
    monkeypatch.setattr(image_sets, "READERS", 1)
    scored(tmp_path, images, Watching(), batch_size=2)
    assert len(given) == 10
    assert alive == [0] * 10


def test_images_of_a_batch_are_written_and_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other three of its batch, which in one thread would be for ever."""
    four, decode, encode = threading.Barrier(4, timeout=60), image_sets.decode_image, shard_maker.encode_image

    def encoded(*args: Any) -> bytes:
        four.wait()
        return encode(*args)

    def decoded(data: bytes) -> Image.Image:
        four.wait()
        return decode(data)

    monkeypatch.setattr(shard_maker, "encode_image", encoded)
    inputs = {**INPUTS, "n": 8}
    images = make_images(StageStore(tmp_path), inputs, PROMPTS[:8], Painter, "test")
    monkeypatch.setattr(image_sets, "decode_image", decoded)
    found = [batch.prompts for shard in images.shards for batch in images.read(shard, 4)]
    assert [prompt["id"] for prompts in found for prompt in prompts] == [prompt["id"] for prompt in PROMPTS[:8]]


def test_each_process_of_a_launcher_takes_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device.torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [str(device.torch_device(name)) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda:1",
        "cuda:1",
        "cuda:0",
        "cpu",
    ]
    assert taken == [torch.device("cuda:1")] * 2 + [torch.device("cuda:0")]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ExperimentError, match="cuda:2 was asked for, but there are 2"):
        device.torch_device("auto")
