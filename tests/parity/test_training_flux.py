"""One training iteration of FLUX against plain networks and peft: no bank, no tap, no denoiser of ours."""

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import tiny_pipelines
import torch
import torch.nn.functional as F
from diffusers import FluxPipeline
from peft import LoraConfig
from torch import Tensor

from swd.backbones.flux.condition import FluxCondition
from swd.backbones.flux.denoiser import FluxDenoiser
from swd.data.cache import Batch
from swd.lora.bank import AdapterBank
from swd.rng import StepRandom
from swd.training import DistillConfig
from swd.training.discriminator import Discriminator
from swd.training.step import DistillationStep

GUIDANCE, STUDENT_GUIDANCE, LOW, SIDE = 3.0, 4.5, 8, 12
CONFIG = DistillConfig(
    preset="own", grid="flux", scales=(LOW, SIDE), boundaries=(0, 14, 28), feature_block=2, guidance_scale=GUIDANCE,
    rank=2, alpha=4.0,
)  # fmt: skip


@cache
def levels() -> Tensor:
    """FLUX's published training grid: 28 even steps from 1 to 0.001, then the shift of 3."""
    even = torch.linspace(1, 0.001, 28)
    return torch.cat([3 * even / (1 + 2 * even), torch.zeros(1)])


@cache
def world() -> tuple[Any, Batch, FluxCondition]:
    """A transformer, data of the second step, and the condition of the empty prompt."""
    rng = torch.Generator().manual_seed(0)

    def rows(count: int) -> FluxCondition:
        embeds, pooled = torch.randn(count, 7, 32, generator=rng), torch.randn(count, 16, generator=rng)
        return FluxCondition.of(embeds, pooled, STUDENT_GUIDANCE)

    target, lower = torch.randn(2, 4, SIDE, SIDE, generator=rng), torch.randn(2, 4, LOW, LOW, generator=rng)
    return tiny_pipelines.make("flux").transformer, Batch(target, lower, rows(2)), rows(1)


