"""Measures latency and parameters of the rows of a table with a clock."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol

import torch

from repro.harness.clock import mean_time
from repro.harness.provenance import versions
from repro.harness.sampling import SamplingPlan
from repro.harness.schema import Record, Run, Series
from repro.kinds.scores.costs import LATENCY, PARAMETERS, SECONDS
from repro.kinds.scores.declare import Clock, Table
from repro.stages.row_times import image_spans, interleaved, row_times
from repro.stages.store import StageStore
from repro.stages.timing import device_name
from swd.backbones import backbone_of, denoiser_of


@dataclass(frozen=True, slots=True)
class RowTiming:
    """What was timed of a row.

    Attributes:
        seconds: of an image, in every round; none where a batch did not fit in memory.
        parameters: of the network that is evaluated at every step; None where it did not fit by itself.
    """

    seconds: Sequence[float]
    parameters: float | None


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

    def timings(self, clock: Clock) -> Iterator[tuple[str, RowTiming]]:
        """Every row with its timing."""
        seconds = self._seconds(clock)
        count = sum(weight.numel() for weight in denoiser_of(self.pipeline).network.parameters())
        for key in self.plans:
            yield key, RowTiming(seconds[key], float(count))

    def _seconds(self, clock: Clock) -> dict[str, list[float]]:
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


class Timed(Protocol):
    """Rows with their latency and parameters."""

    def timings(self, clock: Clock) -> Iterator[tuple[str, RowTiming]]:
        """Every row with its timing."""
        ...


def cost_lines(run: Run, table: Table, rows: Timed) -> Iterator[Record | Series]:
    """Latency, its rounds, and parameters of every row; where they did not fit in memory, that in place of a number.

    Args:
        run: that measured them.
        table: with a clock.
        rows: its rows.

    Raises:
        ValueError: the table has no clock.
    """
    if table.clock is None:
        raise ValueError(f"{table.key} has no clock")
    short = f"Out of memory in batches of {table.clock.batch_size}; --clock-batch N takes smaller ones."
    for key, timed in rows.timings(table.clock):
        if timed.seconds:
            seconds, bounds = mean_time(timed.seconds)
            yield Record.of(run, key, LATENCY.key, seconds, n=len(timed.seconds), bounds=bounds, unit="s")
            yield Series.of(key, SECONDS, timed.seconds, over="round", unit="s")
        else:
            yield replace(Record.of(run, key, LATENCY.key, 0.0, n=0, unit="s"), value=None, note=short)
        if timed.parameters is not None:
            yield Record.of(run, key, PARAMETERS, timed.parameters, unit="parameters")
        else:
            yield replace(Record.of(run, key, PARAMETERS, 0.0, n=0, unit="parameters"), value=None, note=short)
