"""Caches whose images change behind their back, and damaged ones: what is made again, and what is refused."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from training_world import assert_same, tensors

from swd import cache as command
from swd.data import LatentCache, build_cache, image_files
from swd.data.encoding import BatchEncoder
from swd.data.layout import SCHEMA, CacheIndex
from swd.data.shards import shard_facts
from swd.errors import CacheError, ConfigError

CAPTIONS = ["a red star", "a blue cross", "a red star", "two circles", "star of circles"]
LISTED = {f"{number}.png": caption for number, caption in enumerate(CAPTIONS)}
DAMAGED = "latents-00001.safetensors"


def paint(path: Path, seed: int) -> None:
    """A file whose size does not depend on its pixels."""
    levels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path, compress_level=0)


def write_list(folder: Path, captions: dict[str, str]) -> None:
    lines = (json.dumps({"file_name": name, "text": text}) + "\n" for name, text in captions.items())
    (folder / "metadata.jsonl").write_text("".join(lines))


@pytest.fixture
def listed() -> dict[str, str]:
    return dict(LISTED)


class Runs:
    """The command on the tiny pipeline, with counts of what it encoded."""

    def __init__(self, pipeline: Path, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pipeline, self.folder, self.output = pipeline, folder, output
        self.images, self.prompts = 0, 0
        latents, prompts = BatchEncoder.latents, BatchEncoder.prompts

        def count_latents(encoder: BatchEncoder, batch: torch.Tensor) -> Any:
            self.images += len(batch)
            return latents(encoder, batch)

        def count_prompts(encoder: BatchEncoder, texts: list[str]) -> Any:
            self.prompts += len(texts) if texts != [""] else 0  # which is also asked for to see how large one is
            return prompts(encoder, texts)

        monkeypatch.setattr(BatchEncoder, "latents", count_latents)
        monkeypatch.setattr(BatchEncoder, "prompts", count_prompts)

    def __call__(self, output: Path | None = None, *more: str) -> tuple[int, int]:
        """Run, and say how many images and prompts were encoded."""
        self.images = self.prompts = 0
        given = ["--images", self.folder, "--pipeline", self.pipeline, "--output", output or self.output]
        options = ["--scales", "4", "6", "--dtype", "float32", "--shard-size", "2", "--batch-size", "1"]
        command.main([*map(str, given), *options, "--device", "cpu", *more])
        return self.images, self.prompts


@pytest.fixture(scope="module")
def world(tiny_pipeline_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Images, and a finished cache of them."""
    made = tmp_path_factory.mktemp("world")
    (made / "images").mkdir()
    for number, name in enumerate(LISTED):
        paint(made / "images" / name, number)
    write_list(made / "images", LISTED)
    loaded, load = {}, command._loaded

    def load_once(given: Any, *rest: Any) -> Any:
        if given.dtype not in loaded:
            loaded[given.dtype] = load(given, *rest)
        return loaded[given.dtype]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "_loaded", load_once)
        with pytest.MonkeyPatch.context() as counting:
            assert Runs(tiny_pipeline_folder, made / "images", made / "cache", counting)() == (5, 4)
        yield made


@pytest.fixture
def folder(world: Path, tmp_path: Path) -> Path:
    return shutil.copytree(world / "images", tmp_path / "images")


