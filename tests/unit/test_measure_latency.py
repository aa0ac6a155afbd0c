"""Table 3: clocks, random pipelines, the table timed on a tiny architecture, and its page."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny

from repro.harness import render
from repro.harness.experiment import ExperimentError
from repro.harness.plan import resolve
from repro.harness.profile import Distil, Teacher
from repro.harness.records import RecordSet, load
from repro.kinds import kind_of
from repro.kinds.latency import counts as latency_counts
from repro.kinds.latency import measure as latency
from repro.kinds.latency import training as latency_training
from repro.kinds.latency.declare import Protocol
from repro.kinds.latency.options import LatencyOptions
from repro.kinds.latency.page import page
from repro.kinds.latency.result import LatencyResult
from repro.profiles import mini, sd35_medium
from repro.stages.random_weights import random_pipeline, random_tiny_vae
from repro.stages.timing import Clock, PeakMemory, device_name, free_bytes, is_out_of_memory, matmul_flops
from repro.table3 import TABLE
from swd.errors import OutputFolderError

CPU = torch.device("cpu")
CLIP = {
    "vocab_size": 1000,
    "max_position_embeddings": 12,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "projection_dim": 4,
}
ARCHITECTURE: dict[str, Any] = {
    "backbone": "sd3",
    "scheduler": {"shift": 3.0},
    "transformer": {
        "sample_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 8,
        "pos_embed_max_size": 16,
    },
    "vae": {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "latent_channels": 4,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
    },
    "tiny_vae": {
        "latent_channels": 4,
        "encoder_block_out_channels": (8,) * 4,
        "decoder_block_out_channels": (8,) * 4,
    },
    "text_encoders": (
        CLIP,
        CLIP,
        {"vocab_size": 100, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
    ),
}
PROFILE = replace(
    sd35_medium.PROFILE,
    name="tiny",
    presets="mini",
    data=replace(sd35_medium.PROFILE.data, resolution=64),
    weights=replace(sd35_medium.WEIGHTS, architecture=ARCHITECTURE),
    teacher=Teacher(steps=2),
    distil=Distil(common={"batch_size": 2, "feature_block": 0, "rank": 2, "fake_updates": 1}),
    suffix="",
)
SMALL = replace(
    TABLE, rows=tuple(TABLE.row(key) for key in ("scalewise_4", "fullscale_4", "fullscale_2", "teacher_guided"))
)
PROTOCOL = Protocol(batch_sizes=(1, 8), rounds=3, train_rounds=1)


def light(patch: pytest.MonkeyPatch) -> None:
    """SD3.5 is counted, and the device gauged, in tests of their own."""
    patch.setattr(latency_counts, "published_arithmetic", lambda: iter([("sd35-medium", "ideal_6_tiny", 2.5, "")]))
    patch.setattr(latency, "matmul_flops", lambda *_: 1e11)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.fixture(autouse=True)
def stay_light(monkeypatch: pytest.MonkeyPatch) -> None:
    light(monkeypatch)


def options(folder: Path, **changes: Any) -> LatencyOptions:
    protocol = changes.pop("protocol", PROTOCOL)
    return LatencyOptions(out=folder / "out", work=folder / "work", device="cpu", protocol=protocol, **changes)


def measured(folder: Path, **changes: Any) -> RecordSet:
    return load(latency.run(SMALL, PROFILE, options(folder, **changes)))


@pytest.fixture
def uncounted_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is timed but not counted: counting takes longer."""
    monkeypatch.setattr(latency_counts, "_training_counts", lambda *_: iter(()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished measurement."""
    made = tmp_path_factory.mktemp("table3")
    with pytest.MonkeyPatch.context() as patch:
        light(patch)
        latency.run(SMALL, PROFILE, options(made))
    return made


def test_a_clock_gives_the_spans_between_its_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.5, 4.0])
    monkeypatch.setattr("repro.stages.timing.time.perf_counter", lambda: next(times))
    clock = Clock(CPU)
    for _ in range(3):
        clock.mark()
    assert clock.spans() == [0.5, 2.5]


def test_peak_memory_sees_what_was_held_for_a_moment() -> None:
    memory = PeakMemory(CPU)
    memory.restart()
    before = memory.bytes()
    torch.ones(60_000_000)  # 240 MB, gone at once
    after = memory.bytes()
    assert after - before > 100_000_000
    memory.restart()
    assert memory.bytes() < after - 100_000_000


def test_gauges_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.stages.timing.PEAK_SIDES", (256, 512))
    assert 1e8 < matmul_flops(CPU, torch.float32) < 1e15
    assert free_bytes(CPU) > 0
    assert device_name(CPU).endswith((" 1 thread", " threads"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_a_random_pipeline_draws_images_and_is_the_same_twice() -> None:
    first, second = (random_pipeline(ARCHITECTURE, CPU, torch.float32) for _ in range(2))
    first.set_progress_bar_config(disable=True)
    images = first("a red star", schedule="mini-4", seeds=[0], output_type="pt").images
    assert images.shape == (1, 3, 64, 64)
    for left, right in zip(first.transformer.parameters(), second.transformer.parameters(), strict=True):
        torch.testing.assert_close(left, right)
    assert first.encode_condition(["a star"]).prompt_embeds.shape == (1, 12 + 512, 16)


def test_a_skeleton_holds_nothing() -> None:
    pipeline = random_pipeline(ARCHITECTURE, torch.device("meta"), torch.bfloat16)
    parameters = [*pipeline.transformer.parameters(), *pipeline.text_encoder_3.parameters()]
    assert {(p.device.type, p.dtype) for p in parameters} == {("meta", torch.bfloat16)}
    assert isinstance(random_tiny_vae(ARCHITECTURE, CPU, torch.float32), AutoencoderTiny)


def test_every_row_has_times_costs_and_memory(folder: Path) -> None:
    records = load(folder / "out" / "records" / "table3.jsonl")
    series = {(line.variant, line.metric): line for line in records.series}
    for timed in SMALL.rows:
        for batch in (1, 8):
            assert len(series[timed.key, f"seconds_b{batch}"].values) == 3
            assert records.find(timed.key, "", f"peak_bytes_b{batch}")[0].value > 1e7
        parts = series[timed.key, "parts_b8"].values
        assert len(parts) == (3 if timed.row.is_teacher else resolve(PROFILE, timed.row).sample.steps + 2)
        assert all(seconds > 0 for seconds in parts)
    assert series["scalewise_4", "sides"].values == (16, 20, 24, 32)
    flops = {
        (key, part): records.find(key, "", f"flops_{part}")[0].value
        for key in ("fullscale_4", "fullscale_2", "teacher_guided")
        for part in ("text", "steps", "decode")
    }
    assert flops["fullscale_4", "steps"] == 2 * flops["fullscale_2", "steps"]
    assert flops["teacher_guided", "steps"] == 2 * flops["fullscale_2", "steps"]  # two steps, both rows each
    assert flops["teacher_guided", "text"] == flops["fullscale_2", "text"]
    assert records.find("teacher_guided", "", "flops_empty")[0].value == flops["fullscale_2", "text"]
    assert flops["fullscale_4", "decode"] == flops["fullscale_2", "decode"] > 0
    assert records.runs[0].config["random_weights"] is True


def test_training_is_timed_and_counted_for_both_losses(folder: Path) -> None:
    records = load(folder / "out" / "records" / "table3.jsonl")
    series = {(line.variant, line.metric): line for line in records.series}
    for key in ("scalewise_4", "fullscale_4", "fullscale_2"):
        full, pdm = (series[key, f"train_seconds_{loss}"].values for loss in ("full", "pdm"))
        assert 0 < min(pdm) < min(full)
        counts = [records.find(key, "", f"train_flops_{loss}")[0].value for loss in ("full", "pdm")]
        assert counts[0] > 2 * counts[1]
    assert ("teacher_guided", "train_seconds_full") not in series


def test_a_finished_measurement_is_not_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "out" / "records" / "table3.jsonl"
    before = path.read_bytes()
    monkeypatch.setattr(latency, "matmul_flops", lambda *_: pytest.fail("measured again"))
    latency.run(SMALL, PROFILE, options(folder))
    assert path.read_bytes() == before
    assert "nothing to do" in capsys.readouterr().err


def test_an_interrupted_measurement_keeps_its_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = replace(PROTOCOL, train_rounds=0)
    time = latency._Runner._time
    taken: list[int] = []

    def until_eight(self: Any, batch: int) -> Any:
        taken.append(batch)
        if batch == 8 and taken.count(8) == 1:
            raise KeyboardInterrupt
        return time(self, batch)

    monkeypatch.setattr(latency._Runner, "_time", until_eight)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, protocol=protocol)
    measured(tmp_path, protocol=protocol)
    assert taken == [1, 8, 8]


def test_a_row_without_memory_is_skipped_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = replace(PROTOCOL, batch_sizes=(8,), train_rounds=0)
    sample = latency._Runner._sample

    def hungry(self: Any, timed: Any, batch: int) -> Any:
        if timed.key == "fullscale_4":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sample(self, timed, batch)

    monkeypatch.setattr(latency._Runner, "_sample", hungry)
    records = measured(tmp_path, protocol=protocol)
    (skipped,) = records.find("fullscale_4", "", "seconds_b8")
    assert skipped.value is None
    assert skipped.note == "Out of memory at batch size 8."
    assert {line.variant for line in records.series if line.metric == "seconds_b8"} == {
        "scalewise_4",
        "fullscale_2",
        "teacher_guided",
    }
    text = page(LatencyResult(SMALL, PROFILE, records), tmp_path)
    assert "Out of memory at batch size 8." in text


def test_too_large_a_batch_is_known_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(latency.TimedPipeline, "pipeline", property(lambda _: pytest.fail("loaded")))
    monkeypatch.setattr(latency._Runner, "_sample", lambda *_: pytest.fail("ran"))
    records = measured(tmp_path, protocol=replace(PROTOCOL, train_rounds=0))
    assert "GiB were free" in records.find("fullscale_4", "", "seconds_b8")[0].note


def test_other_errors_are_not_taken_for_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(latency._Runner, "_sample", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        measured(tmp_path, protocol=replace(PROTOCOL, train_rounds=0))


@pytest.mark.parametrize(("vae", "train_rounds"), [("tiny", 1), ("none", 0)])
def test_other_decoders(tmp_path: Path, vae: str, train_rounds: int, uncounted_training: None) -> None:
    protocol = replace(PROTOCOL, batch_sizes=(1,), train_rounds=train_rounds, vae=vae, text_length=4)
    records = measured(tmp_path, protocol=protocol)
    decode = records.find("fullscale_2", "", "flops_decode")[0].value
    assert decode == 0 if vae == "none" else decode > 0


def test_the_fast_path_and_compilation_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that torch.compile sees runs, without a compiler behind it."""
    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda *args, **how: compile_(*args, **{**how, "mode": None, "backend": "eager"})
    )
    table = replace(SMALL, rows=(SMALL.row("scalewise_4"), SMALL.row("fullscale_2")), claims=())
    for fast in (False, True):
        protocol = replace(PROTOCOL, batch_sizes=(2,), train_rounds=0, compile=True, fast=fast)
        records = load(latency.run(table, PROFILE, options(tmp_path / str(fast), protocol=protocol)))
        assert sum(line.metric == "seconds_b2" for line in records.series) == 2


def test_one_row_without_t5_and_the_first_steps_of_its_training(tmp_path: Path, uncounted_training: None) -> None:
    protocol = replace(
        PROTOCOL, batch_sizes=(1,), rows=("scalewise_4",), t5=False, rounds=1, warmup=0, train_steps=2, train_batch=1
    )
    records = measured(tmp_path, protocol=protocol)
    times = {(line.variant, line.metric): line.values for line in records.series if "seconds" in line.metric}
    assert {key for key, _ in times} == {"scalewise_4"}
    assert len(times["scalewise_4", "seconds_b1"]) == 1
    for loss in ("full", "pdm"):
        assert times["scalewise_4", f"train_seconds_{loss}"][0] > 0
        assert records.find("scalewise_4", "", f"train_peak_bytes_{loss}")[0].value > 1e7
    text = page(LatencyResult(SMALL, PROFILE, records), tmp_path)
    assert "no T5" in text
    assert "Batch of 1, mean over the first 2 steps of the schedule" in text
    assert "Peak memory in training: Scale-wise 4 (full loss) " in text
    assert "a verdict takes" not in text  # there is nothing to compare with


def test_the_first_steps_of_a_schedule_train_as_in_the_whole() -> None:
    model = latency.TimedPipeline(PROFILE, replace(PROTOCOL, train_steps=2), CPU)
    whole, cut = (
        latency_training.training(replace(model, protocol=protocol), SMALL.row("scalewise_4")).schedule()
        for protocol in (PROTOCOL, model.protocol)
    )
    assert cut.scales == whole.scales[:2] == (16, 20)
    assert cut.sigmas == (*whole.sigmas[:2], 0.0)


def test_a_teacher_is_itself_again_after_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = replace(PROTOCOL, rows=("scalewise_4",), train_steps=1, warmup=0)
    model = latency.TimedPipeline(PROFILE, protocol, CPU)
    names: list[list[str]] = []
    cycle = latency_training._cycle

    def seen(config: Any, teacher: Any, *rest: Any, **how: Any) -> Any:
        names.append([name for name, _ in teacher.network.named_parameters()])
        return cycle(config, teacher, *rest, **how)

    monkeypatch.setattr(latency_training, "_cycle", seen)
    latency_training.training_times(model, [SMALL.row("scalewise_4")], tmp_path)
    assert len(names) == 2
    assert names[0] == names[1]
    assert not any("lora" in name for name in names[0])


def test_a_t5_needs_tokens(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="at least 1"):
        measured(tmp_path, protocol=replace(PROTOCOL, text_length=0))


def test_short_memory_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = replace(PROTOCOL, batch_sizes=(1,), train_rounds=0)
    with monkeypatch.context() as patch:
        patch.setattr(latency, "free_bytes", lambda _: 1000)
        assert not any(line.metric == "seconds_b1" for line in measured(tmp_path, protocol=protocol).series)
    assert any(line.metric == "seconds_b1" for line in measured(tmp_path, protocol=protocol).series)


def test_a_training_without_memory_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uncounted_training: None
) -> None:
    cycle = latency_training._cycle

    def hungry(config: Any, *rest: Any, **how: Any) -> Any:
        if config.uses_gan:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cycle(config, *rest, **how)

    monkeypatch.setattr(latency_training, "_cycle", hungry)
    records = measured(tmp_path, protocol=replace(PROTOCOL, batch_sizes=(1,)))
    assert records.find("fullscale_4", "", "train_seconds_full")[0].note == "Out of memory at batch size 2."
    assert any(line.metric == "train_seconds_pdm" for line in records.series)
    assert "Out of memory at batch size 2." in page(LatencyResult(SMALL, PROFILE, records), tmp_path)


