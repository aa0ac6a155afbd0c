"""Measures a training iteration: seconds by the benchmark, FLOPs of every pass by the cost model."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from repro.harness import records
from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import ROOT, digest_folder, digest_json
from repro.harness.options import RunOptions
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.runs import open_run, records_path
from repro.harness.schema import Line, Record, RecordSet, Run
from repro.kinds.training_cost import keys
from repro.kinds.training_cost.declare import TrainingCostPage
from repro.profiles import load_profile
from repro.stages.images import load_pipeline, text_encoders
from repro.stages.published_order import PlainStep
from repro.stages.pytest_benchmark import check_files, configurations, machine, run_pytest, times
from repro.stages.random_weights import random_pipeline
from repro.stages.store import StageStore
from swd.backbones import backbone_of, denoiser_of
from swd.cost import encode_cost, prompt_cost, weight_bytes
from swd.cost.counting import count
from swd.cost.meta import meta_condition, on_meta
from swd.data.cache import Batch
from swd.rng import StepRandom
from swd.training import DistillConfig
from swd.training.cost import training_cost, update_bytes

Counts = dict[str, dict[str, Any]]

STAGE, VERSION = "training-counts", 4
BENCHMARK = "bench_training.py"
BENCHMARK_FILES = [ROOT / "benchmarks" / BENCHMARK]
# how the passes of an order are counted; those that only move time or memory share FLOPs
COUNTS: dict[str, dict[str, Any]] = {
    "one_network": {"share_fake_pass": False, "share_student_pass": False, "gradient_checkpointing": "full"},
    "fake_pass": {"share_fake_pass": True, "share_student_pass": False, "gradient_checkpointing": "full"},
    "student_pass": {"gradient_checkpointing": "full"},
    "half": {"gradient_checkpointing": "half"},
    "memory": {"gradient_checkpointing": "off"},
}
SAME = {"cached": "one_network", "lean": "memory"}
PROMPTS, IMAGES = "prompts through the text encoders", "images through the VAE"


def run(page: TrainingCostPage, profile: Profile, options: RunOptions) -> Path:
    """Time all orders anew, count what has not been counted, and write the records.

    Returns:
        The records file.

    Raises:
        ExperimentError: the benchmark is not there or failed.
    """
    check_files(BENCHMARK_FILES)  # counting takes minutes
    store = StageStore.stamped(options.work)
    opened = open_run(page, profile, options, {})
    counts = {name: _counts(store, page, name) for name in page.counted}
    measured, _ = run_pytest(BENCHMARK_FILES, options.work, page.rounds)
    opened = replace(opened, config={"benchmarks": configurations(measured), "machine": machine(measured)})
    closed = opened.close(
        device=str(_timing(page, measured)["device"]),
        dtype="float32",
        data_hash=digest_json(opened.config["benchmarks"]),
        weights_hash=digest_folder(ROOT / profile.weights.pipeline),
        reused=store.reused,
    )
    path = records_path(page, profile, options)
    records.save(path, RecordSet.of([closed, *_timed(closed, measured), *_counted(closed, page, counts)]))
    return path


def _timed(run: Run, measured: Any) -> Iterator[Line]:
    for entry in measured["benchmarks"]:
        extra = entry["extra_info"]
        for order, seconds in extra["seconds"].items():
            yield times(order, keys.seconds(extra["model"]), seconds)
            memory = float(extra["peak_bytes"][order])
            yield Record.of(run, order, keys.peak_bytes(extra["model"]), memory, unit="bytes")


def _timing(page: TrainingCostPage, measured: Any) -> dict[str, Any]:
    found = [entry for entry in measured["benchmarks"] if entry["extra_info"].get("model") == page.timed]
    if not found:
        raise ExperimentError(f"{BENCHMARK} did not time {page.timed}")
    extra: dict[str, Any] = found[0]["extra_info"]
    return extra


def _counted(run: Run, page: TrainingCostPage, counts: Mapping[str, Counts]) -> Iterator[Line]:
    for model, found in counts.items():
        for order in page.orders:
            passes, held = found["flops"][order.key], found["bytes"][order.key]
            yield Record.of(run, order.key, keys.flops(model), float(sum(passes.values())))
            yield Record.of(run, order.key, keys.counted_bytes(model), float(held), unit="bytes")
        for key in (page.orders[0].key, page.orders[-1].key):
            for name, flops in found["flops"][key].items():
                yield Record.of(run, keys.part(key, name), keys.flops(model), float(flops))


def _counts(store: StageStore, page: TrainingCostPage, name: str) -> Counts:
    """Of one model; minutes for SD3.5, so a finished count is kept."""
    profile = load_profile(name)
    options = {"schedule": "6", "fake_updates": page.fake_updates, "mixed_precision": "no"}
    config = resolve(profile, Row("counted", "Counted", train=options)).training
    architecture = profile.weights.architecture or digest_folder(ROOT / profile.weights.pipeline)
    inputs = {
        "version": VERSION,
        "config": config.as_json(),
        "architecture": architecture,
        "t5_tokens": page.counted[name],
        "batch": page.batch,
    }
    if not store.done(STAGE, inputs):
        store.finish(STAGE, inputs, _count(page, profile, config))
    return store.result(STAGE, inputs)


def _count(page: TrainingCostPage, profile: Profile, config: DistillConfig) -> Counts:
    """``flops``: order -> pass -> FLOPs of a sample; ``bytes``: order -> memory of a batch."""
    pipe, t5 = _skeleton(profile), page.counted[profile.name]
    denoiser, backbone = denoiser_of(pipe), backbone_of(pipe)
    t5 = backbone.token_length(pipe) if t5 is None else t5
    tokens = backbone.count_text_tokens(pipe, t5)
    flops, held = {}, {}
    for order, options in COUNTS.items():
        chosen = replace(config, **options)
        passes = training_cost(denoiser, chosen, text_tokens=tokens)
        flops[order] = {name: cost.flops for name, cost in passes.items()}
        held[order] = update_bytes(denoiser, chosen, text_tokens=tokens, batch=page.batch)
    flops |= {order: flops[twin] for order, twin in SAME.items()}
    flops["plain"] = {**_encoding(pipe, config, t5), **flops["one_network"]}
    held = {order: number + weight_bytes(pipe.transformer) for order, number in held.items()}
    held["lean"] = held["memory"]
    networks, update = 3 * weight_bytes(pipe.transformer), _plain_update_bytes(pipe, config, tokens, page.batch)
    held["cached"] = networks + update
    encoding = encode_cost(pipe.vae, config.schedule().scales[-1], batch=page.batch).peak_bytes
    held["plain"] = networks + weight_bytes(pipe.vae, *text_encoders(pipe)) + max(update, encoding)
    width = 4 if profile.distil.common.get("mixed_precision", "no") == "no" else 2
    return {"flops": flops, "bytes": {order: width * number // 4 for order, number in held.items()}}


def _plain_update_bytes(pipe: Any, config: DistillConfig, tokens: int, batch: int) -> int:
    """As `swd.training.cost.update_bytes`, for the published order: its passes share nothing, not even a batch."""
    transformer = on_meta(pipe.transformer, torch.float32)
    cond = meta_condition(backbone_of(pipe).denoiser(transformer), batch, tokens)

    class Plain(PlainStep):
        def encode_text(self, captions: list[str]) -> Any:
            return cond[: len(captions)]

    with torch.device("meta"):
        plain = Plain(config, SimpleNamespace(transformer=transformer))
        side = config.schedule().scales[-1]
        target = torch.empty(batch, transformer.config.in_channels, side, side)
    peaks, drawn = [], (Batch(target, target, cond), 0, StepRandom(0, 0, "", range(batch)))
    with plain.fake.trainable("fake"):
        peaks.append(count(lambda: plain.fake_losses(*drawn)["fake_total"].backward()).peak_bytes)
    with plain.student.trainable("student"):
        peaks.append(count(lambda: plain.student_losses(*drawn)["total"].backward()).peak_bytes)
    return max(peaks)


def _encoding(pipe: Any, config: DistillConfig, t5_tokens: int) -> dict[str, int]:
    """Fresh batches for every update: prompts, and images at the side of the step and of the one before."""
    updates, scales = config.fake_updates + 1, config.schedule().scales
    sides = (*scales, scales[0], *scales[:-1])
    images = sum(encode_cost(pipe.vae, side).flops for side in sides) // len(scales)
    return {PROMPTS: updates * prompt_cost(pipe, t5_tokens).flops, IMAGES: updates * images}


def _skeleton(profile: Profile) -> Any:
    """The pipeline of a profile, without weights where they are not at hand."""
    architecture = profile.weights.architecture
    if architecture is None:
        return load_pipeline(ROOT / profile.weights.pipeline, "float32", torch.device("cpu"))
    return random_pipeline(architecture, torch.device("meta"), torch.float32)
