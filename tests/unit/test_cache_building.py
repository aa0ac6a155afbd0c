"""Caches that several processes share, that keep captions alone, and what is said before the work."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from training_world import CONFIG, assert_same, config, fresh_accelerate, losses, tensors

import repro
import swd
from repro.harness.files import write_atomic
from swd import cache as command
from swd.backbones import denoiser_of, loading
from swd.backbones.loading import load_pipeline
from swd.data import LatentCache, build_cache, plan_cache
from swd.data.encoding import BatchEncoder
from swd.data.layout import ONLINE_SCHEMA, SCHEMA, CacheIndex
from swd.data.plan import CachePlan
from swd.errors import CacheError, ConfigError, OutputFolderError
from swd.files import probe_writable, save_tensors, write_json, write_tensors
from swd.lora.files import read_adapter
from swd.training import train
from swd.training.inputs import open_inputs
from swd.training.run import new_accelerator

CAPTIONS = [
    "a red star",
    "a blue cross",
    "a red star",
    "two circles",
    "a red star",
    "star of circles",
    "left of a star",
]
SCALES = (4, 6)
OPTIONS: dict[str, Any] = {"shard_size": 2, "batch_size": 2, "max_sequence_length": 4}


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    with fresh_accelerate():
        yield


@pytest.fixture
def images() -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return list(torch.rand(len(CAPTIONS), 3, 12, 12, generator=rng) * 2 - 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images and captions as files."""
    made, lines = tmp_path / "images", []
    made.mkdir()
    for number, caption in enumerate(CAPTIONS):
        Image.new("RGB", (14, 12), (30 * number, 90, 200)).save(made / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": caption}))
    (made / "metadata.jsonl").write_text("\n".join(lines))
    return made


def plan(pipeline: Any, folder: Path, **changes: Any) -> CachePlan:
    return plan_cache(CAPTIONS, pipeline, SCALES, folder, **OPTIONS | changes)


@pytest.mark.parametrize("processes", [2, 3, 9])
def test_shares_of_several_processes_are_the_cache_of_one(
    images: list, tiny_pipeline: Any, tmp_path: Path, processes: int
) -> None:
    whole = build_cache(images, CAPTIONS, tiny_pipeline, SCALES, tmp_path / "whole", progress=False, **OPTIONS)
    left = []
    for process in reversed(range(processes)):  # the one that writes the index comes last
        share = plan(tiny_pipeline, tmp_path / "shared")
        share.check_room(progress=False)
        share.build(images, process=process, processes=processes, progress=False)
        left.append(share.unfinished())
    assert left[-1] == 0
    assert left[0] > 0
    assert_same(tensors(tmp_path / "whole"), tensors(tmp_path / "shared"))
    assert LatentCache.open(tmp_path / "shared").index == whole.index


def test_a_share_that_was_killed_goes_on_and_leaves_the_others_alone(
    images: list, tiny_pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_cache(images, CAPTIONS, tiny_pipeline, SCALES, tmp_path / "whole", progress=False, **OPTIONS)
    share, encode, seen = plan(tiny_pipeline, tmp_path / "shared"), BatchEncoder.latents, []

    def killed(self: BatchEncoder, batch: torch.Tensor) -> Any:
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(len(batch))
        return encode(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(BatchEncoder, "latents", killed)
        with pytest.raises(KeyboardInterrupt):
            share.build(images, process=0, processes=2, progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shared").glob("latents-*")}
    assert before.keys() == {"latents-00000.safetensors"}
    assert share.missing_images(0, 2) == [4, 5]
    for process in (1, 0):
        share.build(images, process=process, processes=2, progress=False)
    assert (tmp_path / "shared" / "latents-00000.safetensors").stat().st_mtime_ns == before["latents-00000.safetensors"]
    assert_same(tensors(tmp_path / "whole"), tensors(tmp_path / "shared"))


def run(folder: Path, pipeline: Path, output: Path, *more: str) -> None:
    given = ["--images", str(folder), "--pipeline", str(pipeline), "--output", str(output), "--scales", "4", "6"]
    command.main([*given, "--dtype", "float32", "--shard-size", "2", "--device", "cpu", *more])


def test_commands_of_two_processes_make_one_cache(
    folder: Path, tiny_pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run(folder, tiny_pipeline_folder, tmp_path / "one")
    capsys.readouterr()
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = []
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        run(folder, tiny_pipeline_folder, tmp_path / "two")
        said.append(capsys.readouterr().out)
    assert "this process is done; 3 shards are left to the others" in said[0]
    assert "7 images, 6 prompts, scales (4, 6)" in said[1]
    assert_same(tensors(tmp_path / "one"), tensors(tmp_path / "two"))


def test_a_process_is_what_its_launcher_says() -> None:
    assert command.process_of({}) == (0, 1, 0)
    assert command.process_of({"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}) == (9, 16, 1)


@pytest.mark.parametrize(
    "said", [{"RANK": "x"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "2"}, {"RANK": "-1"}, {"WORLD_SIZE": "0"}]
)
def test_an_environment_that_is_no_process_of_several_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=rf"the environment says .*{'='.join(next(iter(said.items())))}.*torchrun"):
        command.process_of(said)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: Image.new("RGB", (40, 9)).save(path), r"6.png is 40 x 9 pixels, the largest scale needs 12 x 12"),
        (lambda path: path.write_bytes(b"no image"), "6.png cannot be read as an image"),
        (lambda path: path.write_bytes(path.read_bytes()[:20]), "6.png cannot be read as an image"),
    ],
)
def test_a_bad_image_is_named_before_the_first_is_encoded(
    folder: Path, tiny_pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, message: str
) -> None:
    spoil(folder / "6.png")  # the last
    monkeypatch.setattr(AutoencoderKL, "encode", lambda *_: pytest.fail("encoded"))
    monkeypatch.setattr(BatchEncoder, "prompts", lambda *_: pytest.fail("encoded"))
    with pytest.raises(SystemExit, match=message):
        run(folder, tiny_pipeline_folder, tmp_path / "cache")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["--shard-size", "-3"], "shard_size must be at least 1, got -3"),
        (["--limit", "0"], "limit must be at least 1, got 0"),
        (["--max-sequence-length", "-5"], "max_sequence_length must not be negative, got -5"),
        (["--seed", "-1"], "seed must be at least 0 and below 4294967296, got -1"),
        (["--seed", str(2**64)], f"seed must be at least 0 and below 4294967296, got {2**64}"),
        (["--scales", "6", "4"], r"scales must be positive and must not shrink, got \(6, 4\)"),
        (
            ["--device", "nonsense"],
            "there is no device 'nonsense' here that can encode; expected cpu, or an accelerator",
        ),
        (["--device", "meta"], "there is no device 'meta' here that can encode"),
        (["--device", "mps:7"], "there is no device 'mps:7' here that can encode"),
        (["--scales", "15", "33"], r"scales must be multiples of the patch size 2, got \[15, 33\]"),
        (["--scales", "4", "64"], "scales must stay within the network's largest latent side 32"),
    ],
)
def test_options_that_cannot_be_meant_are_named_before_weights_are_read(
    folder: Path,
    tiny_pipeline_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list,
    message: str,
) -> None:
    monkeypatch.setattr(loading, "load_pipeline", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(SystemExit, match=message):
        run(folder, tiny_pipeline_folder, tmp_path / "cache", *options)
    assert not (tmp_path / "cache").exists()


def test_a_caption_that_is_too_long_is_named_by_its_line_and_cut_when_asked(
    folder: Path, tiny_pipeline_folder: Path, tmp_path: Path
) -> None:
    lines = [json.dumps({"file_name": f"{number}.png", "text": text}) for number, text in enumerate(CAPTIONS[:3])]
    lines.insert(1, "")
    lines.append(json.dumps({"file_name": "3.png", "text": "a red star " * 5}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.raises(SystemExit, match=r"metadata.jsonl, line 5: prompt has \d\d tokens.*; --truncate cuts captions"):
        run(folder, tiny_pipeline_folder, tmp_path / "cache", "--limit", "4")
    run(folder, tiny_pipeline_folder, tmp_path / "cache", "--truncate")
    assert LatentCache.open(tmp_path / "cache").captions([3]) == ["a red star " * 5]
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "0.png", "text": " "}))
    with pytest.raises(SystemExit, match=r"metadata.jsonl, line 1: prompts must not be empty, got ' '$"):
        run(folder, tiny_pipeline_folder, tmp_path / "other")