@pytest.mark.parametrize(
    ("patched", "note"),
    [
        ({"free_bytes": lambda _: 1000}, "Needs more than 0.0 GiB, 0.0 GiB were free."),
        ({"build_cache": raising(torch.OutOfMemoryError("CUDA out of memory"))}, "Out of memory before training."),
    ],
)
def test_trainings_that_cannot_begin_are_skipped(
    patched: dict[str, Any], note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uncounted_training: None
) -> None:
    for name, stand_in in patched.items():
        monkeypatch.setattr(latency_training, name, stand_in)
    records = measured(tmp_path, protocol=replace(PROTOCOL, batch_sizes=(1,)))
    assert records.find("scalewise_4", "", "train_seconds_pdm")[0].note == note
    assert any(line.metric == "seconds_b1" for line in records.series)


def test_a_training_that_fails_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uncounted_training: None
) -> None:
    monkeypatch.setattr(latency_training, "_cycle", raising(OutputFolderError("the disk is full")))
    with pytest.raises(ExperimentError, match="the disk is full"):
        measured(tmp_path, protocol=replace(PROTOCOL, batch_sizes=(1,)))


def test_a_loaded_pipeline_is_let_go_of() -> None:
    model = latency.TimedPipeline(mini.PROFILE, PROTOCOL, CPU)
    network = weakref.ref(model.skeleton.transformer)
    model.release()
    assert network() is None


