"""Measures a figure of spectra: images, latents, noise, averages over rings, and the safe side of each noise level."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from repro.harness import records, terminal
from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT, digest_json
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.schema import Curve, Line, Record, RecordSet, Run, Series
from repro.kinds.spectra import keys
from repro.kinds.spectra.declare import FOLDER, Panel, SpectraFigure
from repro.kinds.spectra.options import SpectraOptions
from repro.kinds.spectra.planned import RANDOM_IMAGES, batch_size, planned
from repro.metrics.base import Estimate
from repro.metrics.jackknife import GROUPS, jackknife
from repro.stages.autoencoders import Autoencoder, load_vae, vae_digest, whitened_latents
from repro.stages.measurement import Measurement
from repro.worlds.sources import ImageSource, folder, random_images
from swd.flow import NUM_TIMESTEPS, FlowMatching, NoiseProcess, VariancePreserving
from swd.sampler import draw_noise, seed_rngs
from swd.schedule import PRESETS, preset
from swd.spectra import (
    Spectrum,
    fit_power_law,
    least_octave_fall,
    noisy_spectrum,
    radial_spectrum,
    safe_side,
    schedule_from_spectrum,
)

STAGE, VERSION = "spectra", 4
RESAMPLES = 500
PROCESSES: Mapping[str, NoiseProcess] = MappingProxyType(
    {"flow": FlowMatching(), "variance-preserving": VariancePreserving()}
)


def _fit(clean: Spectrum) -> float:
    """R^2 of the power law; 0 where power does not fall."""
    law = fit_power_law(clean)
    return law.fit if law.exponent > 0 else 0.0


NUMBERS: Mapping[str, Callable[[Spectrum], float]] = MappingProxyType(
    {keys.EXPONENT: lambda clean: fit_power_law(clean).exponent, keys.FIT: _fit, keys.FALL: least_octave_fall}
)
"""Numbers of a mean spectrum that change smoothly with it, as a jackknife needs."""


@dataclass(frozen=True, slots=True)
class PanelSpectra:
    """What a panel shows.

    Attributes:
        clean: spectrum of every image, channels averaged: power (N, F).
        noisy: timestep -> measured spectrum of x_t, likewise.
        process: what makes x_t.
        groups: the group of each image; empty where each is one by itself.
    """

    clean: Spectrum
    noisy: dict[int, Spectrum]
    process: NoiseProcess
    groups: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        batches: Iterable[Tensor],
        timesteps: tuple[int, ...],
        process: NoiseProcess,
        groups: tuple[int, ...] = (),
    ) -> "PanelSpectra":
        """Spectra of samples (B, C, H, W) and of what noise makes of them; the noise of image i follows from i."""
        clean: list[Spectrum] = []
        noisy: dict[int, list[Spectrum]] = {timestep: [] for timestep in timesteps}
        seen = 0
        for samples in batches:
            noise = draw_noise(seed_rngs(range(seen, seen + len(samples))), tuple(samples.shape[1:]), samples.device)
            seen += len(samples)
            clean.append(_per_image(samples))
            for timestep, found in noisy.items():
                found.append(_per_image(process.add_noise(samples, noise, timestep / NUM_TIMESTEPS)))
        return cls(_joined(clean), {timestep: _joined(found) for timestep, found in noisy.items()}, process, groups)

    def curves(self, variant: str) -> Iterator[Curve]:
        """Clean and noisy spectra as measured, and the noisy ones as the clean one and the noise level give them."""
        yield _curve(variant, keys.CLEAN, self.clean)
        mean = self.clean.mean()
        for timestep, measured in self.noisy.items():
            expected = noisy_spectrum(mean, timestep / NUM_TIMESTEPS, self.process)
            signal = replace(expected, power=expected.power - self.noise_power(timestep))
            yield _curve(variant, keys.noisy(timestep), measured)
            yield _curve(variant, keys.expected(timestep), expected)
            yield _curve(variant, keys.signal(timestep), signal)

    def noise_power(self, timestep: int) -> float:
        """Power of the noise in x_t, the same at every frequency."""
        silent = replace(self.clean, power=torch.zeros(1))
        return float(noisy_spectrum(silent, timestep / NUM_TIMESTEPS, self.process).power)

    def numbers(self) -> Iterator[tuple[str, Estimate]]:
        """Those of ``NUMBERS``, by a jackknife over groups of images; none of a single group."""
        clusters = self._clusters()
        if len(clusters) < 2:
            return
        runs = np.array_split(np.arange(len(clusters)), min(GROUPS, len(clusters)))
        means = [self._mean([c for n, c in enumerate(clusters) if n not in set(run.tolist())]) for run in runs]
        for key, number in NUMBERS.items():
            yield key, jackknife(number(self.clean.mean()), [number(mean) for mean in means], len(self.clean.power))

    def sides(self, figure: SpectraFigure) -> Iterator[tuple[str, float, tuple[float, float]]]:
        """The safe side of each noise level, which takes few values, with a percentile bootstrap over groups."""
        clusters, rng = self._clusters(), np.random.default_rng(0)
        drawn = rng.integers(0, len(clusters), (RESAMPLES, len(clusters)))
        resampled = [self._mean([clusters[n] for n in one]) for one in drawn]
        for timestep in figure.timesteps:
            sides = [safe_side(s, timestep / NUM_TIMESTEPS, process=self.process) for s in resampled]
            low, high = np.percentile(sides, (2.5, 97.5))
            value = safe_side(self.clean.mean(), timestep / NUM_TIMESTEPS, process=self.process)
            yield keys.safe_side(timestep), value, (float(low), float(high))

    def _clusters(self) -> list[np.ndarray]:
        """Places of the images of each group, (n,)."""
        groups = np.array(self.groups or range(len(self.clean.power)))
        return [np.flatnonzero(groups == group) for group in np.unique(groups)]

    def _mean(self, clusters: Sequence[np.ndarray]) -> Spectrum:
        """Mean spectrum of the images of these groups."""
        return replace(self.clean, power=self.clean.power[torch.from_numpy(np.concatenate(clusters))]).mean()


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


def _samples(panel: Panel, source: ImageSource, vae: Autoencoder, device: torch.device) -> Iterator[Tensor]:
    """Batches of whitened latents, or of pixels in [-1, 1]."""
    size = batch_size(source.side)
    for images in tqdm(source.batches(size), desc=panel.label, total=-(-source.count // size)):
        yield images.to(device) if panel.space == "pixels" else whitened_latents(vae, images.to(device))


def _joined(parts: list[Spectrum]) -> Spectrum:
    return replace(parts[0], power=torch.cat([part.power for part in parts]))


def _per_image(samples: Tensor) -> Spectrum:
    spectrum = radial_spectrum(samples)
    power = spectrum.power.mean(1).cpu()
    return Spectrum(power, spectrum.frequency.cpu(), spectrum.population.cpu(), spectrum.size)


def _curve(variant: str, metric: str, spectrum: Spectrum) -> Curve:
    """Mean and standard error over the rings that are whole; a single spectrum was computed and has no error."""
    whole = spectrum.inscribed
    power = spectrum.power[..., whole]
    measured = power.ndim > 1
    error = power.std(0) / len(power) ** 0.5 if measured else torch.zeros_like(power)
    x, y, spread = (
        _rounded(values) for values in (spectrum.frequency[whole], power.mean(0) if measured else power, error)
    )
    return Curve(variant=variant, metric=metric, x=x, y=y, error=spread, n=len(power) if measured else 0)


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values.tolist())
