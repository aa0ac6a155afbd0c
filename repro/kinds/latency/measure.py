"""Measures Table 3: seconds per image in interleaved rounds, seconds per training iteration, FLOPs of both."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from repro.harness import records, settings
from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_code, digest_json, write_atomic
from repro.harness.profile import Profile
from repro.harness.provenance import versions
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.latency import counts as latency_counts
from repro.kinds.latency import keys
from repro.kinds.latency.declare import LatencyTable, Protocol, TimedRow
from repro.kinds.latency.options import LatencyOptions
from repro.kinds.latency.timed_pipeline import TimedPipeline
from repro.kinds.latency.training import training_times
from repro.stages.device import torch_device
from repro.stages.float32_products import float32_products
from repro.stages.measurement import Measurement
from repro.stages.row_times import image_spans
from repro.stages.timing import GIB, PeakMemory, device_name, free_bytes, is_out_of_memory, matmul_flops
from swd.errors import USER_ERRORS

MEASURED = ("swd", "repro/stages", "repro/kinds/latency")  # whose code moves a time
STAGE, COUNT_STAGE, IMAGE_STAGE, TRAIN_STAGE, VERSION = "latency", "counts", "image-times", "train-times", 1


def run(table: LatencyTable, profile: Profile, options: LatencyOptions) -> Path:
    """Time every row, count what it computes, and write the records.

    Returns:
        The records file. It is left alone where it already holds exactly this measurement of this device.

    Raises:
        ExperimentError: no such device or autoencoder, a pipeline that cannot be loaded, or a training that failed.
            Parts that were measured stay.
    """
    model = _timed_pipeline(profile, options)
    products: AbstractContextManager[Any] = float32_products() if options.protocol.float32_products else nullcontext()
    try:
        with products:
            return _Runner(table, profile, options, model).run()
    except USER_ERRORS as error:
        raise ExperimentError(str(error)) from error


def check(table: LatencyTable, profile: Profile, options: LatencyOptions) -> None:
    """Whatever can be known to be missing or broken is, before any work."""
    _timed_pipeline(profile, options).check()


def _timed_pipeline(profile: Profile, options: LatencyOptions) -> TimedPipeline:
    device = torch_device(options.device)
    if device.type not in ("cpu", "cuda"):
        raise ExperimentError(f"times are measured on cpu and cuda devices, not on {device}")
    return TimedPipeline(profile, options.protocol, device, options.pipeline)


@dataclass(frozen=True)
class _Runner(Measurement[LatencyTable, LatencyOptions]):
    model: TimedPipeline

    def run(self) -> Path:
        self.model.check()
        config = self._config()
        if self.is_done(STAGE, config):
            return self.records_path
        settings.check_replaced(self.records_path, config, self.options)
        opened = self.open(config)
        counts = self._counted()
        timed = {batch: self._timed(batch) for batch in self.protocol.batch_sizes}
        multiplied = torch.float32 if self.protocol.float32_products else self.model.dtype
        peak = matmul_flops(self.model.device, multiplied)
        trained = self._trained() if self.protocol.train_rounds else {}
        closed = opened.close(
            device=config["device"],
            dtype=self.protocol.dtype,
            data_hash=digest_json(self.model.captions(max(self.protocol.batch_sizes))),
            weights_hash=config["pipeline"],
            reused=self.store.reused,
        )
        lines: list[Line] = [closed, Record.of(closed, keys.DEVICE, keys.MATMUL_FLOPS, peak, unit="FLOP/s")]
        lines += [Record.of(closed, key, metric, value, unit=unit) for key, metric, value, unit in counts]
        for batch, found in timed.items():
            lines += _image_lines(closed, batch, found)
        for row in self._students:
            lines.append(Series.of(row.key, keys.SIDES, self.model.schedule(row).scales, over="step", n=0))
        lines += _train_lines(closed, trained)
        records.save(self.records_path, RecordSet.of(lines))
        if not any(map(_is_short, (*timed.values(), trained))):
            self.keep(STAGE, config)
        return self.records_path

    @property
    def pictures(self) -> dict[str, Path]:
        """None: what the figures show follows from the records."""
        return {}

    @property
    def protocol(self) -> Protocol:
        return self.model.protocol

    @property
    def _rows(self) -> list[TimedRow]:
        """Those that were asked for."""
        return [timed for timed in self.table.rows if not self.protocol.rows or timed.key in self.protocol.rows]

    @property
    def _students(self) -> list[TimedRow]:
        return [timed for timed in self._rows if not timed.row.is_teacher]

    def _config(self, **protocol: Any) -> dict[str, Any]:
        """All that the times follow from, the code among it: the identity of the measurement, or of a part of it."""
        distil = self.profile.distil
        return {
            "version": VERSION,
            "code": digest_code(*MEASURED),
            "allocator": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
            "profile": self.profile.name,
            "protocol": asdict(replace(self.protocol, **protocol)),
            "rows": [asdict(timed) for timed in self.table.rows],
            "pipeline": self.model.digest(),
            "random_weights": self.model.architecture is not None,
            "weights": Path(self.model.weights).name,
            "distil": {
                "distil": distil.common,
                "distil_scalewise": distil.scalewise,
                "distil_fullscale": distil.fullscale,
            },
            "device": device_name(self.model.device),
            "versions": versions(),
        }

    def _stage(self, name: str, inputs: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
        """What an interrupted run has already measured is not measured again, unless memory was short."""
        path = self.store.folder(name, inputs) / "found.json"
        if self.store.done(name, inputs) and path.exists():
            return json.loads(path.read_text())
        found = measure()
        write_atomic(path, json.dumps(found))
        if not _is_short(found):
            self.store.finish(name, inputs, files=(path.name,))
        return json.loads(path.read_text())

    @cached_property
    def _costs(self) -> latency_counts.Costs:
        return latency_counts.image_costs(self.model, self._rows)

    def _counted(self) -> list[latency_counts.Count]:
        """FLOPs, which no option of the clock moves."""
        trained = min(1, self.protocol.train_rounds)
        untimed = {"rounds": 3, "warmup": 0, "fast": False, "compile": False, "float32_products": False}
        inputs = self._config(batch_sizes=(1,), train_rounds=trained, **untimed)
        found: list[latency_counts.Count] = self._stage(
            COUNT_STAGE,
            {key: value for key, value in inputs.items() if key not in ("device", "allocator")},
            lambda: latency_counts.counts(self.model, self._rows, self._costs),
        )
        return found

    def _trained(self) -> dict[str, Any]:
        """Student and loss -> seconds and memory of every round, whatever the options of sampling."""
        warmup = min(1, self.protocol.warmup)
        inputs = self._config(batch_sizes=(1,), rounds=3, warmup=warmup, fast=False, compile=False, vae="full")
        students, folder = self._students, self.store.folder(TRAIN_STAGE, inputs)
        found: dict[str, Any] = self._stage(TRAIN_STAGE, inputs, lambda: training_times(self.model, students, folder))
        return found

    def _timed(self, batch: int) -> dict[str, Any]:
        """Row -> seconds per image of every round and part, (R, parts), and peak memory; or why it was skipped."""
        inputs = self._config(batch_sizes=(batch,), train_rounds=0, train_steps=None, train_batch=None)
        found: dict[str, Any] = self._stage(IMAGE_STAGE, inputs, lambda: self._time(batch))
        return found

    def _time(self, batch: int) -> dict[str, Any]:
        found = {timed.key: self._refused(timed, batch) or {"rounds": []} for timed in self._rows}
        before = [*["warm-up"] * self.protocol.warmup, "memory"] if self.protocol.warmup else []
        calls = before + ["timed"] * self.protocol.rounds
        for call in tqdm(calls, desc=f"batch of {batch}", leave=False):
            for timed in self._rows:
                result = found[timed.key]
                if "skipped" in result:
                    continue
                try:
                    self._call(timed, batch, call, result)
                except (RuntimeError, MemoryError) as error:  # torch's out-of-memory errors are RuntimeErrors
                    if not is_out_of_memory(error):
                        raise
                    result["skipped"] = f"Out of memory at batch size {batch}."
        return found

    def _refused(self, timed: TimedRow, batch: int) -> dict[str, Any] | None:
        """Weights, and activations of the largest step or of decoding, must fit: asked before loading."""
        activations = batch * max(cost.peak_bytes for cost in self._costs[timed.key].values())
        needed = self.model.weights_to_load() + activations
        free = free_bytes(self.model.device)
        if needed <= free:
            return None
        return {"skipped": f"Needs about {needed / GIB:.1f} GiB, {free / GIB:.1f} GiB were free."}

    def _call(self, timed: TimedRow, batch: int, call: str, result: dict[str, Any]) -> None:
        memory, untold = PeakMemory(self.model.device), "bytes" not in result and call != "warm-up"
        if untold:
            memory.restart()
        spans = self._sample(timed, batch)
        if untold:
            result["bytes"] = memory.bytes()
        if call == "timed":
            result["rounds"].append([span / batch for span in spans])

    def _sample(self, timed: TimedRow, batch: int) -> list[float]:
        """One batch from text to pixels: seconds of text, of each student step or all teacher steps, of decoding."""
        model = self.model
        return image_spans(
            model.plan(timed).sample,
            model.pipeline,
            model.captions(batch),
            device=model.device,
            text_length=model.text_length,
            decode=self.protocol.vae != "none",
        )


def _image_lines(run: Run, batch: int, found: Mapping[str, Any]) -> Iterator[Line]:
    for key, result in found.items():
        metric = keys.seconds(batch)
        if "skipped" in result:
            yield replace(Record.of(run, key, metric, 0.0, n=0), value=None, note=result["skipped"])
            continue
        rounds = result["rounds"]
        yield Series.of(key, metric, [sum(parts) for parts in rounds], over="round", unit="s")
        medians = [median(part) for part in zip(*rounds, strict=True)]
        yield Series.of(key, keys.parts(batch), medians, over="part", n=len(rounds), unit="s")
        yield Record.of(run, key, keys.peak_bytes(batch), float(result["bytes"]), unit="bytes")


def _train_lines(run: Run, found: Mapping[str, Mapping[str, Any]]) -> Iterator[Line]:
    for key, loss, rounds in ((key, *item) for key, losses in found.items() for item in losses.items()):
        metric = keys.train_seconds(loss)
        if isinstance(rounds, str):
            yield replace(Record.of(run, key, metric, 0.0, n=0), value=None, note=rounds)
            continue
        yield Series.of(key, metric, [one["seconds"] for one in rounds], over="round", unit="s")
        peak = max(one["bytes"] for one in rounds)
        yield Record.of(run, key, keys.train_peak_bytes(loss), float(peak), unit="bytes")


def _is_short(found: Any) -> bool:
    """Whether memory was short for a row, which then holds a reason: another time it may not be."""
    rows = found.values() if isinstance(found, dict) else ()
    return any(isinstance(value, str) for row in rows for value in row.values())
