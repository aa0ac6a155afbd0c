"""The arithmetic of Table 3: FLOPs of images, steps and training iterations, and of the published setting."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from repro.kinds.latency import keys
from repro.kinds.latency.declare import AUTOENCODERS, LOSSES, Autoencoder, TimedRow
from repro.kinds.latency.timed_pipeline import TimedPipeline
from repro.kinds.latency.training import training
from repro.profiles import sd35_architecture
from repro.stages.random_weights import random_pipeline, random_tiny_vae
from swd.backbones import backbone_of, denoiser_of
from swd.cost import decode_cost, forward_cost, prompt_cost, schedule_cost
from swd.cost.counting import Cost
from swd.schedule import preset
from swd.training import DistillConfig
from swd.training.cost import training_cost

Count = tuple[str, str, float, str]  # variant, metric, value, unit
Costs = Mapping[str, Mapping[keys.Part, Cost]]


def image_costs(model: TimedPipeline, rows: Sequence[TimedRow]) -> Costs:
    """Row -> costs of one image, alone in its batch: text, steps, decode, and the empty prompt of a whole batch."""
    pipeline = model.skeleton
    found: dict[str, dict[keys.Part, Cost]] = {}
    text, denoiser = prompt_cost(pipeline, model.text_length), denoiser_of(pipeline)
    for timed in rows:
        schedule, guided = model.schedule(timed), model.plan(timed).sample.is_guided
        steps = schedule_cost(denoiser, schedule, text_tokens=model.text_tokens, guidance=guided)
        decode = decode_cost(pipeline.vae, schedule.scales[-1]) if model.protocol.vae != "none" else Cost()
        empty = text if guided else Cost()
        found[timed.key] = {"text": text, "steps": steps, "decode": decode, "empty": empty}
    return found


def counts(model: TimedPipeline, rows: Sequence[TimedRow], costs: Costs) -> list[Count]:
    """FLOPs of an image by part, of a step by side, of a training iteration by loss."""
    found = [
        (key, keys.flops(part), float(cost.flops), "FLOP")
        for key, parts in costs.items()
        for part, cost in parts.items()
    ]
    for side in sorted({side for timed in rows for side in model.schedule(timed).scales}):
        flops = forward_cost(denoiser_of(model.skeleton), side, text_tokens=model.text_tokens).flops
        found.append((keys.DEVICE, keys.flops_of_side(side), float(flops), "FLOP"))
    if model.protocol.train_rounds:
        found += _training_counts(model, [timed for timed in rows if not timed.row.is_teacher])
    return [*found, *published_arithmetic()]


def _training_counts(model: TimedPipeline, students: Sequence[TimedRow]) -> Iterator[Count]:
    """For each sample; every full-scale student trains at the same cost, whatever its steps."""
    known: dict[tuple[frozenset[int], int, DistillConfig], float] = {}
    for timed in students:
        for loss, options in LOSSES.items():
            config = training(model, timed, options)
            schedule = config.schedule()
            steps = schedule.num_steps if schedule.is_scalewise else 1
            work = (frozenset(schedule.scales), steps, replace(config, preset="", scales=None, boundaries=None))
            if work not in known:
                passes = training_cost(denoiser_of(model.skeleton), config, text_tokens=model.text_tokens)
                known[work] = float(sum(cost.flops for cost in passes.values()))
            yield timed.key, keys.train_flops(loss), known[work], "FLOP"


def published_arithmetic() -> Iterator[Count]:
    """What FLOPs say of the published setting: SD3.5, 512 tokens of T5, an image with no, a tiny or the full VAE."""
    meta, dtype = torch.device("meta"), torch.bfloat16
    for name, transformer in (("sd35-medium", sd35_architecture.MEDIUM), ("sd35-large", sd35_architecture.LARGE)):
        architecture = {**sd35_architecture.PIPELINE, "transformer": transformer}
        pipeline, tiny = random_pipeline(architecture, meta, dtype), random_tiny_vae(architecture, meta, dtype)
        backbone = backbone_of(pipeline)
        text = prompt_cost(pipeline, backbone.token_length(pipeline))
        around: dict[Autoencoder, int] = {
            "none": 0,
            "tiny": text.flops + decode_cost(tiny, 128).flops,
            "full": text.flops + decode_cost(pipeline.vae, 128).flops,
        }
        for steps in (6, 4):
            schedules = (preset(f"sd35-full-{steps}"), preset(f"sd35-{steps}"))
            slow, fast = (schedule_cost(denoiser_of(pipeline), schedule).flops for schedule in schedules)
            for vae in AUTOENCODERS:
                yield name, keys.ideal(steps, vae), (slow + around[vae]) / (fast + around[vae]), ""
    yield keys.DEVICE, keys.TEXT_TOKENS, float(backbone.text_tokens), ""
