"""The mini AutoencoderKL: 64x64 pixels to 32x32 latents of 4 channels."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from repro.worlds.mini.data import SAMPLE, Scenes
from repro.worlds.mini.fit import FitConfig, fit
from repro.worlds.mini.precision import mixed_precision
from swd.resize import downscale_area

VAE_FIT = FitConfig(iterations=1000, batch_size=32, lr=2e-3, warmup=50, ema_decay=0.995, seed=1)
KL_WEIGHT = 2e-4
SIDES = (64, 64, 64, 48, 40, 32, 24, 16)  # pixels; the students encode images at all of these


def new_vae() -> AutoencoderKL:
    """An untrained autoencoder, layout as SD3's: no quant convolutions, 4 latent channels, factor 2."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        sample_size=64,
    )


def train_vae(scenes: Scenes, folder: Path, device: torch.device, config: FitConfig = VAE_FIT) -> AutoencoderKL:
    """Train on pixels with a light KL term, then set the shift and scaling factors that whiten the latents.

    The loss is MSE + 2e-4 KL per latent value. Sides cycle, since every scale of a schedule is encoded from
    pixels of its own size.
    """
    torch.manual_seed(config.seed)
    vae = new_vae().to(device)

    def step(iteration: int, rng: torch.Generator) -> dict[str, Tensor]:
        pixels = scenes.batch(torch.randint(len(scenes), (config.batch_size,), generator=rng)).to(device)
        side = SIDES[iteration % len(SIDES)]
        pixels = downscale_area(pixels, (side, side))
        with mixed_precision(device):
            posterior = vae.encode(pixels).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=rng).to(device)
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        mse = F.mse_loss(decoded.float(), pixels)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return {"loss": mse + KL_WEIGHT * kl, "mse": mse, "kl": kl}

    trained = fit("vae", vae, step, config, folder, [scenes.images[:SAMPLE]])
    whiten(trained, scenes.batch(torch.arange(512)).to(device))
    return trained


@torch.no_grad()
def whiten(vae: AutoencoderKL, pixels: Tensor) -> None:
    """Write the shift and scaling factors under which latents have mean 0 and variance 1 over all values."""
    latents = vae.encode(pixels).latent_dist.mean
    vae.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


@torch.no_grad()
def psnr(vae: AutoencoderKL, pixels: Tensor) -> float:
    """Reconstruction quality in dB over images (B, 3, H, W) in [-1, 1], peak 2."""
    decoded = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(decoded, pixels)))
