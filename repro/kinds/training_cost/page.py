"""The page of training costs, from the records alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from repro.harness.cells import DASH, markdown, number
from repro.harness.page import footer, joined
from repro.kinds.training_cost import keys
from repro.kinds.training_cost.result import TrainingCostResult

Unit = tuple[str, float]
MEASURE = "nox -s bench   # measure, and write this page and that of the benchmarks"


def page(result: TrainingCostResult, _: Path) -> str:
    """The Markdown page."""
    timed = [model for model in result.experiment.counted if result.about(model)]
    blocks = [
        f"# {result.title}",
        result.experiment.question,
        f"> {result.profile.caption}",
        "## By the clock",
        *(block for model in timed for block in _clock(result, model)),
        "## By count",
        _counted(result, keys.flops, ("GFLOP a sample", 1e9), ("TFLOP a sample", 1e12)),
        f"Peak memory of an iteration at {result.experiment.batch} samples an update, at the largest scale:",
        _counted(result, keys.counted_bytes, ("MiB", 2**20), ("GiB", 2**30)),
        "## Where the work goes",
        _passes(result),
        *result.experiment.notes,
        *footer(result, MEASURE),
    ]
    return joined(blocks)


def _clock(result: TrainingCostResult, model: str) -> list[str]:
    """How a model was timed, the table, and whether the aim is met."""
    about, first, rows = result.about(model) or {}, result.experiment.orders[0].key, []
    ratios = {o.key: result.seconds(o.key, model) / result.seconds(first, model) for o in result.experiment.orders}
    for order in result.experiment.orders:
        memory = result.value(order.key, keys.peak_bytes(model))
        cells = [order.label, _quartiles(result.seconds(order.key, model)), _quartiles(ratios[order.key])]
        rows.append([*cells, number(memory / 2**20, 0) if memory else DASH])
    ratio = float(np.median(ratios[result.experiment.orders[-1].key]))
    verdict = "met" if ratio <= result.experiment.aim else "missed"
    return [
        f"**{model}**: {about['device']}, {about['dtype']}, schedule {about['schedule']}, batch size "
        f"{about['batch_size']}. Medians, quartiles in brackets.",
        markdown(["Order", "Seconds an iteration", "Of the published", "Peak memory, MiB"], rows, left=1),
        f"Aim: at most {number(result.experiment.aim, 2)} of the published order. It is {verdict}: {number(ratio, 2)}.",
    ]


def _counted(result: TrainingCostResult, key: Callable[[str], str], small: Unit, large: Unit) -> str:
    """A number of every order and model, in the small unit for the model that is timed, beside the first order's."""
    models, first = list(result.experiment.counted), result.experiment.orders[0].key
    units = {model: small if model == result.experiment.timed else large for model in models}
    rows = []
    for order in result.experiment.orders:
        cells = [order.label]
        for model in models:
            value, whole = (result.value(variant, key(model)) for variant in (order.key, first))
            cells += [number(value / units[model][1], 1), number(value / whole, 2)] if value and whole else [DASH, DASH]
        rows.append(cells)
    heads = ["Order", *(head for model in models for head in (f"{model}, {units[model][0]}", "of the published"))]
    return markdown(heads, rows, left=1)


def _passes(result: TrainingCostResult) -> str:
    """Parts of the first and the last order, of the largest models alone."""
    models = [model for model in result.experiment.counted if model != result.experiment.timed]
    ends = {"published": result.experiment.orders[0].key, "lean": result.experiment.orders[-1].key}
    variants = dict.fromkeys(record.variant for record in result.records.records)
    names = {name for order in ends.values() for variant in variants if (name := keys.part_name(variant, order))}
    heads = ["Pass", *(f"{model}, {end}, TFLOP" for model in models for end in ends)]
    rows = []
    for name in sorted(names):
        values = [
            result.value(keys.part(order, name), keys.flops(model)) for model in models for order in ends.values()
        ]
        rows.append([name[0].upper() + name[1:], *(DASH if v is None else number(v / 1e12, 1) for v in values)])
    return markdown(heads, rows, left=1)


def _quartiles(values: np.ndarray) -> str:
    low, middle, high = (number(float(q), 2) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return f"{middle} [{low}, {high}]"
