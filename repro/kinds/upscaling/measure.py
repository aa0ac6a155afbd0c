"""Measures Table 1: noisy latents built in every order, finished by the teacher, compared with real images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from repro.harness import plots, records
from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_json
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.upscaling import keys
from repro.kinds.upscaling.declare import Cell, UpscalingTable
from repro.metrics import Prompt, WeightsError
from repro.metrics.base import pixels
from repro.metrics.fid import Reference, extract_features, frechet_distance, jackknife, jackknife_replicates
from repro.stages.autoencoders import whitened_latents
from repro.stages.images import (
    Generate,
    ImageSet,
    ImageSetError,
    Unusable,
    check_pipeline,
    finished,
    load_pipeline,
    make_images,
)
from repro.stages.measurement import Measurement
from repro.stages.sample_grid import image_grid
from repro.stages.scores import reference_features
from swd.backbones import denoiser_of
from swd.errors import PipelineError
from swd.flow import NUM_TIMESTEPS, FlowMatching
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.resize import downscale_area, upscale
from swd.sampler import draw_noise, finish_teacher, seed_rngs

STAGE, FEATURES_STAGE, VERSION = "upscaling", "features", 1
SHOWN = 3  # scenes in the picture, for each noise level


def run(table: UpscalingTable, profile: Profile, options: RunOptions) -> Path:
    """Measure every row at every noise level, write the records and draw the picture.

    Returns:
        The records file. It is left alone where it already holds exactly these numbers.

    Raises:
        ExperimentError: weights are missing or truncated, or the device is not there. Finished stages stay.
    """
    try:
        return _Runner(table, profile, options).run()
    except (ImageSetError, PipelineError, WeightsError) as error:
        raise ExperimentError(str(error)) from error


def noisy_latents(
    cell: Cell, images: Tensor, encode: Callable[[Tensor], Tensor], *, factor: int, sigma: float, seeds: Sequence[int]
) -> Tensor:
    """x_t at the full side, built in the order of the row (v1, Table 1).

    Args:
        cell: order, start side and mode.
        images: real ones, (B, 3, H, W) in [-1, 1].
        encode: images to latents.
        factor: image side by latent side.
        sigma: noise level.
        seeds: of the noise, one per image.
    """
    process, full = FlowMatching(), (images.shape[-2] // factor, images.shape[-1] // factor)
    small = downscale_area(images, (factor * cell.side, factor * cell.side))
    latents = encode(small)
    if cell.order == "B":
        latents = upscale(latents, full, cell.mode)
    noise = draw_noise(seed_rngs(seeds), tuple(latents.shape[1:]), latents.device)
    x_t = process.add_noise(latents, noise, sigma)
    return upscale(x_t, full, cell.mode) if cell.order == "C" else x_t


class _Runner(Measurement[UpscalingTable, RunOptions]):
    def run(self) -> Path:
        _ = self.device, self.execution
        check_pipeline(self.pipeline_folder)
        opened = self.open(self._config())
        if self.is_done(STAGE, opened.config):
            return self.records_path
        images = {(cell, t): self._images(cell, t) for t in self.table.timesteps for cell in self.table.cells}

        def write() -> None:
            self._draw_grid(images)
            self._write(opened, images)

        self.finish(STAGE, opened.config, write)
        return self.records_path

    @cached_property
    def pipeline(self) -> ScalewiseStableDiffusion3Pipeline:
        return load_pipeline(self.pipeline_folder, self.execution.dtype, self.device)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """As many scenes of every prompt set, each with its caption and seed."""
        share = min(self.table.images, self.profile.images_per_set * len(self.profile.prompt_sets))
        share //= len(self.profile.prompt_sets)
        return [prompt for prompts in self.profile.prompt_sets for prompt in self.world.prompts(prompts.key)[:share]]

    def _config(self) -> dict[str, Any]:
        """All that the numbers follow from: the identity of the measurement."""
        return {
            "table": self.table.content,
            "profile": self.profile.name,
            "sampling": self._sampling(),
            "pipeline": self.pipeline_digest,
            "metrics": self.world.metric_inputs(),
            "world": self.world.fingerprint(),
            "prompts": digest_json(self.prompts),
            "versions": versions(),
            "device": self.device.type,
            "version": VERSION,
        }

    def _sampling(self) -> dict[str, Any]:
        return {
            "steps": self.profile.teacher.steps,
            "guidance": self.profile.teacher.guidance_scale,
            "shift": self.profile.teacher.shift,
        }

    def _images(self, cell: Cell, timestep: int) -> ImageSet:
        inputs = {
            "version": VERSION,
            "cell": asdict(cell),
            "timestep": timestep,
            "sampling": self._sampling(),
            "pipeline": self.pipeline_digest,
            "world": self.world.fingerprint(),
            "prompts": digest_json(self.prompts),
            "shard_size": self.execution.shard_size or self.execution.batch_size,
            "dtype": self.execution.dtype,
            "device": self.device.type,
        }
        make = partial(self._generator, cell, timestep)
        label = f"{cell.key} at t = {timestep}"
        return make_images(self.store, inputs, self.prompts, make, label, batch_size=self.execution.batch_size)

    def _generator(self, cell: Cell, timestep: int) -> Generate:
        pipeline, sigma = self.pipeline, timestep / NUM_TIMESTEPS
        denoiser, uncond = denoiser_of(pipeline).eval(), pipeline.encode_uncond()

        @torch.no_grad()
        def generate(prompts: Sequence[Prompt]) -> list[Image | Unusable]:
            x_t = noisy_latents(
                cell,
                self.world.real_images(prompts).to(self.device),
                partial(whitened_latents, pipeline.vae),
                factor=pipeline.vae_scale_factor,
                sigma=sigma,
                seeds=[prompt["seed"] for prompt in prompts],
            )
            cond = pipeline.encode_condition([prompt["caption"] for prompt in prompts])
            x0 = finish_teacher(
                denoiser,
                x_t,
                sigma,
                cond,
                uncond,
                num_steps=self.profile.teacher.steps,
                shift=self.profile.teacher.shift,
                guidance_scale=self.profile.teacher.guidance_scale,
            )
            return finished(pipeline.decode(x0, output_type="pt"))

        return generate

    def _write(self, opened: OpenRun, images: Mapping[tuple[Cell, int], ImageSet]) -> None:
        features = {key: self._features(found) for key, found in images.items()}
        reference = self._reference()
        config = opened.config
        closed = opened.close(
            device=self.device.type,
            dtype=self.execution.dtype,
            data_hash=digest_json([config["world"], config["prompts"]]),
            weights_hash=digest_json([config["pipeline"], config["metrics"]]),
            reused=self.store.reused,
            figures={"samples": plots.recorded_digest(self.grid_path) or ""},
        )
        lines: list[Line] = [closed]
        for (cell, timestep), found in features.items():
            lines += _lines(closed, cell, timestep, reference, found)
        records.save(self.records_path, RecordSet.of(lines))

    def _reference(self) -> Reference:
        parts = [
            reference_features(self.store, self.world, prompts.key, lambda: self.extractor)
            for prompts in self.profile.prompt_sets
        ]
        return Reference.of(torch.cat(parts))

    def _features(self, images: ImageSet) -> Tensor:
        inputs = {"version": VERSION, "images": dict(images.inputs), "metrics": self.world.metric_inputs()}
        path = self.store.folder(FEATURES_STAGE, inputs) / "features.safetensors"
        if not self.store.done(FEATURES_STAGE, inputs) or not path.exists():
            save_file(
                {"features": extract_features((pixels(batch) for batch, _ in images.batches()), self.extractor)}, path
            )
            self.store.finish(FEATURES_STAGE, inputs)
        return load_file(path)["features"]

    def _draw_grid(self, images: Mapping[tuple[Cell, int], ImageSet]) -> None:
        """The first scenes of the last prompt set: the real ones, then what every row makes of them at every level."""
        start = len(self.prompts) - len(self.prompts) // len(self.profile.prompt_sets)
        shown = range(start, start + SHOWN)
        captions = [f"t = {t}: {self.prompts[i]['caption']}" for t in self.table.timesteps for i in shown]
        real = self.world.real_images([self.prompts[i] for i in shown])
        grid = [torch.cat([((real + 1) * 127.5).round().to(torch.uint8)] * len(self.table.timesteps))]
        for cell in self.table.cells:
            found = [torch.cat([pixels(batch) for batch, _ in images[cell, t].batches()]) for t in self.table.timesteps]
            grid.append(torch.cat([batch[shown.start : shown.stop] for batch in found]))
        rows = ["Real", *(_label(cell) for cell in self.table.cells)]
        image_grid(self.grid_path, grid, rows=rows, captions=captions)


def _label(cell: Cell) -> str:
    return cell.order if cell.order == "A" else f"{cell.order} from {cell.side}\n{cell.mode}"


def _lines(run: Run, cell: Cell, timestep: int, reference: Reference, features: Tensor) -> Iterator[Line]:
    """The distance with its interval, and the distances without each block of images."""
    sample = reference.sample(features)
    distance = partial(frechet_distance, reference)
    estimate = jackknife(sample, distance, distance(sample))
    bounds = (estimate.ci_low, estimate.ci_high)
    yield Record.of(run, cell.key, keys.fid_e(timestep), estimate.value, n=estimate.n, bounds=bounds)
    replicates = jackknife_replicates(sample, distance)
    metric = keys.fid_e_without_block(timestep)
    yield Series.of(cell.key, metric, replicates, over="replicate", n=estimate.n, digits=8)
