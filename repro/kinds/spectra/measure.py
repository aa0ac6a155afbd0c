"""Measures a figure of spectra: images, latents, noise, averages over rings, and the safe side of each noise level."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from repro.harness import records, terminal
from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT, digest_json
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.spectra import keys
from repro.kinds.spectra.declare import FOLDER, Panel, SpectraFigure
from repro.kinds.spectra.options import SpectraOptions
from repro.kinds.spectra.panel_spectra import PanelSpectra
from repro.kinds.spectra.planned import RANDOM_IMAGES, batch_size, planned
from repro.stages.autoencoders import Autoencoder, load_vae, vae_digest, whitened_latents
from repro.stages.measurement import Measurement
from repro.worlds.sources import ImageSource, folder, random_images
from swd.flow import FlowMatching, NoiseProcess, VariancePreserving
from swd.schedule import PRESETS, preset
from swd.spectra import schedule_from_spectrum

STAGE, VERSION = "spectra", 4
PROCESSES: Mapping[str, NoiseProcess] = MappingProxyType(
    {"flow": FlowMatching(), "variance-preserving": VariancePreserving()}
)


def run(figure: SpectraFigure, profile: Profile, options: SpectraOptions) -> Path:
    """Measure every panel whose images are there and write the records; in a dry run only say what that takes.

    Returns:
        The records file. It is left alone where it already holds exactly these numbers.

    Raises:
        ExperimentError: no images or bad ones, a VAE that cannot be loaded, or a device that is not there.
    """
    return _Runner(figure, profile, options).run()


class _Runner(Measurement[SpectraFigure, SpectraOptions]):
    def run(self) -> Path:
        if self.options.dry_run:
            terminal.show(planned(self.table, self.profile, self.options))
            return self.records_path
        _ = self.device, self.sources  # what is missing is told before the VAE is loaded
        return self.once(STAGE, self.open(self._config()), lambda opened: partial(self._write, opened))

    @property
    def pictures(self) -> dict[str, Path]:
        """None: what the figure shows follows from the records."""
        return {}

    @cached_property
    def vae(self) -> Autoencoder:
        """Whose latents are measured."""
        options = self.options
        return load_vae(self.profile, ROOT, pipeline=options.pipeline, random=options.random_weights)

    @cached_property
    def sources(self) -> dict[str, ImageSource]:
        """Images by source: what the profile's world has, and of a folder the user's in place of the world's."""
        profile, options = self.profile, self.options
        side, count = profile.data.resolution, self.table.images
        made = [name for name in profile.data.sources if name != FOLDER]
        found = {name: self.world.image_source(name, side, count) for name in made}
        if options.images is not None:
            found[FOLDER] = folder(options.images, side, count)
        elif options.random_weights and not made:
            found[FOLDER] = random_images(side, RANDOM_IMAGES)
        elif FOLDER in profile.data.sources:
            found[FOLDER] = self.world.image_source(FOLDER, side, count)
        if not found:
            raise ExperimentError(f"profile {profile.name} has no images of its own: give a folder with --images DIR")
        return found

    def _config(self) -> dict[str, Any]:
        """All that the numbers follow from."""
        sources = sorted(self.sources.items())
        named = {name: source.named for name, source in sources if source.named}
        return {
            **({"named": named} if named else {}),
            "figure": self.table.content,
            "profile": self.profile.name,
            "process": self.profile.teacher.process,
            "vae": vae_digest(self.vae),
            "random_weights": self.options.random_weights,
            "images": {name: source.digest for name, source in sources},
            "skipped": {name: source.skipped for name, source in sources},
            "versions": versions(("torch", "diffusers", "numpy", "scikit-image", "scikit-learn")),
            "version": VERSION,
        }

    def _panels(self) -> dict[str, PanelSpectra]:
        """Those whose images are there."""
        vae, process = self.vae.to(self.device), PROCESSES[self.profile.teacher.process]
        return {
            panel.key: PanelSpectra.of(
                _samples(panel, source, vae, self.device), self.table.timesteps, process, groups=source.groups
            )
            for panel in self.table.panels
            if (source := self.sources.get(panel.source)) is not None
        }

    def _write(self, opened: OpenRun) -> None:
        panels, config = self._panels(), opened.config
        closed = opened.close(
            device=self.device.type,
            dtype="float32",
            data_hash=digest_json(config["images"]),
            weights_hash=config["vae"],
        )
        lines: list[Line] = [closed]
        for key, panel in panels.items():
            lines += measured_lines(closed, key, panel, self.table)
        lines += _schedules(self.table, self.profile, panels)
        records.save(self.records_path, RecordSet.of(lines))


def measured_lines(run: Run, key: str, panel: PanelSpectra, figure: SpectraFigure) -> Iterator[Line]:
    """All that is recorded of a panel."""
    yield from panel.curves(key)
    for metric, value, bounds in panel.sides(figure):
        yield Record.of(run, key, metric, value, n=len(panel.clean.power), bounds=bounds)
    for metric, number in panel.numbers():
        yield Record.of(run, key, metric, number.value, n=number.n, bounds=(number.ci_low, number.ci_high))
        replicates = keys.without_block(metric)
        yield Series.of(key, replicates, number.replicates, over="replicate", n=number.n, digits=8)


def _schedules(figure: SpectraFigure, profile: Profile, panels: Mapping[str, PanelSpectra]) -> Iterator[Series]:
    """Published schedules, and what the spectrum of each kind of latents proposes at the same sigmas."""
    for name in figure.presets(profile):
        if name not in PRESETS:
            continue
        published = preset(name)
        yield _steps(keys.PUBLISHED, keys.sigmas(name), published.sigmas[:-1])
        yield _steps(keys.PUBLISHED, keys.scales(name), published.scales)
        for panel in figure.panels:
            if panel.space == "latents" and panel.key in panels:
                measured = panels[panel.key]
                proposed = schedule_from_spectrum(
                    measured.clean.mean(), sigmas=published.sigmas, process=measured.process
                )
                yield _steps(panel.key, keys.scales(name), proposed.scales)


def _steps(variant: str, metric: str, values: Sequence[float]) -> Series:
    return Series(variant=variant, metric=metric, over="step", values=tuple(map(float, values)), n=0)


def _samples(panel: Panel, source: ImageSource, vae: Autoencoder, device: torch.device) -> Iterator[Tensor]:
    """Batches of whitened latents, or of pixels in [-1, 1]."""
    size = batch_size(source.side)
    for images in tqdm(source.batches(size), desc=panel.label, total=-(-source.count // size)):
        yield images.to(device) if panel.space == "pixels" else whitened_latents(vae, images.to(device))
