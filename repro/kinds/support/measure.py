"""Counts what sampling and training of a model hold in memory, on its architecture without weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from repro.harness import records
from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import digest_json
from repro.harness.options import RunOptions
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.runs import open_run, records_path
from repro.harness.schema import Line, Record, RecordSet, Run
from repro.kinds.support import keys
from repro.kinds.support.declare import Model, SupportPage
from repro.profiles import load_profile
from repro.stages.images import text_encoders
from repro.stages.random_weights import random_pipeline
from repro.stages.store import StageStore
from swd.backbones import backbone_of, denoiser_of
from swd.cost import decode_cost, forward_cost, prompt_cost, weight_bytes
from swd.cost.meta import on_meta
from swd.data.layout import growing_pairs
from swd.lora.bank import AdapterBank
from swd.training import DistillConfig
from swd.training.cost import update_bytes
from swd.training.memory import BYTES_PER_PARAMETER

STAGE, VERSION = "support-counts", 1
DTYPE, DTYPE_BYTES = torch.bfloat16, 2
TRAIN = {  # the least memory that an update can take: one image a pass, every block computed again
    "batch_size": 1,
    "micro_batch_size": 1,
    "mixed_precision": "bf16",
    "gradient_checkpointing": "full",
}

Counts = dict[str, float]  # by metric


def run(page: SupportPage, profile: Profile, options: RunOptions) -> Path:
    """Count what has not been counted, and write the records.

    Returns:
        The records file.

    Raises:
        ExperimentError: a model has no architecture to count.
    """
    store = StageStore.stamped(options.work)
    opened = open_run(page, profile, options, page.content)
    found = {model.profile: _counted(store, model) for model in page.models}
    closed = opened.close(
        device="meta",
        dtype="bfloat16",
        data_hash=digest_json({}),
        weights_hash=digest_json({name: load_profile(name).weights.architecture for name in found}),
        reused=store.reused,
    )
    path = records_path(page, profile, options)
    records.save(path, RecordSet.of([closed, *_lines(closed, found)]))
    return path


def _lines(run: Run, found: dict[str, Counts]) -> Iterator[Line]:
    for name, counts in found.items():
        for metric, value in counts.items():
            yield Record.of(run, name, metric, value, unit="bytes" if "bytes" in metric else "")


def _counted(store: StageStore, model: Model) -> Counts:
    profile = load_profile(model.profile)
    if profile.weights.architecture is None:
        raise ExperimentError(f"profile {profile.name} does not say the architecture whose memory is to be counted")
    config = resolve(profile, Row("student", "Student", train={"schedule": model.schedule, **model.train, **TRAIN}))
    inputs = {
        "version": VERSION,
        "architecture": profile.weights.architecture,
        "config": config.training.as_json(),
    }
    if not store.done(STAGE, inputs):
        store.finish(STAGE, inputs, counts_of(random_pipeline_of(profile), config.training))
    counts: Counts = store.result(STAGE, inputs)
    return counts


def random_pipeline_of(profile: Profile) -> Any:
    """The pipeline of a profile without weights."""
    assert profile.weights.architecture is not None
    return random_pipeline(profile.weights.architecture, torch.device("meta"), DTYPE)


def counts_of(pipeline: Any, config: DistillConfig) -> Counts:
    """Every number of a model by its metric.

    Args:
        pipeline: on meta tensors.
        config: the distillation of its student.
    """
    backbone, denoiser = backbone_of(pipeline), denoiser_of(pipeline)
    length = backbone.token_length(pipeline)
    tokens, schedule = backbone.count_text_tokens(pipeline, length), config.schedule()
    parts = {
        "network": weight_bytes(denoiser.network),
        "text_encoders": weight_bytes(*text_encoders(pipeline)),
        "vae": weight_bytes(pipeline.vae),
    }
    working = {  # beside the weights, while the part runs
        "network": forward_cost(denoiser, schedule.scales[-1], text_tokens=tokens).peak_bytes,
        "text_encoders": prompt_cost(pipeline, length).peak_bytes,
        "vae": decode_cost(pipeline.vae, schedule.scales[-1]).peak_bytes,
    }
    condition = backbone.condition_shapes(denoiser.network, tokens)
    sides = [*schedule.scales, *(low for low, _ in growing_pairs(schedule.scales))]
    text_values = sum(torch.Size(shape).numel() for shape in condition.values())
    latent_values = sum(denoiser.latent_channels * side**2 for side in sides)
    found: Counts = {
        keys.PARAMETERS: float(sum(parameter.numel() for parameter in denoiser.network.parameters())),
        keys.STEPS: float(schedule.num_steps),
        keys.CACHE_BYTES: float(DTYPE_BYTES * (text_values + latent_values)),
        keys.peak_bytes("sample"): float(sum(parts.values()) + max(working.values())),
        keys.peak_bytes("sample_offloaded"): float(max(parts[part] + working[part] for part in parts)),
        keys.peak_bytes("train"): float(parts["network"] + _training_bytes(denoiser, config, tokens)),
    }
    return {**{keys.weight_bytes(part): float(parts[part]) for part in keys.PARTS}, **found}


def _training_bytes(denoiser: Any, config: DistillConfig, tokens: int) -> int:
    """Adapters with their optimisers, and an update under autocast, which halves what is counted in float32."""
    update = update_bytes(denoiser, config, text_tokens=tokens) * DTYPE_BYTES // 4
    with torch.device("meta"):
        twin = denoiser.backbone.denoiser(on_meta(denoiser.network))  # adapters stay on what they are put on
        bank: AdapterBank[Any] = AdapterBank(twin, rank=config.rank, alpha=config.alpha, seed=0)
    adapters = sum(parameter.numel() for name in bank.names for parameter in bank.parameters(name))
    return update + adapters * BYTES_PER_PARAMETER + adapters // len(bank.names) * 4  # and gradients of one of them
