"""The mini teacher: a small SD3 transformer, trained from low to high sides and at last on all sides in turn."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm
from transformers import CLIPTokenizer

from repro.worlds.mini.data import SAMPLE, Scenes, cached
from repro.worlds.mini.fit import FitConfig, fit
from repro.worlds.mini.precision import mixed_precision
from repro.worlds.mini.text import encode_text, new_text_encoder, tokenize
from swd.flow import FlowMatching
from swd.grid import time_shift
from swd.resize import downscale_area

VAE_FACTOR = 2
TIME_SHIFT = 3.0
PROMPT_DROP = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of teacher training: latent sides in turn, one per iteration.

    Stages after the single-side teacher leave the text towers alone, so that they serve that teacher too.
    """

    name: str
    sides: tuple[int, ...]
    fit: FitConfig
    train_text: bool = True


ALL_SIDES = (32, 24, 32, 16, 32, 20, 32, 8, 32, 12)  # of every schedule; the full side in every other iteration
STAGES = (
    Stage(name="low", sides=(16,), fit=FitConfig(iterations=4000, batch_size=64, lr=2e-3, lr_final=5e-4, seed=10)),
    Stage(name="high", sides=(32,), fit=FitConfig(iterations=1500, batch_size=32, lr=8e-4, lr_final=2e-4, seed=11)),
    Stage(
        name="mixed",
        sides=ALL_SIDES,
        fit=FitConfig(iterations=2500, batch_size=32, lr=6e-4, lr_final=2e-5, seed=12),
        train_text=False,
    ),
    Stage(
        name="long",
        sides=ALL_SIDES,
        fit=FitConfig(iterations=6500, batch_size=32, lr=6e-4, lr_final=1e-5, seed=13),
        train_text=False,
    ),
)


def new_transformer() -> SD3Transformer2DModel:
    """An untrained SD3.5-style transformer: 2.3 M parameters in 4 blocks, queries and keys RMS-normalised."""
    return SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=4,
        num_attention_heads=4,
        attention_head_dim=32,
        joint_attention_dim=128,
        caption_projection_dim=128,
        pooled_projection_dim=128,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )


def new_teacher(tokenizer: CLIPTokenizer, seed: int) -> nn.ModuleDict:
    """The untrained networks that are trained together: ``transformer`` and the two text ``towers``."""
    torch.manual_seed(seed)
    towers = nn.ModuleList([new_text_encoder(tokenizer), new_text_encoder(tokenizer)])
    return nn.ModuleDict({"transformer": new_transformer(), "towers": towers})


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, scenes: Scenes, side: int, cache: Path, batch_size: int = 250) -> Tensor:
    """Whitened latents (N, 4, side, side) in bf16 of images that were area-downscaled in pixels.

    A cache that another VAE or renderer made is made again: its first latents tell.
    """

    def encode(index: Tensor) -> Tensor:
        images = downscale_area(scenes.batch(index).to(vae.device), (side * VAE_FACTOR, side * VAE_FACTOR))
        latents = (vae.encode(images).latent_dist.mean - vae.config.shift_factor) * vae.config.scaling_factor
        return latents.to("cpu", torch.bfloat16)

    def make() -> Tensor:
        parts = torch.arange(len(scenes)).split(batch_size)
        return torch.cat([encode(index) for index in tqdm(parts, desc=f"encode at side {side}")])

    return cached(cache, len(scenes), encode(torch.arange(min(SAMPLE, len(scenes)))), make)


def train_stage(
    teacher: nn.ModuleDict,
    stage: Stage,
    latents: Mapping[int, Tensor],
    ids: Tensor,
    folder: Path,
) -> nn.ModuleDict:
    """Train one stage by flow matching and return the moving average.

    The loss is the squared error of the velocity (noise - x0) at sigmas drawn logit-normal and shifted by 3. One
    prompt in ten is empty, for guidance.

    Args:
        teacher: as from `new_teacher`, on its device.
        stage: which sides, for how long.
        latents: side -> (N, 4, side, side).
        ids: (N + 1, 12) token ids of the captions; the last row is the empty prompt.
        folder: states and log.
    """
    device = next(teacher.parameters()).device
    process = FlowMatching()
    teacher["towers"].requires_grad_(stage.train_text)
    torch.compiler.reset()  # each side is compiled apart, and all stages together would pass the limit of eight
    # On a CPU the fused attention is slower here than two matrix products and a softmax: ask for those, in bf16, and
    # keep Inductor from putting it back.
    on_cpu = device.type == "cpu"
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(on_cpu)
    attention = partial(sdpa_kernel, SDPBackend.MATH) if on_cpu else nullcontext
    options = {"pattern_matcher": False} if on_cpu else None
    forward = torch.compile(teacher["transformer"], dynamic=False, options=options)

    def step(iteration: int, rng: torch.Generator) -> dict[str, Tensor]:
        data = latents[stage.sides[iteration % len(stage.sides)]]
        index = torch.randint(len(data), (stage.fit.batch_size,), generator=rng)
        sigma = time_shift(torch.sigmoid(torch.randn(len(index), generator=rng)), TIME_SHIFT).to(device)
        x0 = data[index].float().to(device)
        noise = torch.randn(x0.shape, generator=rng).to(device)
        drop = torch.rand(len(index), generator=rng) < PROMPT_DROP
        with mixed_precision(device), attention():
            cond = encode_text(teacher["towers"], ids[torch.where(drop, len(ids) - 1, index)].to(device))
            velocity = forward(
                hidden_states=process.add_noise(x0, noise, sigma),
                timestep=1000 * sigma,
                encoder_hidden_states=cond.prompt_embeds,
                pooled_projections=cond.pooled,
                return_dict=False,
            )[0]
        return {"loss": F.mse_loss(velocity.float(), noise - x0)}

    sample = [latents[side][:SAMPLE] for side in sorted(latents)]
    return fit(f"teacher, {stage.name}", teacher, step, stage.fit, folder, sample)


def caption_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids (N + 1, 12): the captions, then the empty prompt."""
    return tokenize(tokenizer, [*captions, ""])
