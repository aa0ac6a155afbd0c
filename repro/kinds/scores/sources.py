"""Where the images of a row come from: the mini world's own networks, a published pipeline, or a folder.

| row | in a profile whose weights ship | in a profile of a real model |
|---|---|---|
| teacher | the network on its grid of noise levels | its pipeline through diffusers |
| student | the network on its schedule, shipped or distilled again | a released adapter, or one of the user's |
| system | - | its pipeline through diffusers |
| images | a folder, wherever it is named | the same |
| real | the real images behind the prompts, or these through the VAE | - |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny

from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import ROOT
from repro.harness.needs import BYTES_PER_PIXEL
from repro.harness.plan import latent_side, network_folder, resolve
from repro.harness.profile import Profile
from repro.harness.systems import HubFile, System
from repro.kinds.scores.available import is_published, system_of
from repro.kinds.scores.cards import student_card, student_header
from repro.kinds.scores.counts import Skeleton, published_skeleton
from repro.kinds.scores.given_sources import FolderSource, RealSource
from repro.kinds.scores.network_source import NetworkSource
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.own_students import check_base, check_recipe
from repro.kinds.scores.row_source import RowSource
from repro.metrics import Prompt
from repro.profiles import load_profile
from repro.stages import hub
from repro.stages.images import (
    Generate,
    ImageSet,
    check_network,
    image_inputs,
    make_images,
    missing_images,
)
from repro.stages.measurement import Measurement
from repro.stages.students import check_adapter, distil, shipped_adapter, shipped_training
from repro.stages.systems import check_student, load_system, system_generator, system_inputs
from swd.backbones.base import Condition
from swd.schedule import ScaleSchedule


@dataclass(frozen=True)
class Studio:
    """What all rows of a measurement share.

    Attributes:
        measurement: store, device, world, profile.
        options: adapters and folders of images.
        rows: all rows that are measured: students share one cache of latents.
    """

    measurement: Measurement[Any, ScoresOptions]
    options: ScoresOptions
    rows: tuple[Row, ...]

    @cached_property
    def encoded(self) -> dict[str, Condition]:
        """Captions as the text encoders, which all rows share, have encoded them."""
        return {}

    def source(self, row: Row, seed: int) -> RowSource:
        """Where the images of a row come from.

        Raises:
            ExperimentError: nowhere, its student is of another model or schedule, or there is no such side or network;
                the message says what to do.
            WeightsError: weights are not to be had.
            PipelineError: its network is missing or truncated.
        """
        if row.share < 1 or row.network:
            self._check_differences(row)
        if row.key in self.options.images:
            return FolderSource(self, row, self.options.images[row.key])
        if row.real:
            return RealSource(self, row)
        if row.system is not None or is_published(self.profile):
            source = SystemSource(self, row, system_of(self.profile, row, self.options))
            source.check()
            return source
        return NetworkSource(self, row, self._adapter(row, seed))

    @property
    def profile(self) -> Profile:
        """In which all is measured."""
        return self.measurement.profile

    def made(self, label: str, prompts: Sequence[Prompt], own: Mapping[str, Any], make: Any, *, side: int) -> ImageSet:
        """Images of a side in pixels, that follow from prompts, execution and a source's own inputs."""
        inputs, batch = self._inputs(prompts, own), self.measurement.execution.batch_size
        return make_images(self.measurement.store, inputs, prompts, make, label, batch_size=batch, side=side)

    def missing_bytes(self, prompts: Sequence[Prompt], own: Mapping[str, Any], *, side: int) -> float:
        """Of the images that `made` would still have to make, by an estimate."""
        missing = missing_images(self.measurement.store, self._inputs(prompts, own), len(prompts))
        return missing * side**2 * BYTES_PER_PIXEL[self.measurement.execution.encoding]

    def _inputs(self, prompts: Sequence[Prompt], own: Mapping[str, Any]) -> dict[str, Any]:
        return image_inputs(own, prompts, self.measurement.execution, self.measurement.device)

    def _check_differences(self, row: Row) -> None:
        """Whether the profile has the side and the network of a row, and patches tile that side."""
        plan, name = resolve(self.profile, row).sample, self.profile.name
        published = is_published(self.profile)
        skeleton = published_skeleton(name) if published else Skeleton.of_folder(self.measurement.pipeline_folder)
        try:
            plan.ladder(latent_side(self.profile)).check_patch(skeleton.denoiser.patch_size)
        except ValueError as error:
            raise ExperimentError(f"row {row.key} in profile {name}: {error}") from error
        if row.network:
            check_network(ROOT / network_folder(self.profile, row))

    def _adapter(self, row: Row, seed: int) -> Path | None:
        if row.is_teacher:
            return None
        measurement = self.measurement
        if self.options.retrain:
            store, world, device = measurement.store, measurement.world, measurement.device
            return distil(store, world, row, seed=seed, rows=self.rows, device=device)
        adapter = self.options.adapters.get(row.key) or shipped_adapter(ROOT, self.profile, row)
        check_adapter(adapter, measurement.pipeline_folder, shipped_training(self.profile, row))
        return adapter


