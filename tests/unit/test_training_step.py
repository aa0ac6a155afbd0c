from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from training_world import cache, config, draw, steps

from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.losses import dmd_gradient, pdm_linear
from swd.resize import upscale_bicubic
from swd.rng import StepRandom
from swd.training.step import DistillationStep


def moved(parameters: Iterable[Tensor]) -> list[bool]:
    return [parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in parameters]


def base(made: DistillationStep) -> list[Tensor]:
    return [weight for name, weight in made.bank.denoiser.named_parameters() if "lora_" not in name]


@pytest.mark.parametrize("features", ["teacher", "fake"])
def test_student_step_reaches_the_student_alone(tiny_denoiser: SD3Denoiser, features: str) -> None:
    made = steps(tiny_denoiser, config(pdm_features=features))
    with made.bank.trainable("student"):
        made.student(*_ordered(made, 1)).total.backward()
    assert sum(moved(made.bank.parameters("student"))) > 0.9 * len(made.bank.parameters("student"))
    assert not any(moved([*made.bank.parameters("fake"), *base(made), *made.discriminator.parameters()]))


def test_fake_step_reaches_fake_model_and_head_alone(tiny_denoiser: SD3Denoiser) -> None:
    made = steps(tiny_denoiser)
    batch, random = draw(1)
    with made.bank.trainable("fake"):
        made.fake(batch, 1, random).total.backward()
    assert sum(moved(made.bank.parameters("fake"))) > 0.9 * len(made.bank.parameters("fake"))
    assert all(moved(made.discriminator.parameters()))
    assert not any(moved([*made.bank.parameters("student"), *base(made)]))


def _ordered(made: DistillationStep, step: int) -> tuple:
    batch, random = draw(step)
    return batch, step, random


@pytest.mark.parametrize("term", ["pdm", "dmd", "gan"])
def test_term_switched_off_changes_only_itself(tiny_denoiser: SD3Denoiser, term: str) -> None:
    batch, random = draw(1)
    full = steps(tiny_denoiser).student(batch, 1, random)
    options = config(**{f"weight_{term}": 0.0})
    less = steps(tiny_denoiser, options).student(batch, 1, random)
    assert torch.equal(full.samples, less.samples)
    assert less.terms.keys() == full.terms.keys() - {term}
    assert all(torch.equal(less.terms[name], full.terms[name]) for name in less.terms)


def test_discriminator_switched_off_leaves_the_fake_loss(tiny_denoiser: SD3Denoiser) -> None:
    batch, random = draw(1)
    full = steps(tiny_denoiser).fake(batch, 1, random)
    less = steps(tiny_denoiser, config(weight_gan=0.0)).fake(batch, 1, random)
    assert less.terms.keys() == {"fake"}
    assert torch.equal(less.terms["fake"], full.terms["fake"])
    assert torch.equal(less.total, full.terms["fake"])


def test_total_is_the_weighted_sum_of_the_terms(tiny_denoiser: SD3Denoiser) -> None:
    options = config(weight_pdm=0.5, weight_dmd=2.0, weight_gan=0.1, weight_gan_discriminator=0.3)
    made = steps(tiny_denoiser, options)
    batch, random = draw(1)
    student, fake = made.student(batch, 1, random), made.fake(batch, 1, random)
    terms = student.terms
    torch.testing.assert_close(student.total, 0.5 * terms["pdm"] + 2 * terms["dmd"] + 0.1 * terms["gan"])
    torch.testing.assert_close(fake.total, fake.terms["fake"] + 0.3 * fake.terms["discriminator"])


def test_student_sees_the_upscaled_lower_latent_noised_and_first_pure_noise(tiny_denoiser: SD3Denoiser) -> None:
    made, seen = steps(tiny_denoiser), _spy(tiny_denoiser)
    for step, sigma in enumerate(made.schedule.sigmas[:2]):
        batch, random = draw(step)
        made.student(batch, step, random)
        x_t, levels, adapter = seen[0]
        noise = random.normal("student", batch.target)
        expected = (1 - sigma) * upscale_bicubic(batch.lower, batch.target.shape[-2:]) + sigma * noise
        torch.testing.assert_close(x_t, noise if step == 0 else expected)
        assert levels.tolist() == pytest.approx([sigma] * 2)
        assert adapter == "student"
        seen.clear()


