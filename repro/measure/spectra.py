"""Measures a figure of spectra: images, latents, noise, averages over rings, and the safe side of each noise level."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from repro.harness import records
from repro.harness.experiment import Profile
from repro.harness.figure import EXPONENT, Panel, SpectraFigure
from repro.harness.files import digest_file, digest_folder, digest_json
from repro.harness.options import RunOptions
from repro.harness.provenance import git_stamp, start_run, versions
from repro.harness.schema import Curve, Line, Record, RecordSet
from repro.harness.stages import StageStore
from repro.measure.photographs import photograph_crops
from repro.measure.world import World
from swd.flow import NUM_TIMESTEPS, FlowMatching, NoiseProcess
from swd.sampler import draw_noise, seed_rngs
from swd.spectra import Spectrum, fit_power_law, noisy_spectrum, radial_spectrum, safe_side

ROOT = Path(__file__).resolve().parents[2]
STAGE, VERSION = "spectra", 1
BATCH = 100
RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class PanelSpectra:
    """What a panel shows.

    Attributes:
        clean: spectrum of every image, channels averaged: power (N, F).
        noisy: timestep -> measured spectrum of x_t, likewise.
        process: what makes x_t.
    """

    clean: Spectrum
    noisy: dict[int, Spectrum]
    process: NoiseProcess

    @classmethod
    def of(cls, samples: Tensor, timesteps: tuple[int, ...], process: NoiseProcess) -> "PanelSpectra":
        """Spectra of samples (N, C, H, W) and of what noise makes of them; the noise of image i follows from i."""
        noise = draw_noise(seed_rngs(range(len(samples))), tuple(samples.shape[1:]), "cpu")
        noisy = {t: _per_image(process.add_noise(samples, noise, t / NUM_TIMESTEPS)) for t in timesteps}
        return cls(_per_image(samples), noisy, process)

    def curves(self, variant: str) -> Iterator[Curve]:
        """Clean and noisy spectra as measured, and the noisy ones as the clean one and the noise level give them."""
        yield _curve(variant, "clean", self.clean)
        mean = self.clean.mean()
        for timestep, measured in self.noisy.items():
            expected = noisy_spectrum(mean, timestep / NUM_TIMESTEPS, self.process)
            signal = replace(expected, power=expected.power - self.noise_power(timestep))
            yield _curve(variant, f"noisy_t{timestep}", measured)
            yield _curve(variant, f"expected_t{timestep}", expected)
            yield _curve(variant, f"signal_t{timestep}", signal)

    def noise_power(self, timestep: int) -> float:
        """Power of the noise in x_t, the same at every frequency."""
        silent = replace(self.clean, power=torch.zeros(1))
        return float(noisy_spectrum(silent, timestep / NUM_TIMESTEPS, self.process).power)

    def numbers(self, figure: SpectraFigure) -> Iterator[tuple[str, float, float, float]]:
        """Metric, value and 95 % interval: of the exponent by its fit, of the sides by a bootstrap over images."""
        law = fit_power_law(self.clean.mean())
        yield EXPONENT.key, law.exponent, law.low, law.high
        rng = np.random.default_rng(0)
        drawn = torch.from_numpy(rng.integers(0, len(self.clean.power), (RESAMPLES, len(self.clean.power))))
        resampled = [replace(self.clean, power=self.clean.power[index]).mean() for index in drawn]
        for timestep in figure.timesteps:
            sides = [safe_side(s, timestep / NUM_TIMESTEPS, process=self.process) for s in resampled]
            low, high = np.percentile(sides, (2.5, 97.5))
            value = safe_side(self.clean.mean(), timestep / NUM_TIMESTEPS, process=self.process)
            yield figure.safe_side(timestep).key, value, float(low), float(high)


def run(figure: SpectraFigure, profile: Profile, options: RunOptions) -> Path:
    """Measure every panel and write the records.

    Returns:
        The records file. It is left alone where it already holds exactly these numbers.
    """
    path = options.out / "records" / f"{profile.stem(figure.key)}.jsonl"
    vae_folder = ROOT / profile.pipeline / "vae"
    images = {source: _images(source, figure, profile) for source in {panel.source for panel in figure.panels}}
    config = _config(figure, profile, images, digest_folder(vae_folder))
    store = StageStore(options.work, stamp=git_stamp(ROOT))
    if store.done(STAGE, config) and path.exists() and store.result(STAGE, config) == {"records": digest_file(path)}:
        print(f"nothing to do: {path} holds exactly this measurement", file=sys.stderr)
        return path
    opened = start_run(table=figure.key, profile=profile.name, config=config, command=options.command, folder=ROOT)
    vae = AutoencoderKL.from_pretrained(vae_folder).eval()
    panels = {
        panel.key: PanelSpectra.of(_samples(panel, images[panel.source], vae), figure.timesteps, FlowMatching())
        for panel in figure.panels
    }
    data_hash = digest_json(config["images"])
    closed = opened.close(device="cpu", dtype="float32", data_hash=data_hash, weights_hash=config["vae"])
    lines: list[Line] = [closed]
    for key, panel in panels.items():
        lines += panel.curves(key)
        for metric, value, low, high in panel.numbers(figure):
            lines.append(_record(closed.run, figure, profile, key, metric, (value, low, high), len(panel.clean.power)))
    records.save(path, RecordSet.of(lines))
    store.finish(STAGE, config, {"records": digest_file(path)})
    return path


def _config(figure: SpectraFigure, profile: Profile, images: dict[str, Tensor], vae: str) -> dict[str, Any]:
    """All that the numbers follow from."""
    return {
        "figure": asdict(figure),
        "profile": profile.name,
        "vae": vae,
        "images": {source: _digest(found) for source, found in sorted(images.items())},
        "versions": versions(("torch", "diffusers", "numpy", "scikit-image", "scikit-learn")),
        "version": VERSION,
    }


def _images(source: str, figure: SpectraFigure, profile: Profile) -> Tensor:
    """Images (N, 3, H, W) of uint8: scenes from every prompt set alike, or all crops of the photographs."""
    module, _, name = profile.settings["world"].partition(":")
    world: World = getattr(import_module(module), name)(profile, ROOT)
    references = [torch.cat(list(world.reference(prompts.key))) for prompts in profile.prompt_sets]
    if source == "photographs":
        return photograph_crops(references[0].shape[-1])[: figure.images]
    share = figure.images // len(references)
    return torch.cat([found[:share] for found in references])


@torch.no_grad()
def _samples(panel: Panel, images: Tensor, vae: AutoencoderKL) -> Tensor:
    """Whitened latents, or pixels in [-1, 1]."""
    pixels = images.float() / 127.5 - 1
    if panel.space == "pixels":
        return pixels
    means = torch.cat([vae.encode(batch).latent_dist.mean for batch in pixels.split(BATCH)])
    return (means - vae.config.shift_factor) * vae.config.scaling_factor


def _per_image(samples: Tensor) -> Spectrum:
    spectrum = radial_spectrum(samples)
    return replace(spectrum, power=spectrum.power.mean(1))


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


def _record(
    run: str,
    figure: SpectraFigure,
    profile: Profile,
    variant: str,
    metric: str,
    estimate: tuple[float, float, float],
    n: int,
) -> Record:
    value, low, high = estimate
    return Record(
        table=figure.key,
        variant=variant,
        prompts="",
        profile=profile.name,
        seed=0,
        metric=metric,
        value=value,
        n=n,
        ci_low=low,
        ci_high=high,
        unit="",
        run=run,
    )


def _digest(images: Tensor) -> str:
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()
