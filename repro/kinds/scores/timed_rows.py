"""Measures latency and parameters of the rows of a table with a clock."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from statistics import median
from typing import Any, Protocol

import numpy as np
import torch

from repro.harness.bootstrap import median_interval
from repro.harness.provenance import versions
from repro.harness.sampling import SamplingPlan
from repro.harness.schema import Record, Run, Series
from repro.kinds.scores.costs import LATENCY, PARAMETERS, SECONDS
from repro.kinds.scores.declare import Clock, Table
from repro.stages.row_times import image_spans, interleaved, row_times
from repro.stages.store import StageStore
from repro.stages.timing import device_name
from swd.backbones import backbone_of, denoiser_of


@dataclass(frozen=True, kw_only=True)
class TimedRows:
    """Rows that sample one pipeline, students and teacher.

    Attributes:
        plans: by the key of the row.
        load: makes the pipeline; called once.
        captions: so many different ones, so that none is encoded for free.
        device: where it runs.
        store: keeps what was timed.
        inputs: what the times follow from, besides plans, clock, device and versions.
    """

    plans: Mapping[str, SamplingPlan]
    load: Callable[[], Any]
    captions: Callable[[int], Sequence[str]]
    device: torch.device
    store: StageStore
    inputs: Mapping[str, Any]

    @cached_property
    def pipeline(self) -> Any:
        """The base network with its text encoders and VAE."""
        return self.load()

    def seconds(self, clock: Clock) -> dict[str, list[float]]:
        """Row -> seconds of an image in every round."""
        inputs = {
            **self.inputs,
            "rows": {key: plan.as_json() for key, plan in self.plans.items()},
            "clock": asdict(clock),
            "device": device_name(self.device),
            "versions": versions(),
        }
        return row_times(self.store, inputs, lambda: self._measure(clock))

    def _measure(self, clock: Clock) -> dict[str, list[float]]:
        calls = {key: partial(self._call, plan, clock.batch_size) for key, plan in self.plans.items()}
        return interleaved(calls, rounds=clock.rounds, warmup=clock.warmup, label=f"batch of {clock.batch_size}")

    def _call(self, plan: SamplingPlan, batch: int) -> float:
        length = backbone_of(self.pipeline).token_length(self.pipeline)
        spans = image_spans(plan, self.pipeline, self.captions(batch), device=self.device, text_length=length)
        return sum(spans) / batch

    def parameters(self, clock: Clock) -> dict[str, float]:
        """Row -> parameters of the network that is evaluated at every step."""
        count = sum(weight.numel() for weight in denoiser_of(self.pipeline).network.parameters())
        return dict.fromkeys(self.plans, float(count))


class Timed(Protocol):
    """Rows with their latency and parameters."""

    def seconds(self, clock: Clock) -> dict[str, list[float]]:
        """Row -> seconds of an image in every round."""
        ...

    def parameters(self, clock: Clock) -> dict[str, float]:
        """Row -> parameters of the network that is evaluated at every step."""
        ...


def cost_lines(run: Run, table: Table, rows: Timed) -> Iterator[Record | Series]:
    """Latency, its rounds, and parameters of every row.

    Args:
        run: that measured them.
        table: with a clock.
        rows: its rows.

    Raises:
        ValueError: the table has no clock.
    """
    if table.clock is None:
        raise ValueError(f"{table.key} has no clock")
    parameters = rows.parameters(table.clock)
    for key, seconds in rows.seconds(table.clock).items():
        bounds = median_interval(np.array(seconds))
        yield Record.of(run, key, LATENCY.key, median(seconds), n=len(seconds), bounds=bounds, unit="s")
        yield Series.of(key, SECONDS, seconds, over="round", unit="s")
        yield Record.of(run, key, PARAMETERS, parameters[key], unit="parameters")
