"""One training iteration of SDXL against plain networks, peft and DDPM's noise: no bank, no tap, no process of ours."""

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import tiny_pipelines
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from peft import LoraConfig
from torch import Tensor

from swd.backbones.sdxl.condition import SDXLCondition
from swd.backbones.sdxl.denoiser import SDXLDenoiser
from swd.data.cache import Batch
from swd.lora.bank import AdapterBank
from swd.rng import StepRandom
from swd.training import DistillConfig
from swd.training.discriminator import Discriminator
from swd.training.step import DistillationStep

MIDDLE, GUIDANCE = 3, 3.0
CONFIG = DistillConfig(
    preset="own", grid="sdxl", scales=(8, 12), boundaries=(0, 30, 50), feature_block=MIDDLE, guidance_scale=GUIDANCE,
    rank=2, alpha=4.0,
)  # fmt: skip
LOW, SIDE = CONFIG.scales or ()


@cache
def alphas() -> Tensor:
    """Product of the alphas up to t = 1, ..., 1000, as diffusers has it."""
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    found: Tensor = scheduler.alphas_cumprod
    return found


@cache
def world() -> tuple[Any, Batch, SDXLCondition]:
    """A UNet, data of the second step, and the condition of the empty prompt."""
    rng = torch.Generator().manual_seed(0)

    def rows(count: int) -> SDXLCondition:
        embeds, pooled = torch.randn(count, 7, 32, generator=rng), torch.randn(count, 8, generator=rng)
        return SDXLCondition(embeds, pooled, torch.zeros(count, 6)).for_image(24, 24)

    target, lower = torch.randn(2, 4, SIDE, SIDE, generator=rng), torch.randn(2, 4, LOW, LOW, generator=rng)
    return tiny_pipelines.make("sdxl").unet, Batch(target, lower, rows(2)), rows(1)


