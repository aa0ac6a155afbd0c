"""Measures Table 1: noisy latents built in every order, finished by the teacher, compared with real images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from PIL.ImageOps import fit
from torch import Tensor

from repro.harness import plots, records, terminal
from repro.harness.experiment import Column, ExperimentError
from repro.harness.files import digest_json
from repro.harness.plan import finishing, latent_side
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.harness.work_plan import text
from repro.kinds.upscaling import keys
from repro.kinds.upscaling.declare import Cell, UpscalingTable, distance_column, narrowed
from repro.kinds.upscaling.distances import VERSION as DISTANCE_VERSION
from repro.kinds.upscaling.distances import Distance, Distances, distances
from repro.kinds.upscaling.latents import noisy_latents
from repro.kinds.upscaling.options import UpscalingOptions
from repro.kinds.upscaling.planned import planned
from repro.metrics import Prompt
from repro.metrics.base import levels, pictures, pixels, reasons
from repro.stages.autoencoders import precise_latents
from repro.stages.failures import told
from repro.stages.image_files import ImageFileError, read_image
from repro.stages.images import (
    Generate,
    ImageSet,
    Unusable,
    check_pipeline,
    finished,
    image_inputs,
    load_pipeline,
    make_images,
)
from repro.stages.measurement import Measurement
from repro.stages.sample_grid import image_grid
from swd.backbones import backbone_of_folder, denoiser_of
from swd.flow import NUM_TIMESTEPS
from swd.guidance import with_guidance
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.sampler import finish_teacher

STAGE, VERSION = "upscaling", 3
SHOWN = 3  # scenes in the picture, for each noise level
THUMBNAIL = 256  # largest side of a picture there


def run(table: UpscalingTable, profile: Profile, options: UpscalingOptions) -> Path:
    """Measure every row at every noise level, write the records and draw the picture.

    Returns:
        The records file. It is left alone where it already holds exactly these numbers.

    Raises:
        ExperimentError: weights are missing or truncated, or the device is not there. Finished stages stay.
        UsageError: the folder holds the records of other settings.
    """
    with told(options.work):
        return _Runner(table, narrowed(profile), options).run()


class _Runner(Measurement[UpscalingTable, UpscalingOptions]):
    def run(self) -> Path:
        if self.options.dry_run:
            terminal.show(text(planned(self.table, self.profile, self.options)))
            return self.records_path
        self._check()
        return self.once(STAGE, self.open(self._config()), self._measure)

    def _measure(self, opened: OpenRun) -> Callable[[], None]:
        """Make what is missing of all images; gives what writes the records and draws the picture."""
        self.world.check_real_images(self.prompts, _read)
        self.distances.prepare()
        images = {(cell, t): self._images(cell, t) for t in self.table.timesteps for cell in self.table.cells}

        def write() -> None:
            self._draw_grid(images)
            self._write(opened, images)

        return write

    def _check(self) -> None:
        """Whatever can be known to be missing or broken is, before any work."""
        _ = self.device, self.execution
        check_pipeline(self.pipeline_folder)
        backbone_of_folder(self.pipeline_folder)
        self.world.check()
        self.world.check_real_images(self.prompts)

    @cached_property
    def distances(self) -> Distances:
        """The metric that compares distributions."""
        return distances(self)

    @cached_property
    def pipeline(self) -> ScalewiseStableDiffusion3Pipeline:
        return load_pipeline(self.pipeline_folder, self.execution.dtype, self.device)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """As many scenes of every prompt set, each with its caption and seed."""
        share = self.table.images_of_set(self.profile)
        return [prompt for prompts in self.profile.prompt_sets for prompt in self.world.prompts(prompts.key)[:share]]

    def _config(self) -> dict[str, Any]:
        """All that the numbers follow from: the identity of the measurement."""
        return {
            "table": self.table.content,
            "profile": self.profile.name,
            "sampling": self._sampling(),
            "pipeline": self.pipeline_digest,
            "distance": {"column": self._column.key, "version": DISTANCE_VERSION},
            "references": self.profile.data.reference_images,
            "metrics": self.world.metric_inputs(),
            "world": self.world.fingerprint(),
            "prompts": digest_json(self.prompts),
            "dtype": self.execution.dtype,
            "versions": versions(),
            "device": self.device.type,
            "version": VERSION,
        }

    def _sampling(self) -> dict[str, Any]:
        plan = finishing(self.profile)
        return {"steps": plan.steps, "guidance": plan.guidance_scale, "shift": self._shift}

    @property
    def _shift(self) -> float | None:
        """Time shift of the teacher's grid; a published model has its own."""
        return None if self.profile.scorers else self.profile.teacher.shift

    def _images(self, cell: Cell, timestep: int) -> ImageSet:
        own = {
            "upscaling": VERSION,
            "cell": asdict(self._here(cell)),
            "timestep": timestep,
            "sampling": self._sampling(),
            "pipeline": self.pipeline_digest,
            "world": self.world.fingerprint(),
            "resolution": self.profile.data.resolution,
        }
        inputs = image_inputs(own, self.prompts, self.execution, self.device)
        make = partial(self._generator, cell, timestep)
        label = f"{cell.key} at t = {timestep}"
        batch, side = self.execution.batch_size, self.profile.data.resolution
        return make_images(self.store, inputs, self.prompts, make, label, batch_size=batch, side=side)

    def _here(self, cell: Cell) -> Cell:
        """A row with its side in this profile."""
        return self.table.in_profile(cell, self.profile)

    def _generator(self, cell: Cell, timestep: int) -> Generate:
        pipeline, sigma, plan = self.pipeline, timestep / NUM_TIMESTEPS, finishing(self.profile)
        side, wanted = self.profile.data.resolution, latent_side(self.profile)
        if wanted * pipeline.vae_scale_factor != side:
            made = side // pipeline.vae_scale_factor
            raise ExperimentError(f"{self.profile.weights.pipeline} makes latents of side {made}, expected {wanted}")
        denoiser = denoiser_of(pipeline).eval()
        uncond = pipeline.encode_uncond().for_image(side, side)
        guided = with_guidance(denoiser, uncond, plan.guidance_scale)

        @torch.no_grad()
        def generate(prompts: Sequence[Prompt]) -> list[Image | Unusable]:
            captions = pipeline.encode_condition([prompt["caption"] for prompt in prompts], truncate=True)
            cond = captions.for_image(side, side)
            x_t = noisy_latents(
                self._here(cell),
                self.world.real_images(prompts, _read).to(self.device),
                partial(precise_latents, pipeline.vae),
                factor=pipeline.vae_scale_factor,
                sigma=sigma,
                seeds=[prompt["seed"] for prompt in prompts],
                process=denoiser.process,
                estimate=lambda small, level: guided(small, small.new_full((len(small),), level), cond),
            )
            x0 = finish_teacher(
                denoiser,
                x_t,
                sigma,
                cond,
                uncond,
                num_steps=plan.steps,
                shift=self._shift,
                guidance_scale=plan.guidance_scale,
            )
            return finished(pipeline.decode(x0, output_type="pt"))

        return generate

    def _write(self, opened: OpenRun, images: Mapping[tuple[Cell, int], ImageSet]) -> None:
        found = {key: self.distances.of(made) for key, made in images.items()}
        config = opened.config
        closed = opened.close(
            device=self.device.type,
            dtype=self.execution.dtype,
            data_hash=digest_json([config["world"], config["prompts"]]),
            weights_hash=digest_json([config["pipeline"], config["metrics"]]),
            reused=self.store.reused,
            figures={"samples": plots.recorded_digest(self.grid_path) or ""},
            metrics={prompts.key: self.distances.inputs() for prompts in self.profile.prompt_sets},
        )
        lines: list[Line] = [closed]
        for (cell, timestep), distance in found.items():
            lines += _lines(closed, cell, self.table.column(self._column, timestep), distance)
        records.save(self.records_path, RecordSet.of(lines))

    def _draw_grid(self, images: Mapping[tuple[Cell, int], ImageSet]) -> None:
        """The first scenes of the last prompt set: the real ones, then what every row makes of them at every level."""
        start = len(self.prompts) - len(self.prompts) // len(self.profile.prompt_sets)
        shown = range(start, start + SHOWN)
        captions = [f"t = {t}: {self.prompts[i]['caption']}" for t in self.table.timesteps for i in shown]
        real = pictures(levels(self.world.real_images([self.prompts[i] for i in shown], _read)))
        grid = [self._thumbnails(real * len(self.table.timesteps))]
        for cell in self.table.cells:
            found = [images[cell, t].shown(shown.stop)[shown.start :] for t in self.table.timesteps]
            grid.append(self._thumbnails([image for made in found for image in made]))
        rows = ["Real", *(_label(self._here(cell)) for cell in self.table.cells)]
        image_grid(self.grid_path, grid, rows=rows, captions=captions)

    def _thumbnails(self, images: Sequence[Image]) -> Tensor:
        side = min(self.profile.data.resolution, THUMBNAIL)
        return pixels([image if image.size == (side, side) else fit(image, (side, side)) for image in images])

    @property
    def _column(self) -> Column:
        return distance_column(self.profile)


def _label(cell: Cell) -> str:
    return cell.order if cell.order == "A" else f"{cell.order} from {cell.side}\n{cell.upscaling}"


def _read(file: Path) -> Image:
    try:
        return read_image(file)
    except ImageFileError as error:
        raise ExperimentError(f"real image {file} cannot be read: {error}") from error


def _lines(run: Run, cell: Cell, column: Column, distance: Distance) -> Iterator[Line]:
    """The distance with its interval, and the distances without each block of images."""
    estimate = distance.estimate
    bounds = (estimate.ci_low, estimate.ci_high)
    found = Record.of(run, cell.key, column.key, estimate.value, n=estimate.n, bounds=bounds)
    yield replace(found, note=estimate.note)
    if lost := distance.skipped:
        skipped = Record.of(run, cell.key, keys.skipped(column.key), float(len(lost)), unit="images")
        yield replace(skipped, note=reasons(lost))
    metric = keys.without_block(column.key)
    yield Series.of(cell.key, metric, distance.replicates, over="replicate", n=estimate.n, digits=8)
