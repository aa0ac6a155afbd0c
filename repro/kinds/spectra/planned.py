"""Makes the plan of a figure of spectra: which images, which VAE, what encoding takes and what is missing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from repro.harness.cells import DASH, number
from repro.harness.files import ROOT
from repro.harness.needs import Need
from repro.harness.page import joined
from repro.harness.profile import Profile
from repro.harness.work_plan import GIB, TERA, missing_text, needs_text
from repro.kinds.spectra.declare import FOLDER, SpectraFigure
from repro.kinds.spectra.options import SpectraOptions
from repro.metrics import weights
from repro.metrics.base import WeightsError
from repro.stages import hub
from repro.stages.autoencoders import Autoencoder, vae_skeleton, vae_source
from repro.worlds.base import load_world
from repro.worlds.sources import folder_files
from swd.cost import encode_cost, weight_bytes

BATCH_PIXELS = 2**20  # encoded at once: one image of 1024 px, 256 of 64
RANDOM_IMAGES = 4  # enough to see that an architecture runs


def batch_size(side: int) -> int:
    """Images of a side in pixels that are encoded at once."""
    return max(1, BATCH_PIXELS // side**2)


def planned(figure: SpectraFigure, profile: Profile, options: SpectraOptions) -> str:
    """The plan in Markdown.

    Args:
        figure: panels, noise levels and how many images.
        profile: whose VAE, and where images are.
        options: of the command.
    """
    needs = tuple(_needs(profile, options))
    lines = [
        f"- **Model**: {_model(profile, options)}.",
        *(f"- **Images**: {words}, {profile.data.resolution} px." for words in _images(figure, profile, options)),
        *_compute(profile, options),
        f"- **Disk**: records and a picture, no images; {number(_free(options.work) / GIB, 0)} GiB are free.",
        missing_text(needs),
    ]
    return joined(
        [
            f"# Plan: {figure.title}",
            f"In profile `{profile.name}`: {profile.caption} Nothing was done; this does it: "
            f"`{options.command.replace(' --dry-run', '')}`",
            "\n".join(lines),
            *(["## Weights and data", needs_text(needs)] if needs else []),
        ]
    )


def _model(profile: Profile, options: SpectraOptions) -> str:
    source = vae_source(profile, pipeline=options.pipeline)
    name = f"the {'tiny autoencoder' if profile.weights.tiny else 'VAE of'} {source.repo}"
    return f"the architecture of {name} with random weights" if options.random_weights else name


def _images(figure: SpectraFigure, profile: Profile, options: SpectraOptions) -> Iterator[str]:
    """What each source gives, without reading an image."""
    made = [name for name in profile.data.sources if name != FOLDER]
    yield from (f"up to {figure.images} {name}" for name in made)
    if options.images is not None:
        yield _counted(figure, str(options.images), options.images)
    elif options.random_weights and not made:
        yield f"{RANDOM_IMAGES} of noise"
    elif FOLDER in profile.data.sources:
        for need in load_world(profile, ROOT).image_needs():
            yield f"{figure.images} of {need.name}" if need.missing else _counted(figure, need.name, Path(need.name))


def _counted(figure: SpectraFigure, name: str, folder: Path) -> str:
    chosen, there = folder_files(folder, figure.images)
    return f"{len(chosen)} of {there:,} in {name}"


def _compute(profile: Profile, options: SpectraOptions) -> Iterator[str]:
    vae = vae_skeleton(profile, ROOT, pipeline="" if options.random_weights else options.pipeline)
    if vae is None:
        yield f"- **Work, memory**: {DASH}, the architecture of {options.pipeline} is not on this machine."
        return
    flops, memory = encoding(vae, profile.data.resolution)
    size = batch_size(profile.data.resolution)
    yield f"- **Work**: encoding takes {number(flops / TERA, 2)} TFLOP an image, in float32."
    yield (
        f"- **Memory**: up to {number(memory / GIB, 1)} GiB on a GPU with {size} "
        f"{'images' if size > 1 else 'image'} at once, of which "
        f"{number(weight_bytes(vae) / GIB, 2)} GiB weights in float32."
    )


def encoding(vae: Autoencoder, side: int) -> tuple[int, int]:
    """FLOPs of an image of a side in pixels, and memory of a batch: weights, and what the encoder works with."""
    latent = side // 2 ** (len(vae.config.block_out_channels) - 1)
    peak = encode_cost(vae, latent, batch=batch_size(side)).peak_bytes
    return encode_cost(vae, latent).flops, weight_bytes(vae) + peak


def _needs(profile: Profile, options: SpectraOptions) -> Iterator[Need]:
    if not options.random_weights:
        yield _vae(profile, options)
    if options.images is not None:
        missing = not folder_files(options.images, 1)[0]
        yield Need(
            name=str(options.images), why="images", command=f"# {options.images}: put images there", missing=missing
        )
    elif not options.random_weights and FOLDER in profile.data.sources:
        yield from load_world(profile, ROOT).image_needs()


def _vae(profile: Profile, options: SpectraOptions) -> Need:
    source = vae_source(profile, pipeline=options.pipeline)
    return Need(
        name=str(source),
        why="latents",
        command=weights.command(source.repo, files=[f"{source.file}/*"] if source.file else None),
        terms=str(weights.TERMS.get(source.repo) or ""),
        missing=not _is_whole(hub.find(source, ROOT)),
    )


def _is_whole(place: Path | None) -> bool:
    """Whether weights are there, and none of their files is empty or cut off."""
    if place is None:
        return False
    try:
        weights.check(place)
    except WeightsError:
        return False
    return True


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free if folder.exists() else _free(folder.parent)
