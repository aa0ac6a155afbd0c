"""A training iteration: the published order of passes, and the lean one, which take turns at every step of a cycle."""

from functools import partial
from statistics import fmean
from typing import Any

import torch

from repro.gpu_parts.clock import gauged, seconds
from repro.gpu_parts.networks import SMOKE_TOKENS, architecture, schedule
from repro.gpu_parts.task import Item, Items, Lazy, Task, rounds, single
from repro.kinds.gpu import keys
from repro.kinds.gpu.journal import Found
from repro.profiles import load_profile
from repro.stages.random_weights import WORDS, random_pipeline
from repro.stages.timing import fitting_rounds
from repro.stages.training_orders import PUBLISHED, Iterate, TrainingOrders
from swd.backbones import backbone_of, denoiser_of
from swd.schedule import preset_spec
from swd.training import DistillConfig
from swd.training.cost import training_cost

ENDS = ("plain", "lean")


def items(task: Task) -> Items:
    """What an iteration computes, then both ends in turn: a single item, for only within a round do they compare."""
    made = Lazy(partial(_orders, task))
    yield Item("work", lambda: [_work(task, made())])
    yield Item(" and ".join(ENDS), lambda: _measure(task, made()))
    made.drop()


def _config(task: Task) -> DistillConfig:
    scope = task.scope
    spec, steps = preset_spec(scope.train_preset), schedule(task, scope.train_preset)
    common = {} if task.smoke else load_profile(scope.train_model).distil.common
    options: dict[str, Any] = {**common, "batch_size": scope.train_batch, **PUBLISHED, **scope.train}
    return DistillConfig(preset=scope.train_preset, scales=steps.scales, boundaries=spec.boundaries, **options)


def _orders(task: Task) -> TrainingOrders:
    """Random images: what they show does not move a clock."""
    config = _config(task)
    pipe = random_pipeline(architecture(task, task.scope.train_model), task.device, task.dtype)
    pipe.set_progress_bar_config(disable=True)
    if task.smoke:
        pipe.register_to_config(max_sequence_length=SMOKE_TOKENS)
    count, pixels = 2 * config.batch_size, config.schedule().scales[-1] * pipe.vae_scale_factor
    images = torch.rand(count, 3, pixels, pixels, generator=torch.Generator().manual_seed(0)) * 2 - 1
    captions = [f"a {WORDS[4 + number % 8]} star above {number}" for number in range(count)]
    return TrainingOrders(config, pipe, images, captions, task.scratch)


def _work(task: Task, orders: TrainingOrders) -> Found:
    """FLOPs of an iteration of a whole batch in the lean order, the mean over the steps of the schedule."""
    backbone = backbone_of(orders.pipeline)
    tokens = backbone.count_text_tokens(orders.pipeline, backbone.token_length(orders.pipeline))
    passes = training_cost(denoiser_of(orders.pipeline), orders.config, text_tokens=tokens)
    flops = orders.config.batch_size * sum(cost.flops for cost in passes.values())
    return single(keys.training("work"), keys.FLOPS, flops)


def _measure(task: Task, orders: TrainingOrders) -> list[Found]:
    iterates = {name: orders.order(name) for name in ENDS}
    steps = task.scope.train_steps or orders.schedule.num_steps
    for iterate in iterates.values():
        iterate(0)  # warms up
    last = {name: partial(iterate, steps - 1) for name, iterate in iterates.items()}
    memory = {name: gauged(call, task.device)[1] + orders.network_bytes(name) for name, call in last.items()}
    taken: dict[str, list[float]] = {name: [] for name in ENDS}
    least, most = task.scope.rounds
    cycles = fitting_rounds(_cycle(task, iterates, steps, 1, taken), task.scope.seconds, least=least, most=most)
    for cycle in range(2, cycles + 2):
        _cycle(task, iterates, steps, cycle, taken)
    found = []
    for name in ENDS:
        variant = keys.training(name)
        found += [rounds(variant, keys.SECONDS, taken[name][1:] or taken[name])]
        found += [single(variant, keys.PEAK_BYTES, memory[name], "bytes")]
    return found


def _cycle(task: Task, iterates: dict[str, Iterate], steps: int, cycle: int, taken: dict[str, list[float]]) -> float:
    """Mean seconds of an iteration over the steps of a cycle, noted for every order; gives those of all together."""
    spent: dict[str, list[float]] = {name: [] for name in iterates}
    for iteration in range(steps * cycle, steps * (cycle + 1)):
        for name, iterate in iterates.items():
            spent[name].append(seconds(partial(iterate, iteration), task.device))
    for name, found in spent.items():
        taken[name].append(fmean(found))
    return sum(map(sum, spent.values()))