def test_new_files_have_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(1)})
        save_tensors(tmp_path / "b.safetensors", {"a": torch.zeros(1)})
        write_json(tmp_path / "c.json", [])
        write_atomic(tmp_path / "d.md", "text")
    finally:
        os.umask(before)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == dict.fromkeys(
        ("a.safetensors", "b.safetensors", "c.json", "d.md"), "0o640"
    )


def test_room_is_rounded_so_that_what_is_free_is_less_than_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, (1 << 20) - 1))
    with pytest.raises(OutputFolderError, match="needs about 1 MiB, but only 0 MiB are free"):
        probe_writable(tmp_path, needed_bytes=1 << 20)


def test_both_packages_say_that_they_are_typed() -> None:
    assert all((Path(package.__file__).parent / "py.typed").exists() for package in (swd, repro))


def test_estimate_is_what_is_written_and_writes_nothing(
    folder: Path, tiny_pipeline_folder: Path, tiny_pipeline: Any, images: list, tmp_path: Path, capsys: Any
) -> None:
    run(folder, tiny_pipeline_folder, tmp_path / "cache", "--estimate")
    assert "GiB to write (latents 0.00, embeddings of prompts 0.00)" in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()
    made = plan(tiny_pipeline, tmp_path / "made")
    latents, prompts = made.missing_bytes()
    made.build(images, progress=False)
    sizes = [0, 0]
    for name, value in tensors(tmp_path / "made").items():
        sizes[name.startswith("prompts")] += value.nbytes
    assert [latents, prompts] == sizes
    assert made.missing_bytes() == (0, 0)
    assert plan(tiny_pipeline, tmp_path / "online", online=True).missing_bytes() == (latents, 0)


