"""What happens between a loss and new weights: pieces, processes, clipping, rates."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from training_world import World, assert_same, cache, config, fresh_accelerate, losses, tensors

from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.training import NonFiniteLossError
from swd.training.trainer import Trainer


@pytest.fixture
def world(tiny_denoiser: SD3Denoiser, tmp_path: Path) -> Iterator[World]:
    with fresh_accelerate():
        yield World(tiny_denoiser, tmp_path)


def test_infinite_gradient_stops_before_the_weights_move(world: World) -> None:
    made = world.trainer()
    before = {key: value.clone() for key, value in made.bank.state_dict("student").items()}
    with made.bank.trainable("student"):
        loss = sum((weight * math.inf).sum() for weight in made.bank.parameters("student"))
        made.descents["student"].backward(loss)
        with pytest.raises(NonFiniteLossError, match="grad_norm is not finite at iteration 0"):
            made.updates._descend(made.descents["student"], "grad_norm", 0)
    assert_same(before, made.bank.state_dict("student"))


def test_gradients_are_clipped_and_the_norm_before_reported(world: World) -> None:
    made = world.trainer(clip_norm=1e-3)
    with made.bank.trainable("student"):
        weights = made.bank.parameters("student")
        made.descents["student"].backward(sum(3 * weight.sum() for weight in weights))
        norm = made.descents["student"].step()
    assert norm == pytest.approx(3 * math.sqrt(sum(weight.numel() for weight in weights)), rel=1e-5)
    # AdamW's first step is the same for any gradient, its first moment is not
    moments = [value for name, value in made.descents["student"].state_dict().items() if name.endswith("/exp_avg")]
    clipped = torch.cat([moment.flatten() for moment in moments]).norm() / (1 - made.config.betas[0])
    assert clipped.item() == pytest.approx(1e-3, rel=1e-3)


def gradients(made: Trainer, step: int = 1) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Terms and gradients of a fake update and a student update, before the optimisers see them."""
    found: dict[str, torch.Tensor] = {}
    terms: dict[str, float] = {}
    made.bank.load_state_dict("student", {k: v + 0.1 for k, v in made.bank.state_dict("student").items()})
    for name, descent, compute in (
        ("fake", made.descents["fake"], made.steps.fake),
        ("student", made.descents["student"], made.steps.student),
    ):
        with made.bank.trainable(name):
            terms |= made.updates._backward(descent, compute, made.draws.one(step, 0, name))
        weights = made.bank.named_parameters(name)
        found |= {f"{name}/{key}": weight.grad for key, weight in weights.items() if weight.grad is not None}
    return terms, found | {f"head/{key}": value.grad for key, value in made.discriminator.named_parameters()}


@pytest.mark.parametrize("kernel", ["linear", "rbf", "naive"])
def test_micro_batches_add_up_to_the_whole(world: World, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"batch_size": 5, "pdm_kernel": kernel, "pdm_bandwidth": 3.0}
    terms, whole = gradients(world.trainer(**options))
    sizes: list[int] = []
    forward = SD3Denoiser.forward
    monkeypatch.setattr(SD3Denoiser, "forward", lambda self, x, *rest: sizes.append(len(x)) or forward(self, x, *rest))
    terms_of_pieces, pieces = gradients(world.trainer(**options, micro_batch_size=2))
    assert max(sizes) == 4  # two images with guidance
    assert terms_of_pieces == pytest.approx(terms, rel=1e-5)
    assert pieces.keys() == whole.keys()
    for key, gradient in whole.items():
        torch.testing.assert_close(pieces[key], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())


def test_checkpointed_run_computes_the_same_with_more_passes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    block, runs = world.denoiser.network.transformer_blocks[0], []
    block.register_forward_pre_hook(lambda *args: runs.append(torch.is_grad_enabled()))
    expected = world.train("plain")
    plain = len(runs)
    runs.clear()
    result = world.train("checkpointed", gradient_checkpointing="full")
    assert len(runs) > plain
    assert losses(result) == losses(expected)
    assert_same(tensors(result.adapter), tensors(expected.adapter))
    runs.clear()
    world.train("plain again")  # the network does not stay checkpointed
    assert len(runs) == plain


def test_interrupted_run_may_go_on_in_smaller_pieces(world: World) -> None:
    world.train("run", iterations=1)
    assert len(losses(world.train("run", iterations=2, micro_batch_size=1, gradient_checkpointing="full"))) == 2


def test_warm_up_is_linear_and_ends(world: World) -> None:
    descent = world.trainer(lr=0.1, warmup=3).descents["student"]
    rates = []
    for iteration in range(6):
        descent.set_rates(iteration)
        rates.append(descent.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


class _OneOfTwo:
    """An accelerator that believes to be one of two processes; whatever it is asked to reduce is its own."""

    def __init__(self, index: int) -> None:
        self._real, self.num_processes, self.process_index = Accelerator(), 2, index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def reduce(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        return tensor


def test_processes_share_the_batch_of_one(world: World) -> None:
    (whole,) = world.trainer().draws.one(5, 0, "fake 0")
    trainers = [Trainer(config(), world.denoiser, cache(), world.folder, _OneOfTwo(index)) for index in range(2)]
    parts = [piece for made in trainers for piece in made.draws.one(5, 0, "fake 0")]
    assert torch.equal(whole.batch.target, torch.cat([piece.batch.target for piece in parts]))
    assert [list(piece.random.samples) for piece in parts] == [[0], [1]]


def test_gradients_of_processes_are_averaged_as_one_vector(world: World) -> None:
    class Halved(_OneOfTwo):
        def reduce(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
            assert how == "mean"
            return tensor / 2

    made = Trainer(config(), world.denoiser, cache(), world.folder, Halved(0))
    with made.bank.trainable("student"):
        weights = made.bank.parameters("student")
        made.descents["student"].backward(sum(2 * weight.sum() for weight in weights))
        norm = made.descents["student"].step()
    assert norm == pytest.approx(math.sqrt(sum(weight.numel() for weight in weights)), rel=1e-5)


def test_batch_must_divide_over_processes(world: World) -> None:
    with pytest.raises(ValueError, match="batch_size 3 does not divide over 2 processes"):
        Trainer(config(batch_size=3), world.denoiser, cache(), world.folder, _OneOfTwo(0))
