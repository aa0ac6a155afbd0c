"""Compiled blocks, traced only: what may go wrong is what the trace takes for fixed, adapters and hooks above all."""

import functools

import pytest
import torch
from conftest import make_transformer
from torch._dynamo.utils import counters

from swd.backbones.compiled import compiled_blocks
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.lora.bank import AdapterBank


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


def passes(denoiser: SD3Denoiser, bank: AdapterBank, cond: TextCondition) -> list[torch.Tensor]:
    """Values and gradients of what a training step does, at two scales."""
    found = []
    for side in (8, 12):
        x_t = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(side))
        sigma = torch.tensor([0.4, 0.8])
        with bank.trainable("student"):
            with bank.use("student"):
                x0 = denoiser(x_t, sigma, cond)
            (features,) = denoiser.features(x0, sigma, cond, [0])
            with bank.use("fake"):
                fake_x0, (judged,) = denoiser.with_features(x0, sigma, cond, [0], detach=True)
            (features.square().mean() + judged.square().mean()).backward()
            found += [x0.detach(), features.detach(), fake_x0, *(p.grad.clone() for p in bank.parameters("student"))]
            for parameter in bank.parameters("student"):
                parameter.grad = None
    return found


@pytest.mark.usefixtures("traced")
def test_compiled_blocks_compute_the_same(tiny_condition: TextCondition) -> None:
    denoiser = SD3Denoiser(make_transformer(num_layers=2))
    bank, cond = AdapterBank(denoiser, rank=2, alpha=2, seed=0), tiny_condition[:2]
    rng = torch.Generator().manual_seed(3)
    for name in bank.names:
        weights = bank.state_dict(name)
        bank.load_state_dict(name, {key: 0.3 * torch.randn(w.shape, generator=rng) for key, w in weights.items()})
    expected = passes(denoiser, bank, cond)
    bank.enable_gradient_checkpointing()
    with compiled_blocks(denoiser.blocks):
        found = passes(denoiser, bank, cond)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]
    assert not any("forward" in vars(block) for block in denoiser.blocks)


@pytest.mark.usefixtures("traced")
def test_switched_off_it_compiles_nothing(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    with compiled_blocks(tiny_denoiser.blocks, active=False):
        tiny_denoiser(torch.zeros(1, 4, 8, 8), torch.tensor([0.5]), tiny_condition[:1])
    assert not counters["stats"]
