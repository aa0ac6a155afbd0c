"""The page of training costs, from the records alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from repro.harness.cells import DASH, markdown, number
from repro.harness.claims import Judgement
from repro.harness.experiment import Profile
from repro.harness.page import EDITED, provenance
from repro.harness.schema import RecordSet
from repro.harness.training_cost import TrainingCostPage

COMMANDS = """\
```sh
nox -s bench   # measure, and write this page and that of the benchmarks
nox -s tables  # only writes the pages again, from the records
```"""


@dataclass(frozen=True)
class TrainingCostResult:
    """The page, the profile it belongs to, and what was measured."""

    page: TrainingCostPage
    profile: Profile
    records: RecordSet

    @property
    def title(self) -> str:
        """Of the page."""
        return self.page.title

    @property
    def stem(self) -> str:
        """File name of the page, without the ending."""
        return self.profile.stem(self.page.key)

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """None: the paper does not say what its training spends."""
        return ()

    def about(self, model: str) -> Mapping[str, Any] | None:
        """How a model was timed; None if it was not."""
        described: Mapping[str, Any] = self.records.runs[0].config["benchmarks"]
        return next((about for about in described.values() if about["model"] == model), None)

    def seconds(self, order: str, model: str) -> np.ndarray:
        """Of an iteration, in every round."""
        wanted = (order, f"seconds_{model}")
        return np.array(next(c.y for c in self.records.curves if (c.variant, c.metric) == wanted))

    def value(self, variant: str, metric: str) -> float | None:
        """A recorded number."""
        found = self.records.find(variant, "", metric)
        return found[0].value if found else None


def page(result: TrainingCostResult) -> str:
    """The Markdown page."""
    timed = [model for model in result.page.counted if result.about(model)]
    blocks = [
        f"# {result.title}",
        result.page.question,
        f"> {result.profile.caption}",
        "## By the clock",
        *(block for model in timed for block in _clock(result, model)),
        "## By count",
        _count(result),
        "## Where the work goes",
        _passes(result),
        *result.page.notes,
        "## Make it again",
        COMMANDS,
        f"Numbers: [records/{result.stem}.jsonl](records/{result.stem}.jsonl). {EDITED}",
        "---",
        "\n".join(f"- {provenance(run)}" for run in result.records.runs),
    ]
    return "\n\n".join(blocks) + "\n"


def _clock(result: TrainingCostResult, model: str) -> list[str]:
    """How a model was timed, the table, and whether the aim is met."""
    about, first, rows = result.about(model) or {}, result.page.orders[0].key, []
    ratios = {o.key: result.seconds(o.key, model) / result.seconds(first, model) for o in result.page.orders}
    for order in result.page.orders:
        memory = result.value(order.key, f"peak_bytes_{model}")
        cells = [order.label, _quartiles(result.seconds(order.key, model)), _quartiles(ratios[order.key])]
        rows.append([*cells, number(memory / 2**20, 0) if memory else DASH])
    ratio = float(np.median(ratios[result.page.orders[-1].key]))
    verdict = "met" if ratio <= result.page.aim else "missed"
    return [
        f"**{model}**: {about['device']}, {about['dtype']}, schedule {about['schedule']}, batch size "
        f"{about['batch_size']}. Medians, quartiles in brackets.",
        markdown(["Order", "Seconds an iteration", "Of the published", "Peak memory, MiB"], rows, left=1),
        f"Aim: at most {number(result.page.aim, 2)} of the published order. It is {verdict}: {number(ratio, 2)}.",
    ]


def _count(result: TrainingCostResult) -> str:
    models = list(result.page.counted)
    heads = ["Order", *(head for model in models for head in (f"{model}, {_unit(model)} a sample", "of the published"))]
    rows = []
    for order in result.page.orders:
        cells = [order.label]
        for model in models:
            flops, whole = (
                result.value(key, f"flops_{model}") or 0.0 for key in (order.key, result.page.orders[0].key)
            )
            cells += [number(flops / _scale(model), 1), number(flops / whole, 2)]
        rows.append(cells)
    return markdown(heads, rows, left=1)


def _passes(result: TrainingCostResult) -> str:
    """Parts of the first and the last order, of the largest models alone."""
    models = [model for model in result.page.counted if model != result.page.timed]
    ends = {"published": result.page.orders[0].key, "lean": result.page.orders[-1].key}
    names = dict.fromkeys(
        record.variant.partition(": ")[2]
        for key in ends.values()
        for record in result.records.records
        if record.variant.startswith(f"{key}: ")
    )
    heads = ["Pass", *(f"{model}, {end}, TFLOP" for model in models for end in ends)]
    rows = []
    for name in sorted(names):
        values = [result.value(f"{key}: {name}", f"flops_{model}") for model in models for key in ends.values()]
        rows.append([name[0].upper() + name[1:], *(DASH if v is None else number(v / 1e12, 1) for v in values)])
    return markdown(heads, rows, left=1)


def _unit(model: str) -> str:
    return "GFLOP" if _scale(model) == 1e9 else "TFLOP"


def _scale(model: str) -> float:
    return 1e9 if model == "mini" else 1e12


def _quartiles(values: np.ndarray) -> str:
    low, middle, high = (number(float(q), 2) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return f"{middle} [{low}, {high}]"
