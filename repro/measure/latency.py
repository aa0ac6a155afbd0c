"""Measures Table 3: seconds per image in interleaved rounds, seconds per training iteration, FLOPs of both."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from torch import nn
from tqdm import tqdm

from repro.harness import records
from repro.harness.experiment import ExperimentError, Profile, Row
from repro.harness.files import digest_file, digest_folder, digest_json, write_atomic
from repro.harness.latency import AUTOENCODERS, DEVICE, LOSSES, SIDES, LatencyTable, Protocol, TimedRow
from repro.harness.options import RunOptions
from repro.harness.provenance import git_stamp, start_run, versions
from repro.harness.schema import Curve, Line, Record, RecordSet, Run
from repro.harness.stages import StageStore
from repro.measure.architectures import random_pipeline, random_tiny_vae
from repro.measure.device import torch_device
from repro.measure.images import check_pipeline, load_pipeline
from repro.measure.students import distil_config
from repro.measure.timing import Clock, PeakMemory, device_name, free_bytes, is_out_of_memory, matmul_flops
from repro.profiles import sd35_architecture
from repro.scenes import sample_scene
from swd.cost import Cost, decode_cost, forward_cost, schedule_cost, text_cost, training_cost
from swd.models.fast import FastOptions, FastSD3Denoiser
from swd.models.sd3 import SD3Denoiser
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.sampler import sample, sample_teacher
from swd.schedule import ScaleSchedule, preset, sigma_grid
from swd.training import build_cache, cache_ladder, train
from swd.training.errors import PipelineError

ROOT = Path(__file__).resolve().parents[2]
STAGE, COUNT_STAGE, IMAGE_STAGE, TRAIN_STAGE, VERSION = "latency", "counts", "image-times", "train-times", 1
GIB = 2**30


def run(table: LatencyTable, profile: Profile, options: RunOptions) -> Path:
    """Time every row, count what it computes, and write the records.

    Returns:
        The records file. It is left alone where it already holds exactly this measurement of this device.

    Raises:
        ExperimentError: no such device, autoencoder or text length, or a pipeline that cannot be loaded.
    """
    try:
        return _Runner(table, profile, options).run()
    except PipelineError as error:
        raise ExperimentError(str(error)) from error


@dataclass(frozen=True)
class _Runner:
    table: LatencyTable
    profile: Profile
    options: RunOptions

    def run(self) -> Path:
        path = self.options.out / "records" / f"{self.profile.stem(self.table.key)}.jsonl"
        self._check()
        config = self._config()
        there = self.store.done(STAGE, config) and path.exists()
        if there and self.store.result(STAGE, config) == {"records": digest_file(path)}:
            print(f"nothing to do: {path} holds exactly this measurement", file=sys.stderr)
            return path
        opened = start_run(
            table=self.table.key, profile=self.profile.name, config=config, command=self.options.command, folder=ROOT
        )
        counts = self._stage(COUNT_STAGE, config, self._counts)
        peak = matmul_flops(self.device, self.dtype)
        timed = [(batch, self._timed(batch)) for batch in self.protocol.batch_sizes]
        trained = self._trained() if self.protocol.train_rounds else {}
        closed = opened.close(
            device=device_name(self.device),
            dtype=self.protocol.dtype,
            data_hash=digest_json(self._captions(max(self.protocol.batch_sizes))),
            weights_hash=str(config["pipeline"]),
            reused=self.store.reused,
        )
        lines: list[Line] = [closed, Record.of(closed, DEVICE, "matmul_flops", peak, unit="FLOP/s")]
        lines += [Record.of(closed, key, metric, value, unit=unit) for key, metric, value, unit in counts]
        for row in (timed_row for timed_row in self.table.rows if not timed_row.row.is_teacher):
            lines.append(_curve(row.key, SIDES, self.schedule(row).scales, 0))
        for batch, found in timed:
            lines += _image_lines(closed, batch, found)
        lines += _train_lines(closed, trained)
        records.save(path, RecordSet.of(lines))
        self.store.finish(STAGE, config, {"records": digest_file(path)})
        return path

    @property
    def protocol(self) -> Protocol:
        assert self.options.protocol is not None
        return self.options.protocol

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.protocol.dtype)
        return dtype

    @cached_property
    def device(self) -> torch.device:
        return torch_device(self.options.device)

    @cached_property
    def store(self) -> StageStore:
        return StageStore(self.options.work, stamp=git_stamp(ROOT))

    @cached_property
    def architecture(self) -> Mapping[str, Any] | None:
        """Configs of a profile that is timed with random weights; None where a pipeline is loaded."""
        return None if self.options.pipeline else self.profile.settings.get("architecture")

    def _check(self) -> None:
        """Whatever can be known to be missing is, before any work."""
        _ = self.device
        if self.architecture is None and not self.options.pipeline:
            check_pipeline(ROOT / self.profile.pipeline)
        if self.protocol.vae == "tiny" and "tiny_vae" not in self.profile.settings.get("architecture", {}):
            raise ExperimentError(f"profile {self.profile.name} has no tiny VAE; choose another --vae")

    @cached_property
    def pipeline(self) -> ScalewiseStableDiffusion3Pipeline:
        """What is timed, in place and as fast as the protocol asks."""
        if self.architecture is not None:
            pipeline = random_pipeline(self.architecture, self.device, self.dtype)
            pipeline.set_progress_bar_config(disable=True)
        else:
            name = self.options.pipeline or self.profile.pipeline
            folder = ROOT / name
            pipeline = load_pipeline(folder if folder.is_dir() else name, self.protocol.dtype, self.device)
        if self.protocol.vae == "tiny":
            pipeline.vae = self._tiny_vae()
        if self.protocol.compile:
            if not self.protocol.fast:  # which compiles its own copies of the blocks
                pipeline.transformer.compile_repeated_blocks(fullgraph=True)
            for module in (*_encoders(pipeline), pipeline.vae.decoder):
                module.compile()
        return pipeline

    @cached_property
    def denoiser(self) -> SD3Denoiser:
        """The network that is called at every step."""
        if self.protocol.fast:
            return FastSD3Denoiser(self.pipeline.transformer, FastOptions(compile=self.protocol.compile)).eval()
        return SD3Denoiser(self.pipeline.transformer).eval()

    def _tiny_vae(self) -> AutoencoderTiny:
        architecture = self.profile.settings["architecture"]
        if self.architecture is not None:
            return random_tiny_vae(architecture, self.device, self.dtype)
        try:
            made: AutoencoderTiny = AutoencoderTiny.from_pretrained(
                self.profile.settings["tiny_pipeline"], torch_dtype=self.dtype
            )
        except (OSError, ValueError) as error:
            raise ExperimentError(f"cannot load the tiny VAE: {error}") from error
        return made.to(self.device)

    @cached_property
    def skeleton(self) -> ScalewiseStableDiffusion3Pipeline:
        """The same architecture without weights, to count."""
        if self.architecture is None:
            return self.pipeline
        pipeline = random_pipeline(self.architecture, torch.device("meta"), self.dtype)
        if self.protocol.vae == "tiny":
            pipeline.vae = random_tiny_vae(self.architecture, torch.device("meta"), self.dtype)
        return pipeline

    @property
    def text_length(self) -> int:
        """T5 tokens, 0 without a T5."""
        if self.skeleton.text_encoder_3 is None and self.protocol.text_length is None:
            return int(self.skeleton.config.max_sequence_length)
        return (
            self.skeleton.config.max_sequence_length if self.protocol.text_length is None else self.protocol.text_length
        )

    def _config(self) -> dict[str, Any]:
        """All that the times follow from: the identity of the measurement."""
        pipeline: Any = self.architecture
        if pipeline is None:
            folder = ROOT / (self.options.pipeline or self.profile.pipeline)
            pipeline = digest_folder(folder) if folder.is_dir() else self.options.pipeline
        return {
            "version": VERSION,
            "profile": self.profile.name,
            "protocol": asdict(self.protocol),
            "rows": [asdict(timed) for timed in self.table.rows],
            "pipeline": digest_json(pipeline),
            "random_weights": self.architecture is not None,
            "distil": {
                key: self.profile.settings.get(key) for key in ("distil", "distil_scalewise", "distil_fullscale")
            },
            "device": device_name(self.device),
            "versions": versions(),
        }

    def _stage(self, name: str, inputs: Mapping[str, Any], measure: Any) -> Any:
        """Times that an interrupted run has already taken are not taken again."""
        path = self.store.folder(name, inputs) / "times.json"
        if not (self.store.done(name, inputs) and path.exists()):
            write_atomic(path, json.dumps(measure()))
            self.store.finish(name, inputs)
        return json.loads(path.read_text())

    def _timed(self, batch: int) -> dict[str, Any]:
        """Row -> spans of every round, (R, parts), and peak memory; or the reason why a row was skipped."""
        protocol = asdict(replace(self.protocol, batch_sizes=(batch,), train_rounds=0))
        inputs = {**self._config(), "protocol": protocol}
        return self._stage(IMAGE_STAGE, inputs, lambda: self._time(batch))

    def _time(self, batch: int) -> dict[str, Any]:
        found: dict[str, Any] = {timed.key: {"rounds": []} for timed in self.table.rows}
        calls = ["warm-up"] * self.protocol.warmup + ["memory", *["timed"] * self.protocol.rounds]
        for call in tqdm(calls, desc=f"batch of {batch}", leave=False):
            for timed in self.table.rows:
                result = found[timed.key]
                if "skipped" in result:
                    continue
                try:
                    self._call_once(timed, batch, call, result)
                except (RuntimeError, MemoryError) as error:  # torch's out-of-memory errors are RuntimeErrors
                    if not is_out_of_memory(error):
                        raise
                    result["skipped"] = f"Out of memory at batch size {batch}."
        return found

    def _call_once(self, timed: TimedRow, batch: int, call: str, result: dict[str, Any]) -> None:
        if call == "warm-up" or "bytes" not in result:
            needed, free = self._needed_bytes(timed, batch), free_bytes(self.device)
            if needed > free:
                result["skipped"] = f"Needs about {needed / GIB:.1f} GiB, {free / GIB:.1f} GiB were free."
                return
        memory = PeakMemory(self.device)
        memory.restart()
        spans = self._sample(timed, batch)
        if call == "memory":
            result["bytes"] = memory.bytes()
        if call == "timed":
            result["rounds"].append([span / batch for span in spans])

    def _needed_bytes(self, timed: TimedRow, batch: int) -> int:
        """Activations of the largest step, or of decoding if that is more; the weights are there already."""
        return batch * max(cost.peak_bytes for cost in self._image_costs[timed.key].values())

    def schedule(self, timed: TimedRow) -> ScaleSchedule:
        """The steps of a row."""
        if (name := self.profile.preset(timed.row)) is not None:
            return preset(name)
        side, steps = self.skeleton.transformer.config.sample_size, self.profile.teacher_steps
        return ScaleSchedule((side,) * steps, sigma_grid(steps, self.profile.shift))

    @torch.no_grad()
    def _sample(self, timed: TimedRow, batch: int) -> list[float]:
        """One batch from text to pixels: seconds of text, of each student step or all teacher steps, of decoding."""
        pipeline, clock, seeds = self.pipeline, Clock(self.device), range(batch)
        clock.mark()
        cond = pipeline.encode_condition(self._captions(batch), max_sequence_length=self.text_length, truncate=True)
        uncond = pipeline.encode_uncond(max_sequence_length=self.text_length) if timed.guided else None
        clock.mark()
        denoiser, schedule = self.denoiser, self.schedule(timed)
        if timed.row.is_teacher:
            x0 = sample_teacher(
                denoiser,
                cond,
                uncond,
                seeds,
                side=schedule.scales[-1],
                num_steps=schedule.num_steps,
                shift=self.profile.shift,
                guidance_scale=self.profile.teacher_guidance if timed.guided else 1.0,
            )
            clock.mark()
        else:
            x0 = sample(denoiser, schedule, cond, seeds, on_step=lambda step, x_t, x0: clock.mark())
        if self.protocol.vae != "none":
            pipeline.decode(x0, output_type="pt")
        clock.mark()
        return clock.spans()

    def _captions(self, count: int) -> list[str]:
        """Different ones, so that none is encoded for free."""
        found: dict[str, None] = {}
        seed = 0
        while len(found) < count:
            caption, seed = sample_scene(seed).caption, seed + 1
            found[caption if len(found) < 100 else f"{caption} {seed}"] = None
        return list(found)

    @cached_property
    def _image_costs(self) -> dict[str, dict[str, Cost]]:
        """Row -> costs of one image, alone in its batch: text, steps, decoding."""
        pipeline, clip = self.skeleton, self.skeleton.tokenizer_max_length
        found = {}
        for timed in self.table.rows:
            schedule, text = self.schedule(timed), Cost()
            for encoder in _encoders(pipeline):
                tokens = self.text_length if encoder is pipeline.text_encoder_3 else clip
                text += text_cost(encoder, tokens, batch=1 + timed.guided)
            steps = schedule_cost(
                pipeline.transformer, schedule, text_tokens=clip + self.text_length, guidance=timed.guided
            )
            decode = decode_cost(pipeline.vae, schedule.scales[-1]) if self.protocol.vae != "none" else Cost()
            found[timed.key] = {"text": text, "steps": steps, "decode": decode}
        return found

    def _counts(self) -> list[tuple[str, str, float, str]]:
        """Variant, metric, value, unit: FLOPs of an image by part, of a step by side, of a training iteration."""
        pipeline, tokens = self.skeleton, self.skeleton.tokenizer_max_length + self.text_length
        found = []
        for key, parts in self._image_costs.items():
            found += [(key, f"flops_{part}", float(cost.flops), "FLOP") for part, cost in parts.items()]
        for side in sorted({side for timed in self.table.rows for side in self.schedule(timed).scales}):
            flops = forward_cost(pipeline.transformer, side, text_tokens=tokens).flops
            found.append((DEVICE, f"flops_side_{side}", float(flops), "FLOP"))
        known: dict[tuple[Any, str], float] = {}  # every full-scale student trains at the same cost
        for timed in self.table.rows if self.protocol.train_rounds else ():
            if timed.row.is_teacher:
                continue
            scales = self.schedule(timed).scales
            for loss, options in LOSSES.items():
                work = (scales if timed.row.scalewise else scales[-1], loss)
                if work not in known:
                    config = replace(distil_config(self.profile, timed.row, 0), **options)
                    passes = training_cost(pipeline.transformer, config, text_tokens=tokens)
                    known[work] = float(sum(cost.flops for cost in passes.values()))
                found.append((timed.key, f"train_flops_{loss}", known[work], "FLOP"))
        return [*found, *published_arithmetic()]

    def _trained(self) -> dict[str, Any]:
        """Student, loss -> seconds per iteration of every round."""
        inputs = {**self._config(), "protocol": asdict(replace(self.protocol, rounds=3, batch_sizes=(1,)))}
        return self._stage(TRAIN_STAGE, inputs, self._train)

    def _train(self) -> dict[str, Any]:
        students = [timed.row for timed in self.table.rows if not timed.row.is_teacher]
        cache = self._cache(students)
        found: dict[str, Any] = {f"{row.key} {loss}": [] for row in students for loss in LOSSES}
        for round_ in tqdm(range(self.protocol.train_rounds), desc="training", leave=False):
            for row in students:
                for loss, options in LOSSES.items():
                    config = replace(distil_config(self.profile, row, 0), progress=False, **options)
                    seconds = self._train_cycle(config, cache, round_, f"{row.key}-{loss}")
                    found[f"{row.key} {loss}"].append(seconds)
        return found

    def _train_cycle(self, config: Any, cache: Any, round_: int, name: str) -> float:
        """Mean seconds of an iteration over a cycle of the schedule; the iteration before it warms up."""
        steps = config.schedule().num_steps
        config = replace(config, iterations=(round_ + 1) * (steps + 1), checkpoint_every=steps + 1, keep_last=1)
        networks = self._fresh_transformer()
        folder = self.store.root / TRAIN_STAGE / "runs" / f"{digest_json(self._config())[:16]}-{name}"
        result = train(config, SD3Denoiser(networks), cache, folder, resume=round_ > 0)
        log = [json.loads(line) for line in result.log.read_text().splitlines()]
        taken = [line["seconds"] for line in log[-steps:]]
        return sum(taken) / steps

    def _fresh_transformer(self) -> nn.Module:
        """A teacher without adapters of the training before."""
        if self.architecture is not None:
            return random_pipeline(self.architecture, self.device, self.dtype).transformer
        name = self.options.pipeline or self.profile.pipeline
        return load_pipeline(
            ROOT / name if (ROOT / name).is_dir() else name, self.protocol.dtype, self.device
        ).transformer

    def _cache(self, students: Sequence[Row]) -> Any:
        """A few random images: what they show does not move a clock."""
        sides, pairs = cache_ladder([preset(self.profile.preset(row) or "").scales for row in students])
        count, resolution = self.profile.settings["distil"]["batch_size"], self.profile.settings["resolution"]
        rng = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (count, 3, resolution, resolution), generator=rng, dtype=torch.uint8)
        folder = self.store.folder(TRAIN_STAGE, {**self._config(), "what": "cache"})
        return build_cache(
            images,
            self._captions(count),
            self.pipeline,
            sides,
            folder,
            pairs=pairs,
            source="random images",
            max_sequence_length=self.text_length,
            truncate=True,
            progress=False,
        )


def published_arithmetic() -> Iterator[tuple[str, str, float, str]]:
    """What FLOPs say of the published setting: SD3.5, 333 text tokens, an image with no, a tiny or the full VAE."""
    for name, transformer in (("sd35-medium", sd35_architecture.MEDIUM), ("sd35-large", sd35_architecture.LARGE)):
        architecture = {**sd35_architecture.PIPELINE, "transformer": transformer}
        pipeline = random_pipeline(architecture, torch.device("meta"), torch.bfloat16)
        text = text_cost(pipeline.text_encoder_3, 256)
        for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
            text += text_cost(encoder, 77)
        tiny = random_tiny_vae(architecture, torch.device("meta"), torch.bfloat16)
        around = {"none": 0, "tiny": text.flops + decode_cost(tiny, 128).flops}
        around["full"] = text.flops + decode_cost(pipeline.vae, 128).flops
        for steps in (6, 4):
            slow, fast = (
                schedule_cost(pipeline.transformer, preset(f"sd35-{kind}{steps}")).flops for kind in ("full-", "")
            )
            for vae in AUTOENCODERS:
                yield name, f"ideal_{steps}_{vae}", (slow + around[vae]) / (fast + around[vae]), ""


def _encoders(pipeline: ScalewiseStableDiffusion3Pipeline) -> list[nn.Module]:
    found = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
    return [encoder for encoder in found if encoder is not None]


def _image_lines(run: Run, batch: int, found: Mapping[str, Any]) -> Iterator[Line]:
    for key, result in found.items():
        metric = f"seconds_b{batch}"
        if "skipped" in result:
            yield replace(Record.of(run, key, metric, 0.0, n=0), value=None, note=result["skipped"])
            continue
        rounds = result["rounds"]
        yield _curve(key, metric, [sum(parts) for parts in rounds], len(rounds))
        medians = [sorted(part)[len(part) // 2] for part in zip(*rounds, strict=True)]
        yield _curve(key, f"parts_b{batch}", medians, len(rounds))
        yield Record.of(run, key, f"peak_bytes_b{batch}", float(result["bytes"]), unit="bytes")


def _train_lines(run: Run, found: Mapping[str, Sequence[float]]) -> Iterator[Curve]:
    for name, seconds in found.items():
        key, loss = name.split()
        yield _curve(key, f"train_seconds_{loss}", seconds, len(seconds))


def _curve(variant: str, metric: str, values: Sequence[float], n: int) -> Curve:
    y = tuple(float(f"{value:.6g}") for value in values)
    x = tuple(map(float, range(1, len(y) + 1)))
    return Curve(variant=variant, metric=metric, x=x, y=y, error=(0.0,) * len(y), n=n)