@dataclass(frozen=True)
class SystemSource:
    """A published pipeline, through diffusers or our scale-wise one; loaded once for all sets of prompts."""

    studio: Studio
    row: Row
    system: System

    def inputs(self) -> dict[str, Any]:
        """Settings, and hashes of files."""
        tiny = self._tiny_vae
        found = {"system": self._hashed, "own_dtype": self._dtype}
        return found if tiny is None else {**found, "tiny_vae": hub.digest(hub.require(tiny, ROOT))}

    def images(self, prompt_set: str, prompts: Sequence[Prompt], place: str = "") -> ImageSet:
        """Sampled."""
        label, side = f"{place}{self.row.key}, {prompt_set}: images", self.system.resolution
        return self.studio.made(label, prompts, self.inputs(), lambda: self.generator, side=side)

    def missing_bytes(self, prompts: Sequence[Prompt]) -> float:
        """Of those that are not sampled yet."""
        return self.studio.missing_bytes(prompts, self.inputs(), side=self.system.resolution)

    def has(self, prompt_set: str) -> bool:
        """Any set can be sampled."""
        return True

    def close(self) -> None:
        """Let go of the pipeline."""
        for name in ("generator", "pipeline"):
            self.__dict__.pop(name, None)

    @cached_property
    def _hashed(self) -> dict[str, Any]:
        return system_inputs(self.system, ROOT)

    @cached_property
    def generator(self) -> Generate:
        """From prompts to images."""
        return system_generator(self.system, self.pipeline)

    @cached_property
    def pipeline(self) -> Any:
        """Loaded, with a tiny autoencoder where the profile says so."""
        device = self.studio.measurement.device
        dtype = getattr(torch, self._dtype)
        pipeline = load_system(self.system, ROOT, dtype, device)
        if (tiny := self._tiny_vae) is not None:
            pipeline.vae = AutoencoderTiny.from_pretrained(hub.require(tiny, ROOT), dtype=dtype).to(device)
        return pipeline

    @property
    def _dtype(self) -> str:
        wanted = self.studio.measurement.execution.dtype
        return "bfloat16" if wanted == "float16" and self.system.no_float16 else wanted

    @property
    def _tiny_vae(self) -> HubFile | None:
        if not self.studio.measurement.execution.tiny_vae:
            return None
        profile = load_profile(self.system.architecture)
        tiny = HubFile(profile.required(profile.weights.tiny_pipeline, "tiny autoencoder"))
        return tiny.pinned(self.studio.profile.weights.revisions)

    def check(self) -> None:
        """A student of another network or schedule than its row's is no student of this row.

        Raises:
            ExperimentError: it is; nothing was sampled yet.
            WeightsError: a file is not to be had.
        """
        if self.system.student is None:
            return
        try:
            check_student(self.system, ROOT)
        except ExperimentError as error:
            raise ExperimentError(f"row {self.row.key}: {error}") from error
        card = student_card(self.system.student)
        if self.row.key in self.studio.options.adapters:
            check_base(self.row, self.system.base, None if card is None else card.base_model)
            header = student_header(self.system.student)
            rows = self.studio.measurement.table.rows_in(self.studio.profile.name)
            check_recipe(self.row, rows, self.studio.profile, header)
        found = None if card is None else card.schedule()
        if found is None:
            raise ExperimentError(f"{self.system.student} does not say its schedule; see python -m swd.export")
        if self._num_steps(found) != self.system.steps:
            raise ExperimentError(
                f"row {self.row.key} has {self.system.steps} steps, but {self.system.student} was trained for "
                f"{found.num_steps}"
            )
        if self.row.train is not None:
            self._check_schedule(found)

    def _num_steps(self, found: ScaleSchedule) -> int:
        """Of a schedule, as far as the row follows it.

        Raises:
            ExperimentError: the row stops after a side that the schedule does not have.
        """
        if self.system.until is None:
            return found.num_steps
        try:
            return found.until(self.system.until).num_steps
        except ValueError as error:
            raise ExperimentError(f"row {self.row.key}: {self.system.student}: {error}") from error

    def _check_schedule(self, found: ScaleSchedule) -> None:
        wanted = resolve(self.studio.profile, self.row).training.schedule()
        near = len(found.sigmas) == len(wanted.sigmas) and all(
            abs(ours - theirs) < 1e-3 for ours, theirs in zip(found.sigmas, wanted.sigmas, strict=True)
        )
        if found.scales != wanted.scales or not near:
            raise ExperimentError(
                f"row {self.row.key} has scales {wanted.scales} at sigmas {_short(wanted.sigmas)}, but "
                f"{self.system.student} was trained for {found.scales} at {_short(found.sigmas)}"
            )
        if found.upscale != wanted.upscale:
            raise ExperimentError(
                f"row {self.row.key} upscales {wanted.upscale}, but {self.system.student} was trained {found.upscale}"
            )


def _short(sigmas: Sequence[float]) -> str:
    return ", ".join(f"{sigma:.4g}" for sigma in sigmas)