def test_a_profile_without_a_tiny_vae_says_so(tmp_path: Path) -> None:
    architecture = {k: v for k, v in ARCHITECTURE.items() if k != "tiny_vae"}
    profile = replace(PROFILE, weights=replace(PROFILE.weights, architecture=architecture))
    with pytest.raises(ExperimentError, match="no tiny VAE"):
        latency.run(SMALL, profile, options(tmp_path, protocol=replace(PROTOCOL, vae="tiny")))


def test_cuda_that_is_not_there_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    with pytest.raises(ExperimentError, match="sees no CUDA device"):
        latency.run(SMALL, PROFILE, replace(options(tmp_path), device="cuda"))


def test_the_page_follows_from_the_records(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = render.results(folder / "out", lambda _: SMALL, lambda _: PROFILE, kind_of)
    render.render(folder / "out", found)
    assert render.check(folder / "out", found) == []
    text = (folder / "out" / "table3.md").read_text()
    assert "figures/table3_times.png" in text
    assert "random weights" in text
    assert "28 of them make 1.61 s" in text
    row = next(line for line in text.splitlines() if line.startswith("| Scale-wise"))
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["4", "0.14", "0.17"]  # steps, v1, v2


@pytest.mark.slow
def test_the_arithmetic_of_the_published_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = {(model, metric): value for model, metric, value, _ in latency_counts.published_arithmetic()}
    assert found["sd35-medium", "ideal_6_tiny"] == pytest.approx(2.27, abs=0.005)
    assert found["sd35-medium", "ideal_6_full"] == pytest.approx(1.98, abs=0.005)
    assert found["sd35-large", "ideal_4_tiny"] == pytest.approx(1.72, abs=0.005)