@pytest.fixture
def run(world: Path, tiny_pipeline_folder: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """On a copy of them; the files are new, so their bytes are read once again."""
    shutil.copytree(world / "cache", tmp_path / "cache")
    return Runs(tiny_pipeline_folder, folder, tmp_path / "cache", monkeypatch)


def test_only_images_that_changed_are_encoded_again(
    run: Runs, folder: Path, listed: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Repaired, removed, renamed, moved in the list, and added: the cache is that of a fresh build, to the last bit."""
    assert run() == (0, 0)
    before = LatentCache.open(run.output).index
    paint(folder / "3.png", 33)
    assert run() == (1, 0)
    assert "taken over as they are: 1 of 2 latents" in capsys.readouterr().err
    repaired = LatentCache.open(run.output).index
    assert (repaired.fingerprint, repaired.content == before.content) == (before.fingerprint, False)

    (folder / "0.png").rename(folder / "renamed.png")
    paint(folder / "new.png", 99)
    changed = {
        "4.png": listed["4.png"],
        "new.png": "a blue star",
        "renamed.png": listed["0.png"],
        "3.png": "a red star",
    }
    write_list(folder, changed)
    assert run() == (1, 1)
    run(tmp_path / "fresh")
    assert LatentCache.open(run.output).index == LatentCache.open(tmp_path / "fresh").index
    assert_same(tensors(run.output), tensors(tmp_path / "fresh"))
    assert LatentCache.open(run.output).captions([0, 3]) == ["star of circles", "a red star"]


def test_shards_past_the_last_image_go(run: Runs, folder: Path, listed: dict[str, str]) -> None:
    write_list(folder, {name: listed[name] for name in ("0.png", "2.png")})
    assert run() == (0, 0)
    assert sorted(path.name for path in run.output.glob("latents-*")) == ["latents-00000.safetensors"]
    assert len(LatentCache.open(run.output)) == 2


def test_other_images_of_equal_size_are_noticed(run: Runs, folder: Path, listed: dict[str, str]) -> None:
    sizes = {name: (folder / name).stat().st_size for name in listed}
    before = tensors(run.output)
    for number, name in enumerate(listed):
        paint(folder / name, 50 + number)
    assert {name: (folder / name).stat().st_size for name in listed} == sizes
    assert run() == (5, 0)
    after = tensors(run.output)
    assert not any(torch.equal(before[key], after[key]) for key in before if ":side" in key)


def test_an_image_that_is_replaced_while_the_cache_is_built_is_not_stored_under_its_old_hash(
    run: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = image_files.ImageFiles.check

    def replace(*arguments: Any) -> None:  # after all were hashed, and before the first is encoded
        check(*arguments)
        paint(folder / "3.png", 77)

    paint(folder / "3.png", 33)
    monkeypatch.setattr(image_files.ImageFiles, "check", replace)
    with pytest.raises(SystemExit, match=r"error: .*3\.png was replaced since"):
        run()
    monkeypatch.setattr(image_files.ImageFiles, "check", check)
    assert run() == (1, 0)


def test_files_are_read_again_only_where_size_or_times_changed(
    run: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run() == (0, 0)  # the copies
    read, seen = image_files.read_bytes, []
    monkeypatch.setattr(image_files, "read_bytes", lambda path, limits: seen.append(path.name) or read(path, limits))
    assert run() == (0, 0)
    assert seen == []
    os.utime(folder / "2.png", (1, 1))  # the same bytes at another time
    assert run() == (0, 0)
    assert seen == ["2.png"]
    (run.output / image_files.MEMORY).write_text("{")
    assert run() == (0, 0)
    assert len(seen) == 6


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_update_that_was_killed_is_refused_and_goes_on(
    run: Runs, folder: Path, listed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del listed["0.png"]
    paint(folder / "4.png", 44)
    write_list(folder, listed)
    with monkeypatch.context() as patch:
        patch.setattr(BatchEncoder, "latents", killed)
        with pytest.raises(SystemExit):
            run()
    with pytest.raises(CacheError, match=r"latents-00001.* is of other images or prompts than the cache lists"):
        LatentCache.open(run.output)
    images, _ = run()
    assert images <= 2  # rows of a shard that was written over are encoded anew at worst
    run(tmp_path / "fresh")
    assert_same(tensors(run.output), tensors(tmp_path / "fresh"))


def test_a_cache_of_another_kind_is_refused(run: Runs, tiny_pipeline: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds a cache of something else .*dtype: float32 -> bfloat16"):
        run(None, "--dtype", "bfloat16")
    images = list(torch.zeros(2, 3, 12, 12))
    build_cache(images, CAPTIONS[:2], tiny_pipeline, (4, 6), tmp_path / "old", progress=False)
    with pytest.raises(SystemExit, match="does not know its images, as earlier versions made them: training reads it"):
        run(tmp_path / "old")


def flip(data: bytearray) -> bytearray:
    data[-5] ^= 1
    return data


def zeros(data: bytearray) -> bytearray:
    """Nine tenths of the tensors, as a sparse copy leaves them."""
    start = len(data) // 10 + int.from_bytes(data[:8], "little") + 8
    data[start:] = bytes(len(data) - start)
    return data


@pytest.mark.parametrize("victim", [DAMAGED, "prompts-00000.safetensors"])
@pytest.mark.parametrize("damage", [flip, zeros])
def test_damaged_shards_are_found_when_opened_and_made_again_alone(run: Runs, victim: str, damage: Any) -> None:
    before, path = tensors(run.output), run.output / victim
    path.write_bytes(damage(bytearray(path.read_bytes())))
    with pytest.raises(CacheError, match=f"{victim} is not what was written"):
        LatentCache.open(run.output)
    if damage is flip:
        LatentCache.open(run.output, verify=False)  # shapes and captions are right
    assert run() == ((2, 0) if victim == DAMAGED else (0, 1))
    assert_same(before, tensors(run.output))


def rewritten(path: Path, change: Any) -> None:
    """Other tensors under the header that was there, without a checksum, as earlier versions wrote it."""
    facts = {name: value for name, value in shard_facts(path).items() if name != "sha256"}
    shard = {name: value.clone() for name, value in load_file(path).items()}
    change(shard)
    save_file(shard, path, metadata=facts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shard: shard.pop("side_6"), f"{DAMAGED} lacks side_6"),
        (
            lambda shard: shard.update(more=shard["side_6"].clone()),
            f"{DAMAGED} holds more, which the cache does not list",
        ),
        (lambda shard: shard.update(side_6=shard["side_6"][:1].clone()), "holds 1 rows of side_6, expected 2"),
        (
            lambda shard: shard.update(side_6=shard["side_4"].clone()),
            r"side_6 of shape \(4, 4, 4\), expected sides of 6",
        ),
        (lambda shard: shard.update(side_6=shard["side_6"].half()), "side_6 in torch.float16, expected torch.float32"),
        (lambda shard: shard["prompt"].add_(9), "names prompt 10, but the cache has 5, counted from 0"),
        (lambda shard: shard.update(prompt=shard["prompt"].float()), "holds no numbers of prompts"),
        (lambda shard: shard["prompt"].copy_(shard["prompt"].flip(0)), "numbers of prompts are not what was written"),
    ],
)
def test_shards_that_do_not_fit_their_index_are_found_when_opened(run: Runs, change: Any, message: str) -> None:
    before = tensors(run.output)
    rewritten(run.output / DAMAGED, change)
    with pytest.raises(CacheError, match=message):
        LatentCache.open(run.output, verify=False)
    run()
    assert_same(before, tensors(run.output))


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda cache: edited(cache / "index.json", count=7), "keys of 5 images, and index.json says 7"),
        (lambda cache: edited(cache / "index.json", num_prompts=9), "holds 5 prompts, and index.json says 9"),
        (lambda cache: edited(cache / "index.json", scales=[4, 8]), "index.json cannot be read, it is not what was"),
        (lambda cache: edited(cache / "index.json", scales=4), "index.json cannot be read, it is not what was"),
        (lambda cache: edited(cache / "index.json", more=1), "index.json cannot be read, it is not what was"),
        (lambda cache: (cache / "index.json").write_text("[]"), "index.json cannot be read, it is not what was"),
        (lambda cache: (cache / "index.json").write_text("{"), "index.json cannot be read, it is no JSON"),
        (lambda cache: (cache / "images.json").unlink(), "images.json is missing"),
        (
            lambda cache: (cache / "images.json").write_text('["a", "b", "c", "d", "e"]'),
            "is of other images than index",
        ),
        (lambda cache: (cache / "prompts.json").write_text('["", "a", "b", "c", "d"]'), "prompts.json or the shards'"),
        (lambda cache: (cache / "prompts.json").write_text('["", "a", "a", "c", "d"]'), "expected different prompts"),
        (lambda cache: (cache / "prompts.json").write_text("[1]"), "expected a list of texts"),
    ],
)
def test_lists_that_were_changed_are_found_when_opened_and_written_again(run: Runs, spoil: Any, message: str) -> None:
    whole = CacheIndex.read(run.output)
    spoil(run.output)
    with pytest.raises(CacheError, match=message):
        LatentCache.open(run.output)
    assert run() == (0, 0)
    assert LatentCache.open(run.output).index == whole


FOREIGN = r"is damaged, and latents-00000\.safetensors belongs to a cache of something else"


def test_a_damaged_index_beside_foreign_shards_is_left_alone(run: Runs, tiny_pipeline: Any, tmp_path: Path) -> None:
    build_cache(list(torch.zeros(2, 3, 12, 12)), CAPTIONS[:2], tiny_pipeline, (4, 6), tmp_path / "old", progress=False)
    (tmp_path / "old" / "index.json").write_text("{")
    before = tensors(tmp_path / "old")
    with pytest.raises(SystemExit, match=FOREIGN):
        run(tmp_path / "old")
    assert_same(before, tensors(tmp_path / "old"))


def test_caches_of_before_there_were_checksums_stay_readable(tiny_pipeline: Any, tmp_path: Path) -> None:
    images = list(torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0)))
    made = build_cache(images, CAPTIONS[:3], tiny_pipeline, (4, 6), tmp_path / "a", progress=False, shard_size=2)
    before = tensors(tmp_path / "a")
    for path in (tmp_path / "a").glob("*.safetensors"):
        assert shard_facts(path).keys() == {"fingerprint", "sha256"}
        rewritten(path, lambda _: None)
    assert LatentCache.open(tmp_path / "a").index == made.index
    build_cache([], CAPTIONS[:3], tiny_pipeline, (4, 6), tmp_path / "a", progress=False, shard_size=2)
    assert_same(before, tensors(tmp_path / "a"))


def test_caches_that_students_are_known_by_keep_their_identity(tmp_path: Path) -> None:
    """Fingerprint and content, as the first version of this schema gave them."""
    source = "scenes of seed 1; 12 text tokens; captions 0123456789abcdef"
    index = CacheIndex(
        SCHEMA, "", "pipe", "sd3", (16, 32), ((16, 32),), "float32", 2048, 1024, 99, 1024, source, moments=False
    )
    assert (index.own_fingerprint, index.content) == ("65ab110e6dfc248c", "199f4321473fb6a8")
    assert not index.keyed
    assert index.token_length == 12


def test_keys_are_one_word_for_each_image(tiny_pipeline: Any, tmp_path: Path) -> None:
    images = list(torch.zeros(2, 3, 12, 12))
    for keys, message in ((["a"], "1 keys for 2 images"), (["a", "b c"], "without spaces, got 'b c'")):
        with pytest.raises(ConfigError, match=message):
            build_cache(images, CAPTIONS[:2], tiny_pipeline, (4, 6), tmp_path / "a", keys=keys)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"shard_size": 2.5}, "shard_size must be a whole number, got 2.5"),
        ({"batch_size": True}, "batch_size must be a whole number, got True"),
        ({"scales": (4, "6")}, "a scale must be a whole number, got '6'"),
        ({"scales": (4.5, 6)}, "a scale must be a whole number, got 4.5"),
        ({"scales": (0, 6)}, "a scale must be at least 1, got 0"),
        ({"scales": ()}, "there are no scales"),
        ({"scales": (3, 5)}, r"multiples of the patch size 2, got \[3, 5\]"),
        ({"dtype": torch.int8}, "one of torch's floating types, got torch.int8"),
        ({"dtype": "float32"}, "one of torch's floating types, got 'float32'"),
        ({"captions": ["a red star", None]}, "caption 1: must be text, got None"),
        ({"captions": [float("nan"), "a red star"]}, "caption 0: must be text, got nan"),
        ({"captions": ["a red star", "star \ud83d"]}, r"caption 1: holds half a character .*: 'star \\ud83d'"),
        ({"captions": []}, "there are no captions"),
    ],
)
def test_arguments_that_cannot_be_meant_are_named(
    tiny_pipeline: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    given = {"captions": CAPTIONS[:2], "scales": (4, 6), **changes}
    captions, scales = given.pop("captions"), given.pop("scales")
    with pytest.raises((ConfigError, CacheError), match=message):
        build_cache(list(torch.zeros(2, 3, 12, 12)), captions, tiny_pipeline, scales, tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()


def test_a_copy_of_the_images_is_the_same_cache(run: Runs, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    run.folder = tmp_path / "copy"
    assert run() == (0, 0)
