"""Table 3 in the paper's protocol: half precision, compiled, the tiny VAE, batches of eight, from text to pixels."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from repro.gpu_parts.clock import done_once, gauged, traced
from repro.gpu_parts.networks import SMOKE_TOKENS, architecture
from repro.gpu_parts.task import Item, Items, Lazy, Task, named, rounds, single
from repro.kinds.gpu import keys
from repro.kinds.gpu.journal import Found
from repro.kinds.latency.counts import Costs, image_costs
from repro.kinds.latency.declare import Protocol, TimedRow
from repro.kinds.latency.timed_pipeline import TimedPipeline
from repro.profiles import load_profile
from repro.stages.random_weights import WORDS
from repro.stages.row_times import image_spans
from repro.stages.timing import fitting_rounds
from repro.table3 import TABLE


def items(task: Task) -> Items:
    """Row by row of every model."""
    rows = [row for row in TABLE.rows if row.key in task.scope.table_rows]
    for name in task.scope.table_models:
        model = Lazy(partial(_model, task, name))
        costs = Lazy(partial(_costs, model, rows))
        for row in rows:
            variant = keys.table(name, row.key)

            def measure(row: TimedRow = row, variant: str = variant, model: Lazy[TimedPipeline] = model) -> list[Found]:
                return _measure(task, model(), row, variant)

            yield Item(named(variant), measure)
        yield Item(named(keys.table(name, "work")), partial(_work, task, name, costs))
        model.drop()


def _model(task: Task, name: str) -> TimedPipeline:
    """The paper's protocol; in a smoke run tiny networks on the mini world's schedules."""
    scope = task.scope
    protocol = Protocol(
        batch_sizes=(scope.table_batch,),
        dtype=scope.table_dtype,
        text_length=SMOKE_TOKENS if task.smoke else None,
        vae="tiny",
        compile=True,
    )
    profile = load_profile("smoke" if task.smoke else name)
    profile = replace(profile, weights=replace(profile.weights, architecture=architecture(task, name)))
    model = TimedPipeline(profile, protocol, task.device)
    model.check()
    return model


def _costs(model: Lazy[TimedPipeline], rows: Sequence[TimedRow]) -> Costs:
    return image_costs(model(), rows)


def _measure(task: Task, model: TimedPipeline, row: TimedRow, variant: str) -> list[Found]:
    batch, (least, most) = task.scope.table_batch, task.scope.rounds
    captions = [f"a {WORDS[4 + number % 16]} star above {number}" for number in range(batch)]
    plan = model.plan(row).sample

    def call() -> list[float]:
        return image_spans(plan, model.pipeline, captions, device=task.device, text_length=model.text_length)

    with traced(task):
        first = sum(call())
        spans, peak = gauged(call, task.device)
        second = sum(spans)
        found = [call() for _ in range(fitting_rounds(sum(call()), task.scope.seconds, least=least, most=most))]
    medians = [median(part) / batch for part in zip(*found, strict=True)]
    return [
        rounds(variant, keys.SECONDS, [sum(spans) / batch for spans in found]),
        rounds(variant, keys.PARTS, medians, over="part"),
        single(variant, keys.ONCE, done_once(first, second, [sum(spans) for spans in found]), "s"),
        single(variant, keys.PEAK_BYTES, peak, "bytes"),
    ]


def _work(task: Task, name: str, costs: Lazy[Costs]) -> list[Found]:
    """FLOPs of an image of every row: text, steps, decoding, and its share of the batch's empty prompt."""
    found = []
    for row, parts in costs().items():
        flops = sum(cost.flops / (task.scope.table_batch if part == "empty" else 1) for part, cost in parts.items())
        found.append(single(keys.table(name, row), keys.FLOPS, flops))
    return found
