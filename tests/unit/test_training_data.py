import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import make_pipeline
from safetensors import SafetensorError
from training_world import assert_same, cache, tensors

from swd import files
from swd.backbones.fingerprint import pipeline_fingerprint
from swd.data import LatentCache, build_cache, cache_ladder
from swd.data import plan as cache_plan
from swd.data.cache import Batch
from swd.data.layout import SCHEMA
from swd.errors import CacheError, OutputFolderError
from swd.rng import StepRandom
from swd.schedule import ScaleSchedule

CAPTIONS = ["a red star", "a blue cross", "a red star", "two circles", "a red star"]
SCALES = (4, 6, 8)
OPTIONS: dict[str, Any] = {"shard_size": 2, "batch_size": 2, "max_sequence_length": 4, "progress": False}


@pytest.fixture
def images() -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return list(torch.rand(len(CAPTIONS), 3, 18, 18, generator=rng) * 2 - 1)


def build(images: Any, pipeline: Any, folder: Path, captions: list[str] = CAPTIONS, **changes: Any) -> LatentCache:
    return build_cache(images, captions, pipeline, changes.pop("scales", SCALES), folder, **OPTIONS | changes)


def test_latents_are_vae_codes_of_pixels_downscaled_by_area(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    made = build(images, tiny_pipeline, tmp_path)
    vae, rows = tiny_pipeline.vae, [4, 0, 3]

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return (vae.encode(pixels).latent_dist.mean - vae.config.shift_factor) * vae.config.scaling_factor

    with torch.no_grad():
        at_six = F.adaptive_avg_pool2d(torch.stack([images[row] for row in rows]), 12)
        from_six = F.adaptive_avg_pool2d(at_six, 8)
        torch.testing.assert_close(made.latents(6, rows), encode(at_six), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(made.lower(4, 6, rows), encode(from_six), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(made.lower(4, 6, rows), made.latents(4, rows), atol=1e-4)


def test_prompts_are_the_pipelines_own_embeddings_made_once(
    images: list, tiny_pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, seen = tiny_pipeline.encode_prompt, []

    def counting(prompt: list[str], **options: Any) -> Any:
        seen.extend(prompt)
        return encode(prompt=prompt, **options)

    monkeypatch.setattr(tiny_pipeline, "encode_prompt", counting)
    made = build(images, tiny_pipeline, tmp_path)
    assert seen == ["", "", "a red star", "a blue cross", "two circles"]  # the first to see how large they get
    assert made.captions([4, 1, 3]) == ["a red star", "a blue cross", "two circles"]
    expected = encode(
        ["two circles", "a red star"], None, None, do_classifier_free_guidance=False, max_sequence_length=4
    )
    got = made.condition([3, 0])
    torch.testing.assert_close(got.prompt_embeds, expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.pooled, expected[2], atol=1e-5, rtol=1e-5)
    nothing = encode("", None, None, do_classifier_free_guidance=False, max_sequence_length=4)
    torch.testing.assert_close(made.empty.prompt_embeds, nothing[0], atol=1e-5, rtol=1e-5)


def test_same_cache_from_a_list_an_iterator_and_bytes(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    eight_bit = [((image + 1) * 127.5).round().to(torch.uint8) for image in images]
    floats = [image / 127.5 - 1 for image in eight_bit]
    build(floats, tiny_pipeline, tmp_path / "list")
    build((image for image in floats), tiny_pipeline, tmp_path / "iterator")
    build(eight_bit, tiny_pipeline, tmp_path / "bytes", batch_size=1)
    assert_same(tensors(tmp_path / "list"), tensors(tmp_path / "iterator"))
    for key, value in tensors(tmp_path / "bytes").items():
        torch.testing.assert_close(value, tensors(tmp_path / "list")[key], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("victim", ["latents-00001.safetensors", "prompts-00001.safetensors"])
@pytest.mark.parametrize("damage", ["torn", "gone"])
def test_torn_shard_is_named_and_rebuilt_alone(
    images: list, tiny_pipeline: Any, tmp_path: Path, victim: str, damage: str
) -> None:
    build(images, tiny_pipeline, tmp_path)
    before, path = tensors(tmp_path), tmp_path / victim
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CacheError, match=victim):
        LatentCache.open(tmp_path)
    build(_OnlyTheseAreRead(images, {2, 3}), tiny_pipeline, tmp_path)
    assert_same(before, tensors(tmp_path))


class _OnlyTheseAreRead:
    def __init__(self, images: list, allowed: set[int]) -> None:
        self.images, self.allowed = images, allowed

    def __getitem__(self, index: int) -> torch.Tensor:
        assert index in self.allowed, f"image {index} was read again"
        return self.images[index]

    def __iter__(self) -> Iterator[torch.Tensor]:
        raise AssertionError("read through")


def test_interrupted_build_goes_on(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    def broken() -> Iterator[torch.Tensor]:
        yield from images[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(broken(), tiny_pipeline, tmp_path / "a")
    build(images, tiny_pipeline, tmp_path / "a")
    build(images, tiny_pipeline, tmp_path / "b")
    assert_same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))


@pytest.mark.parametrize(
    ("caption", "message"),
    [(" ", "caption 4: prompts must not be empty"), ("a red star " * 5, r"caption 4: prompt has \d\d tokens")],
)
def test_empty_and_over_long_captions_are_refused(
    images: list, tiny_pipeline: Any, tmp_path: Path, caption: str, message: str
) -> None:
    with pytest.raises(CacheError, match=message):
        build(images, tiny_pipeline, tmp_path / "cache", captions=[*CAPTIONS[:4], caption])
    assert not (tmp_path / "cache").exists()


def test_over_long_captions_are_cut_when_asked(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    long = "a red star " * 5
    made = build(images, tiny_pipeline, tmp_path, captions=[*CAPTIONS[:4], long], truncate=True)
    assert made.captions([4]) == [long]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": (4, 8)}, "scales"),
        ({"source": "other images"}, "source"),
        ({"dtype": torch.bfloat16}, "dtype"),
        ({"captions": [*CAPTIONS[:4], "a blue star"]}, "captions"),
    ],
)
def test_folder_of_another_cache_is_refused(
    images: list, tiny_pipeline: Any, tmp_path: Path, changes: dict, message: str
) -> None:
    build(images, tiny_pipeline, tmp_path)
    with pytest.raises(CacheError, match=message):
        build(images, tiny_pipeline, tmp_path, **changes)


@pytest.mark.parametrize("made_in", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("used_in", [torch.float32, torch.float16, torch.bfloat16])
def test_same_weights_in_another_precision_are_the_same(made_in: torch.dtype, used_in: torch.dtype) -> None:
    def fingerprint(*dtypes: torch.dtype) -> str:
        pipeline = make_pipeline()
        with torch.no_grad():
            pipeline.vae.encoder.conv_in.weight.mul_(1e-8)  # float16 underflows
            pipeline.vae.decoder.conv_out.weight.mul_(1e6)  # and overflows
        for dtype in dtypes:
            pipeline.vae.to(dtype), pipeline.text_encoder.to(dtype), pipeline.text_encoder_2.to(dtype)
        return pipeline_fingerprint(pipeline)

    assert fingerprint(made_in) == fingerprint(used_in) == fingerprint(made_in, used_in)


@pytest.mark.parametrize("part", ["vae", "text_encoder", "text_encoder_2"])
def test_slightly_trained_weights_are_not_the_same(tiny_pipeline: Any, part: str) -> None:
    before, rng = pipeline_fingerprint(tiny_pipeline), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in getattr(tiny_pipeline, part).parameters():
            weight.add_(1e-2 * weight.std(correction=0) * torch.randn(weight.shape, generator=rng))
    assert pipeline_fingerprint(tiny_pipeline) != before


def test_embeddings_travel_as_they_are_kept(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    made = build(images, tiny_pipeline, tmp_path, dtype=torch.bfloat16)
    assert (made.condition([0]).prompt_embeds.dtype, made.empty.pooled.dtype) == (torch.bfloat16, torch.bfloat16)
    assert made.latents(4, [0]).dtype == torch.float32


def test_cache_of_other_weights_is_refused(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    build(images, tiny_pipeline, tmp_path)
    LatentCache.open(tmp_path, pipeline=pipeline_fingerprint(tiny_pipeline.to(torch.float16)))
    with torch.no_grad():
        tiny_pipeline.vae.encoder.conv_in.weight.add_(1)
    with pytest.raises(CacheError, match="another VAE, text encoder or tokenizer"):
        LatentCache.open(tmp_path, pipeline=pipeline_fingerprint(tiny_pipeline))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images[:4], "captions for 5 images"),
        (lambda images: [*images[:4], images[4][:, :10, :10]], "image 4 is"),
        (lambda images: [*images[:4], images[4] * float("nan")], "image 4 has values outside"),
        (lambda images: [*images[:4], images[4] * 255], "image 4 has values outside"),
    ],
)
def test_bad_images_are_named(images: list, tiny_pipeline: Any, tmp_path: Path, spoil: Any, message: str) -> None:
    with pytest.raises(CacheError, match=message):
        build(iter(spoil(images)), tiny_pipeline, tmp_path)


def test_unwritable_folder_is_found_before_the_work(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputFolderError, match="cannot write"):
        build(images, tiny_pipeline, tmp_path / "file" / "cache")


@pytest.mark.parametrize("options", [{}, {"dtype": torch.float16}, {"moments": True}])
def test_room_that_is_asked_for_is_the_room_that_is_taken(
    images: list, tiny_pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict
) -> None:
    asked: list[int] = []
    probe = cache_plan.probe_writable
    monkeypatch.setattr(
        cache_plan, "probe_writable", lambda folder, needed_bytes: asked.append(needed_bytes) or probe(folder, 0)
    )
    build(images, tiny_pipeline, tmp_path, **options)
    values = tensors(tmp_path)
    assert asked[-1] - asked[0] == sum(value.nbytes for value in values.values())
    (tmp_path / "latents-00002.safetensors").unlink()
    build(images, tiny_pipeline, tmp_path, **options)
    last = [value.nbytes for name, value in values.items() if name.startswith("latents-00002")]
    assert asked[-1] - asked[0] == sum(last)


def test_too_small_a_disk_is_found_before_the_work(
    images: list, tiny_pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1 << 20))
    monkeypatch.setattr(tiny_pipeline.vae, "encode", lambda *args: pytest.fail("encoded"))
    with pytest.raises(OutputFolderError, match="needs about 2 MiB, but only 1 MiB are free"):
        build(images, tiny_pipeline, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_disk_that_becomes_full_keeps_what_is_done(
    images: list, tiny_pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    save, written = files.save_file, []

    def full(tensors: Any, path: Path, **options: Any) -> None:
        if len(written) == 3:
            raise error
        written.append(path)
        save(tensors, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "save_file", full)
        with pytest.raises(
            OutputFolderError, match=r"latents-00001.*No space left.*3 of 5 shards are finished and kept"
        ):
            build(images, tiny_pipeline, tmp_path)
    build(_OnlyTheseAreRead(images, {2, 3, 4}), tiny_pipeline, tmp_path)


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="no latent cache"):
        LatentCache.open(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"schema": SCHEMA}))
    with pytest.raises(CacheError, match="cannot be read"):
        LatentCache.open(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"schema": 1, "fingerprint": "old"}))
    with pytest.raises(CacheError, match=f"schema 1, this version reads {SCHEMA}: build it in another folder"):
        LatentCache.open(tmp_path)