class Plain:
    """Teacher, student and fake model, each a network of its own, called as FluxPipeline calls it."""

    def __init__(self, states: dict[str, dict[str, Tensor]]) -> None:
        transformer, self.batch, _ = world()
        self.networks = {"teacher": copy.deepcopy(transformer).requires_grad_(False)}
        for name, state in states.items():
            network = copy.deepcopy(transformer)
            double = r"attn\.to_[qkv]|attn\.to_out\.0|(ff|ff_context)\.net\.(0\.proj|2)"
            single = r"attn\.to_[qkv]|proj_mlp|proj_out"
            targets = rf"transformer_blocks\.\d+\.({double})|single_transformer_blocks\.\d+\.({single})"
            network.add_adapter(LoraConfig(r=CONFIG.rank, lora_alpha=CONFIG.alpha, target_modules=targets))
            parameters = {key.replace(".default", ""): value for key, value in network.named_parameters()}
            with torch.no_grad():
                for key, value in state.items():
                    parameters[key].copy_(value)
            self.networks[name] = network

    def gradients(self, name: str) -> dict[str, Tensor]:
        parameters = self.networks[name].named_parameters()
        return {key.replace(".default", ""): value.grad for key, value in parameters if value.grad is not None}

    def velocity(self, name: str, x_t: Tensor, sigma: Tensor, guidance_scale: float) -> Tensor:
        cond, side = self.batch.cond, x_t.shape[-1]
        assert isinstance(cond, FluxCondition)
        tokens = self.networks[name](
            hidden_states=FluxPipeline._pack_latents(x_t, 2, 4, side, side),
            timestep=1000 * sigma / 1000,
            guidance=torch.full([1], guidance_scale).expand(2),
            pooled_projections=cond.pooled,
            encoder_hidden_states=cond.prompt_embeds,
            txt_ids=torch.zeros(7, 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(2, side // 2, side // 2, "cpu", torch.float32),
        ).sample
        return FluxPipeline._unpack_latents(tokens, 2 * side, 2 * side, 2)

    def x0(self, name: str, x_t: Tensor, sigma: Tensor, guidance_scale: float = STUDENT_GUIDANCE) -> Tensor:
        return x_t - sigma[:, None, None, None] * self.velocity(name, x_t, sigma, guidance_scale)

    def features(self, name: str, x_t: Tensor, sigma: Tensor) -> Tensor:
        """Image tokens of the first single block, block 2 in all."""
        kept: list[Tensor] = []
        block = self.networks[name].single_transformer_blocks[0]
        hook = block.register_forward_hook(lambda _, args, output: kept.append(output[1]))
        self.velocity(name, x_t, sigma, STUDENT_GUIDANCE)
        hook.remove()
        return kept[0]

    def drawn(self, like: Tensor, purpose: str, indices: tuple[int, int], random: StepRandom) -> tuple[Tensor, Tensor]:
        sigma = levels()[random.indices(f"{purpose} level", *indices)]
        return sigma, random.normal(f"{purpose} noise", like)

    def sample(self, random: StepRandom, step: int) -> Tensor:
        """The student's x0: from noise alone, or from the upscaled lower latent."""
        lower = self.batch.target if step == 0 else self.batch.lower
        upscaled = F.interpolate(lower, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
        sigma = levels()[[0, 14][step]].expand(2)
        x_t = mixed(upscaled, sigma, random.normal("student", upscaled))
        return self.x0("student", x_t, sigma)

    def student_loss(self, random: StepRandom, step: int, config: DistillConfig, head: Any) -> Tensor:
        x0 = self.sample(random, step)
        sigma, noise = self.drawn(x0, "pdm", (18, 28), random)
        fake, real = (
            self.features("teacher", mixed(latent, sigma, noise), sigma).mean(1) for latent in (x0, self.batch.target)
        )
        pdm = (((fake - real.detach()).square() + 1e-3**2).sqrt() - 1e-3).mean()
        sigma, noise = self.drawn(x0, "dmd", (12, 28), random)
        x_t = mixed(x0, sigma, noise)
        with torch.no_grad():
            real_x0, fake_x0 = self.x0("teacher", x_t, sigma, GUIDANCE), self.x0("fake", x_t, sigma)
            size = (x0 - real_x0).abs().mean((1, 2, 3), keepdim=True)
            gradient = ((x0 - real_x0) - (x0 - fake_x0)) / size
        dmd = 0.5 * F.mse_loss(x0, (x0 - gradient).detach())
        gan = F.softplus(-head(self.features("fake", x_t, sigma))).mean()
        return config.weight_pdm * pdm + config.weight_dmd * dmd + config.weight_gan * gan

    def fake_loss(self, random: StepRandom, step: int, config: DistillConfig, head: Any) -> Tensor:
        with torch.no_grad():
            x0 = self.sample(random, step)
        sigma, noise = self.drawn(x0, "fake", (0, 28), random)
        x_ts = [mixed(latent, sigma, noise) for latent in (x0, self.batch.target)]
        error = F.mse_loss(self.x0("fake", x_ts[0], sigma), x0)
        logits = [head(self.features("fake", x_t, sigma)) for x_t in x_ts]
        judged = F.softplus(logits[0]).mean() + F.softplus(-logits[1]).mean()
        return error + config.weight_gan_discriminator * judged


def mixed(x0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    sigma = sigma[:, None, None, None]
    return (1 - sigma) * x0 + sigma * noise


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("update", ["student", "fake"])
def test_gradients_of_an_iteration(update: str, step: int) -> None:
    transformer, batch, empty = world()
    bank = AdapterBank(FluxDenoiser(copy.deepcopy(transformer)), rank=CONFIG.rank, alpha=CONFIG.alpha, seed=0)
    rng, states = torch.Generator().manual_seed(2), {}
    for name in bank.names:
        state = bank.state_dict(name)
        states[name] = {key: 0.2 * torch.randn(value.shape, generator=rng) for key, value in state.items()}
        bank.load_state_dict(name, states[name])
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = Discriminator(bank.denoiser.inner_dim)
    rows: list[int] = []
    bank.denoiser.network.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    made, plain = DistillationStep(CONFIG, CONFIG.schedule(), bank, head, empty), Plain(states)
    random = StepRandom(0, 7, update, range(2))
    given = batch if step else replace(batch, lower=batch.target)
    with bank.trainable(update):
        total = (made.student if update == "student" else made.fake)(given, step, random).total
        total.backward()
    found = {key: weight.grad for key, weight in bank.named_parameters(update).items() if weight.grad is not None}
    assert set(rows) == {2}  # guidance is an input: no batch is doubled

    loss = (plain.student_loss if update == "student" else plain.fake_loss)(random, step, CONFIG, head)
    loss.backward()
    expected = plain.gradients(update)
    torch.testing.assert_close(total, loss, rtol=1e-4, atol=1e-6)
    assert found.keys() == expected.keys()
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    assert largest > 0
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=1e-4 * largest)
