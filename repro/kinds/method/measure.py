"""Runs a figure of the method: one training step or one image, with the tensors on the way; draws and records them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.harness import records
from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT, digest_file, digest_folder, digest_json, write_atomic
from repro.harness.plan import resolve
from repro.harness.plots import figure_path
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.schema import RecordSet
from repro.kinds.method import keys
from repro.kinds.method.canvas import Pixels
from repro.kinds.method.declare import MethodFigure, SamplingFigure, TrainingFigure
from repro.kinds.method.figure import draw
from repro.kinds.method.latents import as_pixels, rms
from repro.kinds.method.options import MethodOptions
from repro.kinds.method.result import MethodResult
from repro.kinds.method.shown import Shown
from repro.kinds.method.training import Setting, Watched, original, trained, training_images
from repro.stages import hub
from repro.stages.failures import told
from repro.stages.images import check_pipeline, load_pipeline
from repro.stages.measurement import Measurement
from repro.stages.sampling import draw as sample
from repro.stages.students import check_adapter, shipped_adapter, shipped_training
from swd.backbones import denoiser_of
from swd.flow import NUM_TIMESTEPS
from swd.lora.files import load_adapter
from swd.resize import downscale_area, upscale
from swd.training.config import DistillConfig

STAGE, VERSION = "method", 1


def run(figure: MethodFigure, profile: Profile, options: MethodOptions) -> Path:
    """Train or sample, write the records, and draw what they belong to as PNG and SVG.

    Returns:
        The records file. It is left alone where it already holds exactly this.

    Raises:
        ExperimentError: weights are missing or broken, or the device is not there.
        UsageError: the folder holds the records of other settings.
    """
    with told(options.work):
        return _runner(figure)(figure, profile, options).run()


def check(figure: MethodFigure, profile: Profile, options: MethodOptions) -> None:
    """Whatever can be known to be missing or broken is, before any work."""
    _runner(figure)(figure, profile, options).check()


def _runner(figure: MethodFigure) -> "type[_Runner]":
    return _Training if isinstance(figure, TrainingFigure) else _Sampling


class _Runner(Measurement[Any, MethodOptions]):
    """What both parts share: files, the pipeline, and from latents to pixels."""

    def run(self) -> Path:
        self.check()
        return self.once(STAGE, self.open(self._config()), lambda opened: partial(self._write, opened))

    def _write(self, opened: OpenRun) -> None:
        shown = self._show()
        config = opened.config
        closed = opened.close(
            device=self.device.type,
            dtype=self._dtype,
            data_hash=digest_json([config["world"], config["shown"]]),
            weights_hash=digest_json([config["pipeline"], config["adapter"]]),
            reused=self.store.reused,
        )
        lines = RecordSet.of(shown.lines(closed))
        drawn = draw(MethodResult(self.table, self.profile, lines), shown.pictures)
        for path, data in zip(self.pictures.values(), drawn.files, strict=True):
            write_atomic(path, data)
        figures = {self.table.part: drawn.digest, f"{self.table.part}.svg": drawn.digest}
        records.save(self.records_path, replace(lines, runs=(replace(closed, figures=figures),)))

    @property
    def pictures(self) -> dict[str, Path]:
        """The figure, pixel by pixel and as a drawing."""
        stem, part = self.profile.stem(self.table.key), self.table.part
        return {
            "png": figure_path(self.options.out, stem, part),
            "svg": figure_path(self.options.out, stem, f"{part}.svg"),
        }

    @cached_property
    def pipeline(self) -> Any:
        return load_pipeline(self.pipeline_folder, self._dtype, self.device)

    @cached_property
    def adapter(self) -> Path:
        """The finished student: the one that ships, or the one that was published."""
        if self.profile.weights.adapters is not None:
            return shipped_adapter(ROOT, self.profile, self.table.row)
        return hub.require(self.profile.weights.released[self.table.row.variant], ROOT)

    def pixels(self, latents: Tensor) -> Pixels:
        """The decoded picture of a latent (C, H, W), larger by the factor of the VAE."""
        with torch.no_grad():
            decoded = self.pipeline.decode(latents[None].to(self.device), output_type="pt")
        return as_pixels(decoded[0])

    @property
    def _dtype(self) -> str:
        return self.execution.dtype

    def check(self) -> None:
        check_pipeline(self.pipeline_folder)
        if self.profile.weights.adapters is not None:
            wanted = shipped_training(self.profile, self.table.row)
            check_adapter(self.adapter, self.pipeline_folder, wanted)
        _ = self.device, self.adapter

    def _config(self) -> dict[str, Any]:
        adapter = self.adapter
        return {
            "figure": self.table.content,
            "part": self.table.part,
            "profile": self.profile.name,
            "pipeline": self.pipeline_digest,
            "adapter": digest_folder(adapter) if adapter.is_dir() else digest_file(adapter),
            "world": self.world.fingerprint(),
            "dtype": self._dtype,
            "versions": versions(),
            "device": self.device.type,
            "version": VERSION,
            **self._own(),
        }

    def _own(self) -> dict[str, Any]:
        raise NotImplementedError

    def _show(self) -> Shown:
        raise NotImplementedError


class _Training(_Runner):
    """One training step: the last of a training that goes on from the finished student."""

    table: TrainingFigure

    @property
    def _dtype(self) -> str:
        return "float32"  # as trainings load it

    @cached_property
    def training(self) -> DistillConfig:
        return self.table.training(self.profile, self.options.step)

    def _own(self) -> dict[str, Any]:
        images = training_images(self.table, self.profile)
        row, caption = original(self.training, images, self.options.image)
        own = {"training": self.training.as_json(), "images": images.source}
        return {**own, "shown": {"image": self.options.image, "row": row, "caption": caption}}

    def _show(self) -> Shown:
        images = training_images(self.table, self.profile)
        row, _ = original(self.training, images, self.options.image)
        with torch.random.fork_rng():
            seen = trained(self._setting(), self.training, images)
        student, place = seen.student, self.options.image
        side, lower = student.batch.target.shape[-1], student.batch.lower.shape[-1]
        image, factor = images.pixels(row).to(self.device), self.pipeline.vae_scale_factor
        small = downscale_area(image[None], (side * factor,) * 2)
        pictures = {
            "image": image,
            "image at the side": small[0],
            "image at the lower side": downscale_area(small, (lower * factor,) * 2)[0],
        }
        return Shown(
            {name: as_pixels(picture) for name, picture in pictures.items()}
            | {name: self.pixels(latent) for name, latent in seen.latents(place).items()},
            self._numbers(seen, place, side, lower),
            {},
            self.training.batch_size,
        )

    def _setting(self) -> Setting:
        return Setting(
            store=self.store,
            pipeline=self.pipeline,
            pipeline_digest=self.pipeline_digest,
            adapter=self.adapter,
            row=self.table.row,
            device=self.device,
        )

    def _numbers(self, seen: Watched, place: int, side: int, lower: int) -> dict[tuple[str, str], float]:
        student, config, losses = seen.student, self.training, seen.losses
        target = student.batch.target[place]
        own = {
            keys.STEP: student.step,
            keys.ITERATION: student.random.iteration,
            keys.SIDE: side,
            keys.LOWER: lower,
            keys.SIGMA: student.sigma,
            keys.SIGMA_PDM: float(seen.patch.sigma[place]),
            keys.SIGMA_DMD: float(seen.matching.sigma[place]),
            keys.UPSCALED_ERROR: rms(student.upscaled[place] - target),
            keys.PREDICTED_ERROR: rms(student.x0[place] - target),
            keys.weight("pdm"): config.weight_pdm,
            keys.weight("dmd"): config.weight_dmd,
            keys.weight("gan"): config.weight_gan,
        }
        fake = {
            keys.SIGMA_FAKE: float(seen.fake.sigma[place]),
            keys.weight("discriminator"): config.weight_gan_discriminator,
        }
        own |= {keys.loss(term): losses[term] for term in keys.LOSSES}
        fake |= {keys.loss(term): losses[term] for term in keys.FAKE_LOSSES}
        return {
            **{(keys.STUDENT, metric): float(value) for metric, value in own.items()},
            **{(keys.FAKE, metric): float(value) for metric, value in fake.items()},
        }


class _Sampling(_Runner):
    """Every step of one image, as tables sample it."""

    table: SamplingFigure

    def check(self) -> None:
        super().check()
        count = len(self._prompts)
        if self.options.image >= count:
            raise ExperimentError(f"--image {self.options.image}: {self.options.prompts} has images 0 to {count - 1}")

    @cached_property
    def _prompts(self) -> list[dict[str, Any]]:
        return self.world.prompts(self.options.prompts)

    def _own(self) -> dict[str, Any]:
        prompt, plan = self._prompts[self.options.image], resolve(self.profile, self.table.row).sample
        shown = {"image": self.options.image, "caption": prompt["caption"], "seed": prompt["seed"]}
        return {"sampling": plan.as_json(), "prompts": self.options.prompts, "shown": shown}

    def _show(self) -> Shown:
        schedule, prompt = self.table.schedule(self.profile), self._prompts[self.options.image]
        taken = self._take(prompt)
        pictures: dict[str, Pixels] = {}
        change = [0.0]
        for step, (x_t, x0) in enumerate(taken):
            if step:
                side = schedule.scales[step]
                upscaled = upscale(taken[step - 1][1], (side, side), schedule.upscale)
                pictures[f"upscaled {step}"] = self.pixels(upscaled[0])
                change.append(rms(x0 - upscaled))
            pictures |= {f"x_t {step}": self.pixels(x_t[0]), f"x0 {step}": self.pixels(x0[0])}
        sigmas = schedule.sigmas[:-1]
        steps = {
            keys.SIDES: tuple(map(float, schedule.scales)),
            keys.SIGMAS: sigmas,
            keys.TIMESTEPS: tuple(NUM_TIMESTEPS * sigma for sigma in sigmas),
            keys.NOISY: tuple(rms(x_t) for x_t, _ in taken),
            keys.PREDICTED: tuple(rms(x0) for _, x0 in taken),
            keys.CHANGE: tuple(change),
        }
        return Shown(pictures, {}, steps)

    @torch.no_grad()
    def _take(self, prompt: Mapping[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """x_t and x0 of every step, (1, C, s, s) each."""
        taken: list[tuple[Tensor, Tensor]] = []
        side, pipeline = self.profile.data.resolution, self.pipeline
        denoiser = denoiser_of(pipeline).eval()
        load_adapter(denoiser, self.adapter)
        denoiser.network.fuse_lora()  # as tables sample it
        sample(
            resolve(self.profile, self.table.row).sample,
            denoiser,
            pipeline.encode_condition([prompt["caption"]]).for_image(side, side),
            None,
            [prompt["seed"]],
            side=self.table.schedule(self.profile).scales[-1],
            on_step=lambda step, x_t, x0: taken.append((x_t, x0)),
        )
        return taken
