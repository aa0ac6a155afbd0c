"""Latency and parameters of published systems: one pipeline in memory at a time, its rounds one after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from repro.harness.provenance import versions
from repro.kinds.scores.declare import Clock
from repro.kinds.scores.sources import SystemSource
from repro.kinds.scores.timed_rows import RowTiming
from repro.stages import timing
from repro.stages.row_times import interleaved, row_times
from repro.stages.store import StageStore
from repro.stages.systems import network_of
from repro.stages.timing import device_name


@dataclass(frozen=True, kw_only=True)
class TimedSystems:
    """Rows that each sample a pipeline of their own; what other `TimedRows` interleave is done row by row here.

    Attributes:
        sources: by the key of the row.
        captions: so many different ones, so that none is encoded for free.
        device: where pipelines run.
        store: keeps what was timed.
        dtype: of all networks.
    """

    sources: Mapping[str, SystemSource]
    captions: Callable[[int], Sequence[str]]
    device: torch.device
    store: StageStore
    dtype: str

    def timings(self, clock: Clock) -> Iterator[tuple[str, RowTiming]]:
        """Every row with its timing, one pipeline after the other."""
        for key, source in self.sources.items():
            inputs = {
                "row": source.inputs(),
                "clock": asdict(clock),
                "device": device_name(self.device),
                "dtype": self.dtype,
                "versions": versions(),
            }
            found = row_times(self.store, inputs, partial(self._time, source, clock, key))
            yield key, RowTiming(found["seconds"], next(iter(found["parameters"]), None))

    def _time(self, source: SystemSource, clock: Clock, key: str) -> dict[str, list[float]]:
        prompts = [{"caption": caption, "seed": seed} for seed, caption in enumerate(self.captions(clock.batch_size))]
        call = {"seconds": partial(self._call, source, prompts)}
        try:
            seconds = interleaved(call, rounds=clock.rounds, warmup=clock.warmup, label=f"{key}: rounds")
            return {**seconds, **interleaved({"parameters": partial(_parameters, source)}, rounds=1, warmup=0)}
        finally:
            source.close()

    def _call(self, source: SystemSource, prompts: list[dict[str, Any]]) -> float:
        generate, watch = source.generator, timing.Clock(self.device)
        watch.mark()
        generate(prompts)
        watch.mark()
        return sum(watch.spans()) / len(prompts)


def _parameters(source: SystemSource) -> float:
    return float(sum(weight.numel() for weight in network_of(source.pipeline).parameters()))
