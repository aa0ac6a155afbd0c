"""Carries out a table in a profile: students, images, scores, records, sample grid. Finished stages are not redone."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from errno import ENOSPC
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from repro.harness import plots, records
from repro.harness.experiment import RELATIVE_FLOPS, TOKENS, ExperimentError, Row
from repro.harness.files import ROOT, digest_folder, digest_json
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.sampling import SamplingPlan
from repro.harness.schema import CAPTIONS, Line, PerImage, Record, RecordSet, Run
from repro.kinds.scores.declare import Table
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.timed_rows import TimedRows, cost_lines
from repro.metrics import EvaluationResult, WeightsError
from repro.metrics.base import pixels
from repro.stages import compute
from repro.stages.images import VERSION as IMAGES_VERSION
from repro.stages.images import ImageSet, ImageSetError, check_pipeline, generator_of, load_pipeline, make_images
from repro.stages.measurement import Measurement
from repro.stages.sample_grid import image_grid
from repro.stages.scores import VERSION as SCORES_VERSION
from repro.stages.scores import reference_features, score_images
from repro.stages.students import check_adapter, distil, shipped_adapter, shipped_training
from repro.stages.timing import device_name
from swd.backbones import backbone_of, denoiser_of
from swd.backbones.base import Condition
from swd.errors import CacheError, NonFiniteLossError, OutputFolderError, PipelineError, StateError

STAGE = "tables"
GRID_COLUMNS = 6  # of each prompt set, in the sample grid


def run(table: Table, profile: Profile, options: ScoresOptions) -> Path:
    """Measure a table and write its records and sample grid.

    Returns:
        The records file. It is left alone where it already holds exactly these numbers.

    Raises:
        ExperimentError: weights are missing or truncated, or the device is not there. Finished stages stay.
    """
    try:
        return _Runner(table, profile, options).run()
    except (
        CacheError,
        ImageSetError,
        NonFiniteLossError,
        OutputFolderError,
        PipelineError,
        StateError,
        WeightsError,
    ) as error:
        raise ExperimentError(str(error)) from error
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) != ENOSPC and "No space left" not in str(error):
            raise
        message = f"the disk is full; finished stages stay in {options.work}: free some space and run this again"
        raise ExperimentError(message) from error


class _Runner(Measurement[Table, ScoresOptions]):
    def run(self) -> Path:
        self._check()
        opened = self.open({})
        adapters = {(row.key, seed): self._adapter(row, seed) for seed in self.options.seeds for row in self.table.rows}
        opened = replace(opened, config=self._config(adapters))
        if self.is_done(STAGE, opened.config):
            return self.records_path
        images = {
            (row.key, prompts.key, seed): self._images(row, prompts.key, adapters[row.key, seed])
            for row in self.table.rows
            for prompts in self.profile.prompt_sets
            for seed in self.options.seeds
        }
        scores = {key: self._scores(key[1], found) for key, found in images.items()}

        def write() -> None:
            self._draw_grid(images)
            self._write(opened, images, scores)

        self.finish(STAGE, opened.config, write)
        return self.records_path

    @cached_property
    def encoded(self) -> dict[str, Condition]:
        """Captions as the text encoders, which all rows share, have encoded them."""
        return {}

    @cached_property
    def metric_inputs(self) -> dict[str, Any]:
        return self.world.metric_inputs()

    def _check(self) -> None:
        """Whatever can be known to be missing or broken is, before any work."""
        _ = self.device, self.execution
        check_pipeline(self.pipeline_folder)
        if not self.options.retrain:
            for row in self.table.rows:
                if not row.is_teacher:
                    wanted = shipped_training(self.profile, row)
                    check_adapter(shipped_adapter(ROOT, self.profile, row), self.pipeline_folder, wanted)
        _ = self.metric_inputs

    def _plan(self, row: Row) -> SamplingPlan:
        return resolve(self.profile, row).sample

    def _adapter(self, row: Row, seed: int) -> Path | None:
        if row.is_teacher:
            return None
        if self.options.retrain:
            return distil(self.store, self.world, row, seed=seed, rows=self.table.rows, device=self.device)
        return shipped_adapter(ROOT, self.profile, row)

    def _config(self, adapters: Mapping[tuple[str, int], Path | None]) -> dict[str, Any]:
        """All that the numbers follow from: the identity of the measurement."""
        return {
            "profile": asdict(self.profile),
            "rows": {row.key: self._plan(row).as_json() for row in self.table.rows},
            "pipeline": self.pipeline_digest,
            "adapters": {f"{row} seed {seed}": _digest(adapter) for (row, seed), adapter in adapters.items()},
            "metrics": self.metric_inputs,
            "world": self.world.fingerprint(),
            "stages": {"images": IMAGES_VERSION, "scores": SCORES_VERSION},
            "versions": versions(),
            "retrain": self.options.retrain,
            "device": self.device.type,
            **self._clock_config(),
        }

    def _clock_config(self) -> dict[str, Any]:
        """What times follow from besides: the clock, and the very machine."""
        clock = self.table.clock
        return {} if clock is None else {"clock": asdict(clock), "clocked_on": device_name(self.device)}

    def _images(self, row: Row, prompt_set: str, adapter: Path | None) -> ImageSet:
        prompts = self.world.prompts(prompt_set)
        inputs = {
            "version": IMAGES_VERSION,
            "pipeline": self.pipeline_digest,
            "adapter": _digest(adapter),
            "sampling": self._plan(row).as_json(),
            "prompts": digest_json(prompts),
            "count": len(prompts),
            "dtype": self.execution.dtype,
            "device": self.device.type,
            "versions": versions(("torch", "diffusers", "transformers", "peft")),
            "shard_size": self.execution.shard_size or self.execution.batch_size,
        }

        def make() -> Any:
            pipeline = load_pipeline(self.pipeline_folder, self.execution.dtype, self.device)
            return generator_of(self._plan(row), pipeline, adapter, self.encoded)

        label = f"{row.key}, {prompt_set}: images"
        return make_images(self.store, inputs, prompts, make, label, batch_size=self.execution.batch_size)

    def _scores(self, prompt_set: str, images: ImageSet) -> EvaluationResult:
        inputs = {
            "metrics": self.metric_inputs,
            "reference": {**self.world.fingerprint(), "count": self.profile.data.reference_images},
            "prompts": prompt_set,
            "versions": versions(("torch", "torchmetrics", "timm", "open_clip_torch")),
        }

        def metrics() -> list[Any]:
            reference = reference_features(self.store, self.world, prompt_set, lambda: self.extractor)
            return [*self.world.per_image_metrics(self.device), self.world.set_metric(self.extractor, reference)]

        return score_images(self.store, images, inputs, metrics, batch_size=self.execution.batch_size)

    def _write(
        self,
        opened: OpenRun,
        images: Mapping[tuple[str, str, int], ImageSet],
        scores: Mapping[tuple[str, str, int], EvaluationResult],
    ) -> None:
        config = opened.config
        closed = opened.close(
            device=_device_name(self.device),
            dtype=self.execution.dtype,
            data_hash=digest_json([config["world"], [dict(found.inputs) for found in images.values()]]),
            weights_hash=digest_json([config["pipeline"], config["adapters"], config["metrics"]]),
            reused=self.store.reused,
            figures={"samples": plots.recorded_digest(self.grid_path) or ""},
        )
        lines: list[Line] = [closed, *self._compute_records(closed), *self._caption_lines()]
        lines += cost_lines(closed, self.table, self._timed()) if self.table.clock is not None else []
        for (key, prompt_set, seed), result in scores.items():
            lines += self._score_records(closed, self.table.row(key), prompt_set, seed, result)
        records.save(self.records_path, RecordSet.of(lines))

    def _caption_lines(self) -> Iterator[PerImage]:
        """Which images share a caption: claims draw captions, not images."""
        for prompt_set in self.profile.prompt_sets:
            captions = [prompt["caption"] for prompt in self.world.prompts(prompt_set.key)]
            number = {caption: float(index) for index, caption in enumerate(dict.fromkeys(captions))}
            values = [number[caption] for caption in captions]
            yield PerImage.of(values, variant=CAPTIONS, prompts=prompt_set.key, metric=CAPTIONS, seed=0)

    def _compute_records(self, run: Run) -> Iterator[Record]:
        pipeline = load_pipeline(self.pipeline_folder, "float32", torch.device("cpu"))
        denoiser, backbone = denoiser_of(pipeline), backbone_of(pipeline)
        length = backbone.count_text_tokens(pipeline, backbone.token_length(pipeline))
        costs = {row.key: compute.flops(self._plan(row), denoiser, length) for row in self.table.rows}
        teacher = next(costs[row.key] for row in self.table.rows if row.is_teacher)
        for row in self.table.rows:
            tokens = compute.tokens(self._plan(row), denoiser)
            yield Record.of(run, row.key, TOKENS.key, float(tokens), unit="tokens")
            yield Record.of(run, row.key, RELATIVE_FLOPS.key, costs[row.key] / teacher)

    def _timed(self) -> TimedRows:
        """Every row as it is timed: students on the base network, as they are deployed."""
        return TimedRows(
            plans={row.key: self._plan(row) for row in self.table.rows},
            load=lambda: load_pipeline(self.pipeline_folder, self.execution.dtype, self.device),
            captions=self.world.captions,
            device=self.device,
            store=self.store,
            inputs={"pipeline": self.pipeline_digest, "dtype": self.execution.dtype, "world": self.world.fingerprint()},
        )

    def _score_records(
        self, run: Run, row: Row, prompt_set: str, seed: int, result: EvaluationResult
    ) -> Iterator[Record | PerImage]:
        for metric, estimate in result.values.items():
            bounds = (estimate.ci_low, estimate.ci_high)
            yield Record.of(
                run, row.key, metric, estimate.value, prompts=prompt_set, seed=seed, n=estimate.n, bounds=bounds
            )
        for metric, values in result.per_image.items():
            yield PerImage.of(values, variant=row.key, prompts=prompt_set, metric=metric, seed=seed)

    def _draw_grid(self, images: Mapping[tuple[str, str, int], ImageSet]) -> None:
        """The first prompts of every set, the same prompts and seeds in every row."""
        grid: list[torch.Tensor] = []
        captions: list[str] = []
        for row in self.table.rows:
            line, captions = [], []
            for prompt_set in self.profile.prompt_sets:
                seed = min(seed for key, name, seed in images if (key, name) == (row.key, prompt_set.key))
                found = images[row.key, prompt_set.key, seed]
                line.append(pixels(found.shown(GRID_COLUMNS)))
                captions += [prompt["caption"] for prompt in found.prompts[:GRID_COLUMNS]]
            grid.append(torch.cat(line))
        labels = [f"{row.label}\n{self._plan(row).steps} steps" for row in self.table.rows]
        image_grid(self.grid_path, grid, rows=labels, captions=captions)


def _digest(adapter: Path | None) -> str | None:
    return None if adapter is None else digest_folder(adapter)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    import platform

    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
