from dataclasses import replace

import pytest
import torch
from torch import Tensor
from training_world import cache, config, draw, steps

from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.losses import dmd_gradient, pdm_linear
from swd.resize import upscale
from swd.training.step import DistillationStep
from swd.training.watching import FakePass, MatchingPass, Observation, PatchPass, StudentPass


def watched(made: DistillationStep) -> tuple[DistillationStep, list[Observation]]:
    seen: list[Observation] = []
    return replace(made, watch=seen.append), seen


def one(seen: list[Observation], kind: type) -> Observation:
    (found,) = [observation for observation in seen if isinstance(observation, kind)]
    return found


def numbers(made: DistillationStep) -> dict[str, Tensor]:
    """Losses and gradients of an update of either kind."""
    batch, random = draw(1)
    found = {}
    for name, update in (("student", made.student), ("fake", made.fake)):
        with made.bank.trainable(name):
            result = update(batch, 1, random)
            result.total.backward()
        found |= {f"{name} {term}": value.detach() for term, value in {**result.terms, "total": result.total}.items()}
        for key, weight in made.bank.named_parameters(name).items():
            found[f"{name} {key}"] = weight.grad.clone()
            weight.grad = None
    return found


def test_a_watch_changes_no_number_and_no_gradient(tiny_denoiser: SD3Denoiser) -> None:
    plain = steps(tiny_denoiser)
    looking, seen = watched(plain)
    before, after = numbers(plain), numbers(looking)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [type(observation) for observation in seen] == [StudentPass, PatchPass, MatchingPass, FakePass]


def test_the_watch_sees_what_the_losses_are_made_of(tiny_denoiser: SD3Denoiser) -> None:
    made, seen = watched(steps(tiny_denoiser))
    batch, random = draw(1)
    result = made.student(batch, 1, random)
    student, patch, matching = one(seen, StudentPass), one(seen, PatchPass), one(seen, MatchingPass)
    assert student.batch is batch
    assert torch.equal(student.x0, result.samples)
    assert torch.equal(student.upscaled, upscale(batch.lower, (6, 6), "bicubic"))
    gradient = dmd_gradient(student.x0, matching.teacher_x0, matching.fake_x0)
    torch.testing.assert_close(result.terms["dmd"], 0.5 * gradient.square().mean())
    with torch.no_grad():
        features = [tiny_denoiser.features(x_t, patch.sigma, batch.cond, [1])[0] for x_t in (patch.fake, patch.real)]
    torch.testing.assert_close(result.terms["pdm"], pdm_linear(*features).mean(), atol=1e-6, rtol=1e-5)
    process = tiny_denoiser.process
    noised = process.add_noise(student.upscaled, random.normal("student", batch.target), student.sigma)
    assert torch.equal(student.x_t, noised)
    noised = process.add_noise(student.x0, random.normal("dmd noise", student.x0), matching.sigma)
    assert torch.equal(matching.x_t, noised)


@pytest.mark.parametrize("gan", [5e-3, 0.0])
def test_the_watch_sees_what_the_fake_model_learns(tiny_denoiser: SD3Denoiser, gan: float) -> None:
    made, seen = watched(steps(tiny_denoiser, config(weight_gan=gan)))
    batch, random = draw(1)
    result = made.fake(batch, 1, random)
    learned = one(seen, FakePass)
    torch.testing.assert_close(result.terms["fake"], (learned.prediction - learned.x0).square().mean())
    assert torch.equal(learned.x0, result.samples)


def test_what_is_shown_carries_no_graph(tiny_denoiser: SD3Denoiser) -> None:
    made, seen = watched(steps(tiny_denoiser))
    batch, random = draw(1)
    with made.bank.trainable("student"):
        made.student(batch, 1, random)
    with made.bank.trainable("fake"):
        made.fake(batch, 1, random)
    shown = [getattr(observation, name) for observation in seen for name in type(observation).__slots__]
    tensors = [value for value in shown if isinstance(value, Tensor)]
    assert len(tensors) == 14
    assert not any(tensor.requires_grad for tensor in tensors)


def test_losses_that_are_off_show_nothing(tiny_denoiser: SD3Denoiser) -> None:
    made, seen = watched(steps(tiny_denoiser, config(weight_dmd=0.0, weight_gan=0.0)))
    made.student(cache().batch([0, 1], made.schedule, 1), 1, draw(1)[1])
    assert [type(observation) for observation in seen] == [StudentPass, PatchPass]
    made, seen = watched(steps(tiny_denoiser, config(weight_dmd=0.0, pdm_noise=False)))
    made.student(*_arguments())
    assert one(seen, MatchingPass).teacher_x0 is None
    assert one(seen, PatchPass).sigma.tolist() == [0, 0]


def _arguments() -> tuple:
    batch, random = draw(1)
    return batch, 1, random