def test_too_small_a_disk_offers_captions_alone(
    tiny_pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, needed_bytes: int) -> None:
        if needed_bytes > 1 << 20:
            raise OutputFolderError("full")

    monkeypatch.setattr("swd.data.plan.probe_writable", full)
    with pytest.raises(OutputFolderError, match="full; most of it is embeddings: online keeps captions alone"):
        plan(tiny_pipeline, tmp_path).check_room(progress=False)


def test_caches_with_embeddings_are_those_of_before(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    made = build_cache(images, CAPTIONS, tiny_pipeline, SCALES, tmp_path, progress=False, **OPTIONS)
    written = json.loads((tmp_path / "index.json").read_text())
    names = "schema fingerprint pipeline backbone scales pairs dtype count shard_size num_prompts prompt_shard_size"
    assert list(written) == [*names.split(), "source", "moments"]
    assert written["schema"] == SCHEMA == 3
    assert CacheIndex.read(tmp_path) == made.index
    assert made.index.token_length == 4


def test_prompts_online_train_as_cached_ones(images: list, tiny_pipeline_folder: Path, tmp_path: Path) -> None:
    options = config(preset="own", guidance_scale=3.0)
    runs, nbytes = {}, {}
    for kind in ("cached", "online"):
        path = tmp_path / kind
        pipeline = load_pipeline(tiny_pipeline_folder)
        build_cache(images, CAPTIONS, pipeline, SCALES, path, progress=False, online=kind == "online", **OPTIONS)
        nbytes[kind] = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        accelerator = new_accelerator(options, tmp_path)
        denoiser, data = open_inputs(str(tiny_pipeline_folder), path, options, accelerator)
        result = train(options, denoiser, data, tmp_path / f"run {kind}", accelerator=accelerator)
        runs[kind] = losses(result)
    assert not list((tmp_path / "online").glob("prompts-*"))
    assert nbytes["online"] < nbytes["cached"]
    assert json.loads((tmp_path / "online" / "index.json").read_text())["schema"] == ONLINE_SCHEMA
    for cached, online in zip(runs["cached"], runs["online"], strict=True):
        assert online == pytest.approx(cached, rel=1e-4, abs=1e-6)


def test_captions_become_conditions_in_the_dtype_of_the_cache(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    cached, online = (
        build_cache(
            images, CAPTIONS, tiny_pipeline, SCALES, tmp_path / f"{online}", progress=False, online=online,
            dtype=torch.bfloat16, **OPTIONS,
        )
        for online in (False, True)
    )  # fmt: skip
    for ours, theirs in ((cached.condition([5, 0]), online.condition([5, 0])), (cached.empty, online.empty)):
        assert theirs.prompt_embeds.dtype == torch.bfloat16
        torch.testing.assert_close(ours.tensors(), theirs.tensors(), rtol=1e-2, atol=1e-2)
    with pytest.raises(CacheError, match="keeps captions without their embeddings: open it with an encoder"):
        LatentCache.open(tmp_path / "True")
    with pytest.raises(CacheError, match="online: False -> True"):
        plan(tiny_pipeline, tmp_path / "False", online=True, dtype=torch.bfloat16).check_room(progress=False)


def test_the_students_card_says_how_long_its_texts_were(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    data = build_cache(images, CAPTIONS, tiny_pipeline, SCALES, tmp_path / "cache", progress=False, **OPTIONS)
    result = train(CONFIG, denoiser_of(tiny_pipeline), data, tmp_path / "run")
    assert read_adapter(result.adapter)[1]["token_length"] == 4
