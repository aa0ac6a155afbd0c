"""The VAE of a profile, or its architecture with random weights."""

import hashlib
from pathlib import Path
from typing import TypeAlias

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_json
from repro.harness.profile import Profile
from repro.harness.systems import HubFile
from repro.metrics.base import levels

Autoencoder: TypeAlias = "AutoencoderKL | AutoencoderTiny"


def load_vae(profile: Profile, root: Path, *, pipeline: str = "", random: bool = False) -> Autoencoder:
    """The VAE of a profile in float32.

    Args:
        profile: names the pipeline, and says whether that is an AutoencoderTiny by itself.
        root: what a relative pipeline folder is relative to.
        pipeline: a folder or hub name in place of the profile's.
        random: the architecture alone (``Weights.vae_config``), its weights drawn from seed 0.

    Raises:
        ExperimentError: the weights cannot be had, or the profile does not say its architecture.
    """
    tiny = profile.weights.tiny
    kind = AutoencoderTiny if tiny else AutoencoderKL
    if random:
        if (config := profile.weights.vae_config) is None:
            raise ExperimentError(f"profile {profile.name} does not say the architecture that --random-weights needs")
        torch.manual_seed(0)
        drawn: Autoencoder = kind.from_config(dict(config)).eval()
        return drawn
    name = pipeline or profile.weights.pipeline
    local = root / name
    where = {} if tiny else {"subfolder": "vae"}
    try:
        vae: Autoencoder = kind.from_pretrained(local if local.is_dir() else name, torch_dtype=torch.float32, **where)
    except (OSError, ValueError) as error:
        raise ExperimentError(f"cannot load the VAE of {name}: {error}") from error
    return vae.eval()


def vae_skeleton(profile: Profile, root: Path, *, pipeline: str = "") -> "Autoencoder | None":
    """The VAE that `load_vae` gives, without its weights: of a folder that is there, else as the profile says it.

    None where neither does: a pipeline of one's own that is not on this machine may have another VAE.
    """
    tiny = profile.weights.tiny
    kind, local = AutoencoderTiny if tiny else AutoencoderKL, root / (pipeline or profile.weights.pipeline)
    place = local if tiny else local / "vae"
    config = profile.weights.vae_config if not pipeline else None
    if (place / "config.json").is_file():
        config = kind.load_config(place)
    if config is None:
        return None
    with torch.device("meta"):
        made: Autoencoder = kind.from_config(dict(config)).eval()
    return made


def vae_source(profile: Profile, *, pipeline: str = "") -> HubFile:
    """Where `load_vae` looks for the weights: a folder of a pipeline, or that of a tiny autoencoder."""
    return HubFile(pipeline or profile.weights.pipeline, "" if profile.weights.tiny else "vae")


def vae_digest(vae: Autoencoder) -> str:
    """Identity of a VAE: its class, options and weights, wherever it was loaded from and by which diffusers."""
    options = {name: value for name, value in vae.config.items() if not name.startswith("_")}
    sha = hashlib.sha256(f"{type(vae).__name__} {digest_json(options)}".encode())
    for name, tensor in sorted(vae.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


@torch.no_grad()
def whitened_latents(vae: Autoencoder, images: Tensor) -> Tensor:
    """Latents as a denoiser sees them, shifted and scaled; the mode of the posterior.

    Args:
        vae: on the device of the images.
        images: (B, 3, H, W) in [-1, 1].
    """
    encoded = vae.encode(images)
    latents = encoded.latents if isinstance(vae, AutoencoderTiny) else encoded.latent_dist.mode()
    return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def precise_latents(vae: Autoencoder, images: Tensor) -> Tensor:
    """`whitened_latents` in float32. A VAE in half precision, which may overflow, takes them one by one in float32."""
    dtype = vae.dtype
    if dtype == torch.float32:
        return whitened_latents(vae, images)
    vae.to(dtype=torch.float32)
    try:
        return torch.cat([whitened_latents(vae, image[None]) for image in images])
    finally:
        vae.to(dtype=dtype)


@torch.no_grad()
def reconstructed(vae: Autoencoder, images: Tensor) -> Tensor:
    """What a VAE makes of images: encoded, the mode of the posterior decoded, rounded to levels again.

    Args:
        vae: in float32.
        images: uint8 (B, 3, H, W).

    Returns:
        The same type and shape, on the CPU.
    """
    latents = whitened_latents(vae, images.to(vae.device) / 127.5 - 1)
    decoded = vae.decode(latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)).sample
    return levels(decoded).cpu()
