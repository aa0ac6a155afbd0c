"""The systems of Table 4 in miniature: every pipeline, student, LoRA and network that its rows name, by their names."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from adapters import TARGETS, make_adapter
from tiny_pipelines import NETWORK, make, save

from repro.harness.experiment import Row
from repro.harness.systems import HubFile
from repro.kinds.scores.declare import Clock, Table
from swd.lora.files import write_adapter
from swd.schedule import ScaleSchedule, preset, preset_spec

SIDE = 64  # of an image in pixels
STEPS = 4  # at most; schedules of students and lists of timesteps are no longer
COUNTED_SIDE = (
    256  # what a student's is said to be: compute is counted behind the published VAE, which has a factor of 8
)
BASES = {
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "stabilityai/sdxl-turbo": "sdxl",
    "stabilityai/stable-diffusion-3.5-medium": "sd35-medium",
    "tensorart/stable-diffusion-3.5-medium-turbo": "sd35-medium",
    "stabilityai/stable-diffusion-3.5-large": "sd35-large",
    "stabilityai/stable-diffusion-3.5-large-turbo": "sd35-large",
    "black-forest-labs/FLUX.1-dev": "flux",
    "black-forest-labs/FLUX.1-schnell": "flux-schnell",
}
LORAS = {
    HubFile("ByteDance/Hyper-SD", "Hyper-SDXL-4steps-lora.safetensors"): "sdxl",
    HubFile("ByteDance/Hyper-SD", "Hyper-FLUX.1-dev-8steps-lora.safetensors"): "flux",
    HubFile("alimama-creative/FLUX.1-Turbo-Alpha", "diffusion_pytorch_model.safetensors"): "flux",
}
UNET = HubFile("tianweiy/DMD2", "dmd2_sdxl_4step_unet_fp16.bin")
BACKBONES = {"sd35-medium": "sd3", "sd35-large": "sd3", "sdxl": "sdxl", "flux": "flux"}


def _four(family: str) -> Callable[[], ScaleSchedule]:
    """The published levels of a family at the sides of the mini world."""
    return lambda: replace(preset_spec(f"{family}-4"), scales=preset("mini-4").scales).build()


STUDENTS: Mapping[str, tuple[str, Callable[[], ScaleSchedule]]] = {
    "yresearch/swd-medium-6-steps": ("sd35-medium", lambda: preset("mini-6")),
    "yresearch/swd-medium-4-steps": ("sd35-medium", lambda: preset("mini-4")),
    "yresearch/swd-large-6-steps": ("sd35-large", lambda: preset("mini-6")),
    "yresearch/swd-large-4-steps": ("sd35-large", lambda: preset("mini-4")),
    "yresearch/swd-sdxl": ("sdxl", _four("sdxl")),
    "yresearch/swd_flux": ("flux", _four("flux")),
}


def place(folder: Path, repo: str) -> Path:
    """Where the stand-in of a repository is; not by its own name, which would mean the published schedule."""
    return folder / "hub" / repo.replace("/", "--")


def build_systems(folder: Path) -> None:
    """All that the rows of Table 4 name, below ``folder``."""
    for seed, (repo, name) in enumerate(BASES.items()):
        save(make(name, seed=seed), place(folder, repo), variant="fp16" if name == "sdxl" else None)
    for seed, (repo, (name, schedule)) in enumerate(STUDENTS.items()):
        write_student(name, schedule(), place(folder, repo), seed=seed)
    for seed, (lora, name) in enumerate(LORAS.items()):
        _write_lora(name, place(folder, lora.repo) / lora.file, seed=seed)
    path = place(folder, UNET.repo) / UNET.file
    path.parent.mkdir(parents=True)
    torch.save(make("sdxl", seed=50).unet.half().state_dict(), path)


def write_student(name: str, schedule: ScaleSchedule, folder: Path, *, seed: int) -> None:
    """A PEFT folder as `python -m swd.export` writes it, for a pipeline by its name in `tiny_pipelines`."""
    header = {
        "scales": list(schedule.scales),
        "sigmas": list(schedule.sigmas),
        "process": schedule.process,
        "backbone": BACKBONES[name],
        "guidance_scale": 1.0,
        "token_length": None if name == "sdxl" else 16,
    }
    network = getattr(make(name), NETWORK[name])
    adapter = replace(make_adapter(network, TARGETS[name], seed=seed), header=header)
    write_adapter(adapter, "peft", folder, component=NETWORK[name])


def _write_lora(name: str, path: Path, *, seed: int) -> None:
    """An adapter of another method, in diffusers' layout, as one file."""
    network = getattr(make(name), NETWORK[name])
    adapter = make_adapter(network, TARGETS[name], seed=seed, strength=0.05)
    written = write_adapter(adapter, "diffusers", path.parent / "making", component=NETWORK[name])
    written.rename(path)
    shutil.rmtree(path.parent / "making")


def small(table: Table, folder: Path) -> Table:
    """A table whose systems are these, at a few pixels, timed in a few rounds."""
    rows = tuple(_small_row(row, folder) for row in table.rows)
    clock = None if table.clock is None else Clock(batch_size=2, rounds=3, warmup=0)
    return replace(table, rows=rows, clock=clock)


def _small_row(row: Row, folder: Path) -> Row:
    if row.system is None:
        return row
    system = row.system

    def here(source: HubFile | None) -> Any:
        return None if source is None else HubFile(str(place(folder, source.repo)), source.file)

    return replace(
        row,
        system=replace(
            system,
            steps=system.steps if system.student is not None else min(system.steps, STEPS),
            resolution=SIDE if system.student is None else COUNTED_SIDE,
            base=here(system.base),
            student=here(system.student),
            network=here(system.network),
            lora=here(system.lora),
        ),
    )
