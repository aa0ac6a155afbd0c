"""SD3.5's steps from noise to latents: the network as it is, its fast copies, and diffusers' own pipeline."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from repro.gpu_parts.clock import Call, timed
from repro.gpu_parts.networks import condition, pipeline, schedule, text_tokens
from repro.gpu_parts.task import Item, Items, Lazy, Task, named, rounds, single
from repro.kinds.gpu import keys
from repro.kinds.gpu.declare import Provider
from repro.kinds.gpu.journal import Found
from repro.stages.plain_diffusers import plain_call
from swd.backbones import denoiser_of
from swd.backbones.base import Denoiser
from swd.backbones.fast import FastOptions
from swd.cost import schedule_cost
from swd.sampler import sample
from swd.schedule import ScaleSchedule

Variant = Callable[[str, str, int, str], str]
Baseline = Callable[[Task, Any, ScaleSchedule, int], Call]


@dataclass(frozen=True)
class Cases:
    """What a provider goes through.

    Attributes:
        variant: name of a case in the records.
        presets: schedules, all of them at a batch size before the next.
        batches: images.
        baseline: makes the call that takes turns with the provider's; None for none.
    """

    variant: Variant
    presets: tuple[str, ...]
    batches: tuple[int, ...]
    baseline: Baseline | None = None


def items(task: Task) -> Items:
    """What every model computes, then each provider through all presets and batches, on one compilation."""
    scope = task.scope
    cases = Cases(keys.sampling, scope.presets, scope.batches, _diffusers)
    for model in scope.models:
        yield from work_items(task, "sampling", model, scope.presets)
    for turn, model in itertools.product(scope.turns, scope.models):
        made = Lazy(partial(pipeline, task, model))
        for key in turn:
            yield from provider_items(task, model, key, made, cases)
        made.drop()


def work_items(task: Task, part: str, model: str, presets: tuple[str, ...]) -> Items:
    """FLOPs of an image, counted on meta tensors."""
    skeleton = Lazy(lambda: denoiser_of(pipeline(task, model, torch.device("meta"))))
    for name in presets:
        variant = keys.work(part, model, name)

        def count(name: str = name, variant: str = variant) -> list[Found]:
            cost = schedule_cost(skeleton(), schedule(task, name), text_tokens=text_tokens(task, skeleton()))
            return [single(variant, keys.FLOPS, cost.flops)]

        yield Item(named(variant), count)


def provider_items(task: Task, model: str, key: str, made: Lazy[Any], cases: Cases) -> Iterator[Item]:
    """A provider through all cases: its blocks stay compiled from one to the next, and are forgotten after the last."""
    provider = task.page.provider(key)
    denoiser = Lazy(lambda: _denoiser(made(), provider, task))
    for batch, name in itertools.product(cases.batches, cases.presets):
        case = cases.variant(model, name, batch, key)

        def measure(case: str = case, name: str = name, batch: int = batch) -> list[Found]:
            steps = schedule(task, name)
            calls: dict[str, Call] = {"own": own_call(task, denoiser(), steps, batch)}
            if cases.baseline is not None:
                calls["baseline"] = cases.baseline(task, made(), steps, batch)
            return _timed(task, case, calls)

        yield Item(named(case), measure)
    denoiser.drop()


def _timed(task: Task, case: str, calls: dict[str, Call]) -> list[Found]:
    found = timed(task, calls)
    beside = [rounds(case, keys.BASELINE, found["baseline"].rounds)] if "baseline" in found else []
    return [*found["own"].found(case), *beside]


def _denoiser(pipe: Any, provider: Provider, task: Task) -> Denoiser:
    """The network as it is, or a fast copy that shares its weights."""
    torch.compiler.reset()  # torch keeps a few versions of a piece of code, and the last provider's are not ours
    if provider.fast is None:
        return denoiser_of(pipe).eval()
    pipe.enable_fast(FastOptions(**{"compile": True, **provider.fast}, prompt_cache=0))
    fast: Denoiser = pipe.denoiser()
    pipe.disable_fast()
    return fast


def own_call(task: Task, denoiser: Denoiser, steps: ScaleSchedule, batch: int) -> Call:
    """From noise to latents. The noise is drawn where the network is, as diffusers' is."""
    cond = condition(task, denoiser, batch)

    def call() -> Any:
        seeds = [torch.Generator(task.device).manual_seed(number) for number in range(batch)]
        return sample(denoiser, steps, cond, seeds)

    return call


def _diffusers(task: Task, pipe: Any, steps: ScaleSchedule, batch: int) -> Call:
    draw = plain_call(pipe, steps)
    cond: Any = condition(task, denoiser_of(pipe), batch)
    return lambda: draw(
        prompt_embeds=cond.prompt_embeds,
        pooled_prompt_embeds=cond.pooled,
        output_type="latent",
        generator=torch.Generator(task.device).manual_seed(0),
    )