def test_list_of_prompts_that_is_torn_is_named(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    build(images, tiny_pipeline, tmp_path)
    (tmp_path / "prompts.json").write_text('["", "a re')
    with pytest.raises(CacheError, match=r"prompts\.json cannot be read"):
        LatentCache.open(tmp_path)
    assert build(images, tiny_pipeline, tmp_path).prompts[1] == "a red star"


def test_schedule_that_the_cache_does_not_serve_is_refused() -> None:
    with pytest.raises(CacheError, match=r"scales \[8\] and pairs \[\(6, 8\)\]"):
        cache().check(ScaleSchedule((4, 6, 8), (1.0, 0.9, 0.5, 0.0)))
    cache().check(ScaleSchedule((6, 6), (1.0, 0.5, 0.0)))


def test_batch_pairs_each_scale_with_the_one_before() -> None:
    made, schedule = cache(), ScaleSchedule((4, 6, 6), (1.0, 0.9, 0.5, 0.0))
    first, growing, constant = (made.batch([1, 4], schedule, step) for step in range(3))
    assert torch.equal(first.lower, first.target)
    assert torch.equal(growing.lower, made.lower(4, 6, [1, 4]))
    assert torch.equal(constant.lower, made.latents(6, [1, 4]))


def test_one_cache_serves_several_schedules() -> None:
    assert cache_ladder([(8, 12, 16), (16, 20), (20, 20)]) == ((8, 12, 16, 20), ((8, 12), (12, 16), (16, 20)))


def test_moments_are_those_of_the_vae_at_every_side(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    made, modes = (build(images, tiny_pipeline, tmp_path / f"{kept}", moments=kept) for kept in (True, False))
    schedule, rows = ScaleSchedule(SCALES, (1.0, 0.8, 0.5, 0.0)), [4, 0, 3]
    vae, random = tiny_pipeline.vae, StepRandom(0, 3, "student", range(len(rows)))
    plain, drawn = modes.batch(rows, schedule, 2), made.batch(rows, schedule, 2, random)
    assert_same(vars_of(plain), vars_of(made.batch(rows, schedule, 2)))
    pixels = F.adaptive_avg_pool2d(torch.stack([images[row] for row in rows]), 16)
    for side, mode, got, purpose in ((8, plain.target, drawn.target, "target"), (6, plain.lower, drawn.lower, "lower")):
        with torch.no_grad():
            std = vae.encode(F.adaptive_avg_pool2d(pixels, 2 * side)).latent_dist.std * vae.config.scaling_factor
        torch.testing.assert_close(got - mode, std * random.normal(f"{purpose} latent", mode), atol=1e-5, rtol=1e-4)
    again = made.batch(rows, schedule, 2, random)
    assert_same(vars_of(drawn), vars_of(again))
    share = made.batch(rows[1:], schedule, 2, random[1:])  # of another process
    assert_same(vars_of(drawn[1:]), vars_of(share))
    assert not torch.equal(made.batch(rows, schedule, 2, replace(random, iteration=4)).target, drawn.target)
    first = made.batch(rows, schedule, 0, random)
    assert torch.equal(first.lower, first.target)  # the scale before the first is itself


def vars_of(batch: Batch) -> dict[str, torch.Tensor]:
    return {"target": batch.target, "lower": batch.lower, "embeds": batch.cond.prompt_embeds}


def test_latents_cannot_be_drawn_from_a_cache_of_modes(images: list, tiny_pipeline: Any, tmp_path: Path) -> None:
    made = build(images, tiny_pipeline, tmp_path)
    made.check(ScaleSchedule((4, 6), (1.0, 0.5, 0.0)))
    with pytest.raises(CacheError, match=r"mode of every latent alone.*--moments"):
        made.check(ScaleSchedule((4, 6), (1.0, 0.5, 0.0)), moments=True)
    with pytest.raises(CacheError, match="moments: False -> True"):
        build(images, tiny_pipeline, tmp_path, moments=True)