class Plain:
    """Teacher, student and fake model, each a network of its own."""

    def __init__(self, states: dict[str, dict[str, Tensor]]) -> None:
        unet, self.batch, self.empty = world()
        self.networks = {"teacher": copy.deepcopy(unet).requires_grad_(False)}
        for name, state in states.items():
            network = copy.deepcopy(unet)
            targets = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
            network.add_adapter(LoraConfig(r=CONFIG.rank, lora_alpha=CONFIG.alpha, target_modules=targets))
            parameters = {key.replace(".default", ""): value for key, value in network.named_parameters()}
            with torch.no_grad():
                for key, value in state.items():
                    parameters[key].copy_(value)
            self.networks[name] = network

    def gradients(self, name: str) -> dict[str, Tensor]:
        parameters = self.networks[name].named_parameters()
        return {key.replace(".default", ""): value.grad for key, value in parameters if value.grad is not None}

    def noise(self, name: str, x_t: Tensor, t: Tensor, cond: SDXLCondition) -> Tensor:
        added = {"text_embeds": cond.pooled, "time_ids": cond.time_ids}
        return self.networks[name](x_t, t - 1, cond.prompt_embeds, added_cond_kwargs=added).sample

    def x0(self, name: str, x_t: Tensor, t: Tensor, cond: SDXLCondition) -> Tensor:
        power = alphas()[t - 1][:, None, None, None]
        return (x_t - (1 - power).sqrt() * self.noise(name, x_t, t, cond)) / power.sqrt()

    def features(self, name: str, x_t: Tensor, t: Tensor) -> Tensor:
        kept: list[Tensor] = []
        hook = self.networks[name].mid_block.register_forward_hook(lambda _, args, output: kept.append(output))
        self.noise(name, x_t, t, self.batch.cond)
        hook.remove()
        return kept[0].flatten(2).transpose(1, 2)

    def drawn(self, like: Tensor, purpose: str, indices: tuple[int, int], random: StepRandom) -> tuple[Tensor, Tensor]:
        """Timesteps of levels t = 1000, 980, ..., and noise."""
        return 1000 - 20 * random.indices(f"{purpose} level", *indices), random.normal(f"{purpose} noise", like)

    def renoised(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        power = alphas()[t - 1][:, None, None, None]
        return power.sqrt() * x0 + (1 - power).sqrt() * noise

    def sample(self, random: StepRandom, step: int) -> Tensor:
        """The student's x0: at t = 1000 from noise alone, at t = 400 from the upscaled lower latent."""
        lower = self.batch.target if step == 0 else self.batch.lower
        upscaled = F.interpolate(lower, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
        noise, t = random.normal("student", upscaled), torch.full((2,), (1000, 400)[step])
        x_t = noise if step == 0 else self.renoised(upscaled, t, noise)
        return self.x0("student", x_t, t, self.batch.cond)

    def student_loss(self, random: StepRandom, step: int, config: DistillConfig, head: Any) -> Tensor:
        x0, cond = self.sample(random, step), self.batch.cond
        t, noise = self.drawn(x0, "pdm", (30, 50), random)
        fake, real = (
            self.features(config.pdm_features, self.renoised(latent, t, noise), t).mean(1)
            for latent in (x0, self.batch.target)
        )
        loss = config.weight_pdm * (((fake - real.detach()).square() + 1e-3**2).sqrt() - 1e-3).mean()
        if not config.weight_dmd:
            return loss
        t, noise = self.drawn(x0, "dmd", (10, 50), random)
        x_t = self.renoised(x0, t, noise)
        with torch.no_grad():
            without = self.x0("teacher", x_t, t, self.empty.expand_to(2))
            real_x0 = without + GUIDANCE * (self.x0("teacher", x_t, t, cond) - without)
            size = (x0 - real_x0).abs().mean((1, 2, 3), keepdim=True)
            gradient = ((x0 - real_x0) - (x0 - self.x0("fake", x_t, t, cond))) / size
        loss = loss + config.weight_dmd * 0.5 * F.mse_loss(x0, (x0 - gradient).detach())
        return loss + config.weight_gan * F.softplus(-head(self.features("fake", x_t, t))).mean()

    def fake_loss(self, random: StepRandom, step: int, config: DistillConfig, head: Any) -> Tensor:
        """The error of x0 times alpha: that of the noise times sqrt(1 - alpha^2)."""
        with torch.no_grad():
            x0 = self.sample(random, step)
        t, noise = self.drawn(x0, "fake", (0, 50), random)
        x_t, power = self.renoised(x0, t, noise), alphas()[t - 1][:, None, None, None]
        error = self.noise("fake", x_t, t, self.batch.cond) - noise
        x_ts = (self.renoised(latent, t, noise) for latent in (x0, self.batch.target))
        logits = [head(self.features("fake", x_t, t)) for x_t in x_ts]
        judged = F.softplus(logits[0]).mean() + F.softplus(-logits[1]).mean()
        return ((1 - power) * error.square()).mean() + config.weight_gan_discriminator * judged


def ours(config: DistillConfig, head: Any) -> tuple[DistillationStep, dict[str, dict[str, Tensor]]]:
    unet, _, empty = world()
    bank = AdapterBank(SDXLDenoiser(copy.deepcopy(unet)), rank=config.rank, alpha=config.alpha, seed=0)
    rng, states = torch.Generator().manual_seed(2), {}
    for name in bank.names:
        state = bank.state_dict(name)
        states[name] = {key: 0.2 * torch.randn(value.shape, generator=rng) for key, value in state.items()}
        bank.load_state_dict(name, states[name])
    return DistillationStep(config, config.schedule(), bank, head if config.uses_gan else None, empty), states


LOSSES = {"all": CONFIG, "pdm": replace(CONFIG, weight_dmd=0.0, weight_gan=0.0)}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(("update", "losses"), [("student", "all"), ("student", "pdm"), ("fake", "all")])
def test_gradients_of_an_iteration(update: str, losses: str, step: int) -> None:
    config = LOSSES[losses]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = Discriminator(32)
    made, states = ours(config, head)
    plain, random = Plain(states), StepRandom(0, 7, update, range(2))
    batch = plain.batch if step else replace(plain.batch, lower=plain.batch.target)
    with made.bank.trainable(update):
        total = (made.student if update == "student" else made.fake)(batch, step, random).total
        total.backward()
    found = {key: weight.grad for key, weight in made.bank.named_parameters(update).items() if weight.grad is not None}

    loss = (plain.student_loss if update == "student" else plain.fake_loss)(random, step, config, head)
    loss.backward()
    expected = plain.gradients(update)
    torch.testing.assert_close(total, loss, rtol=1e-4, atol=1e-6)
    assert found.keys() == expected.keys()
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    assert largest > 0
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=1e-4 * largest)
