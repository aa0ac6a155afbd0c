"""Latency and parameters of published systems: one pipeline in memory at a time, its rounds one after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from tqdm import tqdm

from repro.harness.provenance import versions
from repro.kinds.scores.declare import Clock
from repro.kinds.scores.sources import SystemSource
from repro.stages import timing
from repro.stages.row_times import row_times
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

    def seconds(self, clock: Clock) -> dict[str, list[float]]:
        """Row -> seconds of an image in every round."""
        return {key: found for key, (found, _) in self._measured(clock)}

    def parameters(self, clock: Clock) -> dict[str, float]:
        """Row -> parameters of the network that is evaluated at every step."""
        return {key: count for key, (_, count) in self._measured(clock)}

    def _measured(self, clock: Clock) -> Iterator[tuple[str, tuple[list[float], float]]]:
        for key, source in self.sources.items():
            inputs = {
                "row": source.inputs(),
                "clock": asdict(clock),
                "device": device_name(self.device),
                "dtype": self.dtype,
                "versions": versions(),
            }
            found = row_times(self.store, inputs, partial(self._time, source, clock, key))
            yield key, (found["seconds"], found["parameters"][0])

    def _time(self, source: SystemSource, clock: Clock, key: str) -> dict[str, list[float]]:
        prompts = [{"caption": caption, "seed": seed} for seed, caption in enumerate(self.captions(clock.batch_size))]
        generate, seconds = source.generator, []
        try:
            for number in tqdm(range(-clock.warmup, clock.rounds), desc=f"{key}: rounds", leave=False):
                watch = timing.Clock(self.device)
                watch.mark()
                generate(prompts)
                watch.mark()
                if number >= 0:
                    seconds.append(sum(watch.spans()) / len(prompts))
            count = sum(weight.numel() for weight in network_of(source.pipeline).parameters())
        finally:
            source.close()
        return {"seconds": seconds, "parameters": [float(count)]}
