"""Carries out a table in a profile: students, images, scores, records, sample grid. Finished stages are not redone."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from repro.harness import plots, records
from repro.harness.experiment import ExperimentError, Profile, Row, RunOptions, Table
from repro.harness.files import digest_folder, digest_json
from repro.harness.provenance import OpenRun, start_run
from repro.harness.schema import Line, PerImage, Record, RecordSet, Run
from repro.harness.stages import StageStore
from repro.measure import compute
from repro.measure.images import VERSION as IMAGES_VERSION
from repro.measure.images import ImageSet, check_whole, generator_of, load_pipeline, make_images, sampling_inputs
from repro.measure.scores import reference_features, score_images
from repro.measure.students import distil, shipped_adapter
from repro.metrics import EfficientNetLite0, EvaluationResult, WeightsError
from swd.training.errors import CacheError, NonFiniteLossError, OutputFolderError, PipelineError, StateError

ROOT = Path(__file__).resolve().parents[2]
GRID_COLUMNS = 6  # of each prompt set, in the sample grid


def run(table: Table, profile: Profile, options: RunOptions) -> Path:
    """Measure a table and write its records and sample grid.

    Returns:
        The records file. It is left alone where it already holds exactly these numbers.

    Raises:
        ExperimentError: weights are missing or truncated, or the device is not there. Finished stages stay.
    """
    try:
        return _Runner(table, profile, options).run()
    except (CacheError, NonFiniteLossError, OutputFolderError, PipelineError, StateError, WeightsError) as error:
        raise ExperimentError(str(error)) from error


@dataclass(frozen=True)
class _Runner:
    table: Table
    profile: Profile
    options: RunOptions

    def run(self) -> Path:
        path = self.options.out / "records" / f"{self.profile.stem(self.table)}.jsonl"
        seeds = self.options.seeds if self.options.retrain else self.options.seeds[:1]
        self._check()
        adapters = {(row.key, seed): self._adapter(row, seed) for seed in seeds for row in self.table.rows}
        config = self._config(adapters)
        if self._is_written(path, config):
            print(f"nothing to do: {path} holds exactly this measurement", file=sys.stderr)
            return path
        opened = start_run(
            table=self.table.key, profile=self.profile.name, config=config, command=self.options.command, folder=ROOT
        )
        images = {
            (row.key, prompts.key, seed): self._images(row, prompts.key, adapters[row.key, seed])
            for row in self.table.rows
            for prompts in self.profile.prompt_sets
            for seed in seeds
        }
        self._write(path, opened, images)
        return path

    @cached_property
    def store(self) -> StageStore:
        return StageStore(self.options.work)

    @cached_property
    def device(self) -> torch.device:
        name = self.options.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise ExperimentError(f"--device {name} was asked for, but torch sees no CUDA device")
        return torch.device(name)

    @cached_property
    def world(self) -> Any:
        module, _, name = self.profile.settings["world"].partition(":")
        return getattr(import_module(module), name)(self.profile, ROOT)

    @cached_property
    def pipeline_folder(self) -> Path:
        return ROOT / self.profile.pipeline

    @cached_property
    def pipeline_digest(self) -> str:
        return digest_folder(self.pipeline_folder)

    @cached_property
    def extractor(self) -> EfficientNetLite0:
        return EfficientNetLite0().to(self.device)

    def _check(self) -> None:
        if not (self.pipeline_folder / "model_index.json").is_file():
            raise ExperimentError(f"no pipeline in {self.pipeline_folder}; build the mini pipeline with: nox -s mini")
        for path in sorted(self.pipeline_folder.rglob("*.safetensors")):
            check_whole(path)
        _ = self.device

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
            "rows": {row.key: sampling_inputs(self.profile, row) for row in self.table.rows},
            "pipeline": self.pipeline_digest,
            "adapters": {f"{row} seed {seed}": _digest(adapter) for (row, seed), adapter in adapters.items()},
            "clip": digest_folder(ROOT / self.profile.settings["clip"]),
            "world": self.world.fingerprint(),
            "retrain": self.options.retrain,
            "device": self.device.type,
        }

    def _is_written(self, path: Path, config: Mapping[str, Any]) -> bool:
        """Whether the records were measured with this very config, grid included."""
        if not path.exists() or not self._grid_path().exists():
            return False
        return any(run.config_hash == digest_json(config) for run in records.load(path).runs)

    def _images(self, row: Row, prompt_set: str, adapter: Path | None) -> ImageSet:
        prompts = self.world.prompts(prompt_set)
        settings = self.profile.settings
        inputs = {
            "version": IMAGES_VERSION,
            "pipeline": self.pipeline_digest,
            "adapter": _digest(adapter),
            "sampling": sampling_inputs(self.profile, row),
            "prompts": digest_json(prompts),
            "count": len(prompts),
            "dtype": settings["dtype"],
            "device": self.device.type,
            "shard_size": settings["batch_size"],
        }

        def make() -> Any:
            pipeline = load_pipeline(self.pipeline_folder, settings["dtype"], self.device)
            return generator_of(self.profile, row, pipeline, adapter)

        return make_images(self.store, inputs, prompts, make, f"{row.key}, {prompt_set}: images")

    def _scores(self, prompt_set: str, images: ImageSet) -> EvaluationResult:
        inputs = {
            "clip": digest_folder(ROOT / self.profile.settings["clip"]),
            "reference": {**self.world.fingerprint(), "count": self.profile.settings["reference_images"]},
            "prompts": prompt_set,
        }

        def metrics() -> list[Any]:
            reference = reference_features(self.store, self.world, prompt_set, lambda: self.extractor)
            return [*self.world.per_image_metrics(self.device), self.world.set_metric(self.extractor, reference)]

        return score_images(self.store, images, inputs, metrics)

    def _write(self, path: Path, opened: OpenRun, images: Mapping[tuple[str, str, int], ImageSet]) -> None:
        scores = {key: self._scores(key[1], found) for key, found in images.items()}
        self._draw_grid(images)
        config = opened.config
        closed = opened.close(
            device=_device_name(self.device),
            dtype=self.profile.settings["dtype"],
            data_hash=digest_json([config["world"], [dict(found.inputs) for found in images.values()]]),
            weights_hash=digest_json([config["pipeline"], config["adapters"], config["clip"]]),
        )
        lines: list[Line] = [closed, *self._compute_records(closed)]
        for (key, prompt_set, seed), result in scores.items():
            lines += self._score_records(closed, self.table.row(key), prompt_set, seed, result)
        records.save(path, RecordSet.of(lines))

    def _compute_records(self, run: Run) -> Iterator[Record]:
        pipeline = load_pipeline(self.pipeline_folder, "float32", torch.device("cpu"))
        length = pipeline.tokenizer_max_length + pipeline.config.max_sequence_length
        costs = {row.key: compute.flops(self.profile, row, pipeline.transformer, length) for row in self.table.rows}
        teacher = next(costs[row.key] for row in self.table.rows if row.is_teacher)
        for row in self.table.rows:
            tokens = compute.tokens(self.profile, row, pipeline.transformer)
            yield self._record(run, row, "", 0, "tokens", float(tokens), unit="tokens")
            yield self._record(run, row, "", 0, "relative_flops", costs[row.key] / teacher)

    def _score_records(
        self, run: Run, row: Row, prompt_set: str, seed: int, result: EvaluationResult
    ) -> Iterator[Record | PerImage]:
        for metric, estimate in result.values.items():
            bounds = (estimate.ci_low, estimate.ci_high)
            yield self._record(run, row, prompt_set, seed, metric, estimate.value, n=estimate.n, bounds=bounds)
        for metric, values in result.per_image.items():
            yield PerImage.of(values, variant=row.variant, prompts=prompt_set, metric=metric, seed=seed)

    def _record(
        self,
        run: Run,
        row: Row,
        prompts: str,
        seed: int,
        metric: str,
        value: float,
        *,
        n: int = 1,
        bounds: tuple[float | None, float | None] = (None, None),
        unit: str = "",
    ) -> Record:
        return Record(
            table=self.table.key,
            variant=row.variant,
            prompts=prompts,
            profile=self.profile.name,
            seed=seed,
            metric=metric,
            value=value,
            n=n,
            ci_low=bounds[0],
            ci_high=bounds[1],
            unit=unit,
            run=run.run,
        )

    def _grid_path(self) -> Path:
        return self.options.out / "figures" / f"{self.profile.stem(self.table)}_samples.png"

    def _draw_grid(self, images: Mapping[tuple[str, str, int], ImageSet]) -> None:
        """The first prompts of every set, the same prompts and seeds in every row."""
        captions: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            files: list[list[Path]] = []
            for row in self.table.rows:
                captions, line = [], []
                for prompt_set in self.profile.prompt_sets:
                    seed = min(seed for key, name, seed in images if (key, name) == (row.key, prompt_set.key))
                    batch, prompts = next(images[row.key, prompt_set.key, seed].batches())
                    for index, prompt in enumerate(prompts[:GRID_COLUMNS]):
                        file = Path(folder) / f"{row.key}-{prompt_set.key}-{index}.png"
                        Image.fromarray(batch[index].permute(1, 2, 0).numpy()).save(file)
                        line.append(file)
                        captions.append(prompt["caption"])
                files.append(line)
            labels = [f"{row.label}\n{self.profile.steps(row)} steps" for row in self.table.rows]
            plots.sample_grid(self._grid_path(), files, rows=labels, captions=captions)


def _digest(adapter: Path | None) -> str | None:
    return None if adapter is None else digest_folder(adapter)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    import platform

    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