def _spy(denoiser: SD3Denoiser) -> list[tuple[Tensor, Tensor, str | None]]:
    """Inputs of every pass, with the adapter (None for the teacher) that it ran under."""
    seen: list[tuple[Tensor, Tensor, str | None]] = []
    predict = denoiser.predict
    layer = denoiser.network.transformer_blocks[0].attn.to_q

    def watched(x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        seen.append((x_t.detach(), sigma, None if layer.disable_adapters else layer.active_adapters[0]))
        return predict(x_t, sigma, cond)

    denoiser.predict = watched
    return seen


def test_each_pass_runs_once_under_its_own_model(tiny_denoiser: SD3Denoiser) -> None:
    made, seen = steps(tiny_denoiser), _spy(tiny_denoiser)
    batch, random = draw(1)
    made.student(batch, 1, random)
    passes = [(adapter, len(x_t)) for x_t, _, adapter in seen]
    # student; PDM of sample and target on the teacher; fake x0 with GAN features; guided teacher in one doubled batch
    assert passes == [("student", 2), (None, 2), (None, 2), ("fake", 2), (None, 4)]


def test_pdm_only_runs_no_fake_model_and_no_guidance(tiny_denoiser: SD3Denoiser) -> None:
    made = steps(tiny_denoiser, config(weight_dmd=0.0, weight_gan=0.0))
    seen = _spy(tiny_denoiser)
    batch, random = draw(1)
    made.student(batch, 1, random)
    assert [adapter for _, _, adapter in seen] == ["student", None, None]


def test_dmd_is_the_formula_on_separate_passes(tiny_denoiser: SD3Denoiser) -> None:
    options = config(guidance_scale=3.0)
    made = steps(tiny_denoiser, options)
    batch, random = draw(1)
    result = made.student(batch, 1, random)
    sigma = torch.tensor(options.sigma_grid())[random.indices("dmd level", 12, 28)]
    mix = sigma[:, None, None, None]
    x_t = (1 - mix) * result.samples + mix * random.normal("dmd noise", result.samples)
    with torch.no_grad():
        cond = tiny_denoiser(x_t, sigma, batch.cond)
        uncond = tiny_denoiser(x_t, sigma, cache().empty)
        with made.bank.use("fake"):
            fake = tiny_denoiser(x_t, sigma, batch.cond)
    gradient = dmd_gradient(result.samples, uncond + 3 * (cond - uncond), fake)
    torch.testing.assert_close(result.terms["dmd"], 0.5 * gradient.square().mean(), atol=1e-5, rtol=1e-4)


def test_pdm_noises_sample_and_target_alike(tiny_denoiser: SD3Denoiser) -> None:
    made = steps(tiny_denoiser)
    batch, random = draw(1)
    result = made.student(batch, 1, random)
    fake, real = (_pdm_features(made, x0, batch.cond, random) for x0 in (result.samples, batch.target))
    torch.testing.assert_close(result.terms["pdm"], pdm_linear(fake, real).mean(), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def _pdm_features(made: DistillationStep, x0: Tensor, cond: TextCondition, random: StepRandom) -> Tensor:
    """The teacher's features of ``x0`` under the noise of PDM."""
    sigma = torch.tensor(made.config.sigma_grid())[random.indices("pdm level", 18, 28)]
    mix = sigma[:, None, None, None]
    x_t = (1 - mix) * x0 + mix * random.normal("pdm noise", x0)
    return made.bank.denoiser.features(x_t, sigma, cond, [1])[0]


@pytest.mark.parametrize("kernel", ["linear", "naive"])
def test_patch_losses_vanish_on_the_target_itself(tiny_denoiser: SD3Denoiser, kernel: str) -> None:
    made = steps(tiny_denoiser, config(pdm_kernel=kernel))
    batch, random = draw(1)
    assert made._pdm(batch.target, batch, random).item() == 0
    assert made._pdm(batch.target + 1, batch, random).item() > 0


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_rbf_on_the_target_itself_is_its_closed_form(tiny_denoiser: SD3Denoiser, bandwidth: float) -> None:
    """Of n tokens with themselves the unbiased MMD is -2 (1 - m) / n, m the mean kernel between different tokens."""
    made = steps(tiny_denoiser, config(pdm_kernel="rbf", pdm_bandwidth=bandwidth))
    batch, random = draw(1)
    tokens = _pdm_features(made, batch.target, batch.cond, random).double()
    count = tokens.shape[1]
    kernel = torch.exp(-torch.cdist(tokens, tokens).square() / (2 * bandwidth**2))
    mean = (kernel.sum((1, 2)) - count) / (count * (count - 1))
    expected = -2 * (1 - mean).mean() / count
    assert expected < -0.05
    loss = made._pdm(batch.target, batch, random)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert made._pdm(batch.target + 1, batch, random) > loss


def test_fake_loss_covers_the_whole_noise_grid(tiny_denoiser: SD3Denoiser) -> None:
    made, seen = steps(tiny_denoiser, config(weight_gan=0.0)), _spy(tiny_denoiser)
    batch, _ = draw(1, rows=(0, 1, 2, 3, 4))
    for iteration in range(40):
        with torch.no_grad():
            made.fake(batch, 1, StepRandom(0, iteration, "fake 0", range(5)))
    levels = {level for _, sigma, adapter in seen if adapter == "fake" for level in sigma.tolist()}
    assert sorted(levels, reverse=True) == pytest.approx(made.config.sigma_grid()[:-1])


def test_full_scale_student_starts_from_the_real_latent_of_its_side(tiny_denoiser: SD3Denoiser) -> None:
    options = config(scales=(6, 6))
    made, seen = steps(tiny_denoiser, options), _spy(tiny_denoiser)
    random: Any = draw(1)[1]
    batch = cache().batch([0, 1], made.schedule, 1)
    made.student(batch, 1, random)
    sigma = made.schedule.sigmas[1]
    torch.testing.assert_close(seen[0][0], (1 - sigma) * batch.target + sigma * random.normal("student", batch.target))
