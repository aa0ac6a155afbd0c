"""Trains the decoder of the mini VAE on, with the encoder frozen: latents, teacher and students stay as they are.

With its encoder it learned squared error alone, which hardly sees the faint top octave of a scene. Here the error
counts three times: squared, absolute, and by the size of its Fourier coefficients, among which all frequencies weigh
the same.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from repro.worlds.mini.data import SAMPLE, Scenes
from repro.worlds.mini.fit import FitConfig, fit
from repro.worlds.mini.precision import mixed_precision
from swd.resize import downscale_area

DECODER_FIT = FitConfig(
    iterations=3000, batch_size=16, lr=1e-3, warmup=50, weight_decay=1e-2, ema_decay=0.99, seed=2, save_every=250
)
L1_WEIGHT, FOURIER_WEIGHT = 0.1, 0.02
SIDES = (64, 64, 64, 64, 64, 48, 64, 32)  # pixels; final images are 64, early scales are decoded for figures alone


def detail_loss(decoded: Tensor, pixels: Tensor) -> Tensor:
    """Squared error + 0.1 absolute error + 0.02 mean size of the error's Fourier coefficients (not normalised).

    Args:
        decoded: images (B, 3, H, W) in [-1, 1].
        pixels: what they should be.
    """
    error = decoded - pixels
    fourier = torch.fft.rfft2(error).abs().mean()
    return error.square().mean() + L1_WEIGHT * error.abs().mean() + FOURIER_WEIGHT * fourier


def train_decoder(
    vae: AutoencoderKL, scenes: Scenes, folder: Path, device: torch.device, config: FitConfig = DECODER_FIT
) -> AutoencoderKL:
    """Train the decoder on the latents' means, which is what the teacher learned to draw.

    Args:
        vae: trained; its encoder and factors stay.
        scenes: training images.
        folder: state and log.
        device: where to train.
        config: length and optimiser.

    Returns:
        The VAE with the moving average of its new decoder.
    """
    vae = vae.to(device)

    def step(iteration: int, rng: torch.Generator) -> dict[str, Tensor]:
        pixels = scenes.batch(torch.randint(len(scenes), (config.batch_size,), generator=rng)).to(device)
        side = SIDES[iteration % len(SIDES)]
        pixels = downscale_area(pixels, (side, side))
        with mixed_precision(device):
            with torch.no_grad():
                latents = vae.encode(pixels).latent_dist.mean
            decoded = vae.decoder(latents).float()
        return {"loss": detail_loss(decoded, pixels), "mse": F.mse_loss(decoded, pixels)}

    vae.decoder.train()
    trained = fit("decoder", vae.decoder, step, config, folder, [scenes.images[:SAMPLE]])
    vae.decoder.load_state_dict(trained.state_dict())
    return vae.eval()
