import pytest
import torch

from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser


@pytest.fixture
def inputs(tiny_condition: TextCondition) -> tuple[torch.Tensor, torch.Tensor, TextCondition]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 8, 8, generator=rng), torch.tensor([0.3, 0.9]), tiny_condition[:2]


def full_forward_features(denoiser: SD3Denoiser, inputs: tuple) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = []
    blocks = denoiser.network.transformer_blocks
    handles = [block.register_forward_hook(lambda m, a, out: outputs.append(out[1])) for block in blocks]
    denoiser(*inputs)
    for handle in handles:
        handle.remove()
    return outputs


def test_features_are_those_of_a_full_forward(tiny_denoiser: SD3Denoiser, inputs: tuple) -> None:
    expected = full_forward_features(tiny_denoiser, inputs)
    for chosen in ([0], [1], [2], [0, 2], [2, 0], [-1, 1]):
        found = tiny_denoiser.features(*inputs, blocks=chosen)
        assert all(torch.equal(a, expected[index]) for a, index in zip(found, chosen, strict=True))
    assert expected[0].shape == (2, 16, tiny_denoiser.inner_dim)


@pytest.mark.parametrize("last", [0, 1])
def test_blocks_after_the_last_one_do_not_run(
    tiny_denoiser: SD3Denoiser, inputs: tuple, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in tiny_denoiser.network.transformer_blocks[last + 1 :]:
        monkeypatch.setattr(block, "forward", lambda *args, **kwargs: pytest.fail("a later block ran"))
    tiny_denoiser.features(*inputs, blocks=[last])


def test_hooks_are_gone_afterwards_even_after_an_error(
    tiny_denoiser: SD3Denoiser, inputs: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = tiny_denoiser.network.transformer_blocks

    def hooks() -> int:
        return sum(len(block._forward_hooks) + len(block._forward_pre_hooks) for block in blocks)

    tiny_denoiser.features(*inputs, blocks=[0])
    assert hooks() == 0

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(blocks[1], "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        tiny_denoiser.features(*inputs, blocks=[1])
    assert hooks() == 0


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_flow_through_the_early_exit(
    tiny_denoiser: SD3Denoiser, inputs: tuple, *, checkpointing: bool
) -> None:
    x_t = inputs[0].clone().requires_grad_()
    full_forward_features(tiny_denoiser, (x_t, *inputs[1:]))[1].square().sum().backward()
    expected, x_t.grad = x_t.grad, None
    if checkpointing:
        tiny_denoiser.network.enable_gradient_checkpointing()
    tiny_denoiser.features(x_t, *inputs[1:], blocks=[1])[0].square().sum().backward()
    torch.testing.assert_close(x_t.grad, expected)


@pytest.mark.parametrize("chosen", [[], [3], [-4], [0, 7]])
def test_blocks_out_of_range_are_refused(tiny_denoiser: SD3Denoiser, inputs: tuple, chosen: list[int]) -> None:
    with pytest.raises(ValueError, match=r"non-empty choice from 0\.\.2"):
        tiny_denoiser.features(*inputs, blocks=chosen)


def test_errors_of_the_network_are_not_swallowed(tiny_denoiser: SD3Denoiser, inputs: tuple) -> None:
    with pytest.raises(ValueError, match="multiples of patch size 2"):
        tiny_denoiser.features(inputs[0][..., :7], *inputs[1:], blocks=[0])
