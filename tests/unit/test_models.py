import pytest
import torch

from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.training.discriminator import Discriminator


def test_x0_is_the_transformers_velocity_converted(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    x_t, sigma = torch.randn(2, 4, 8, 8), torch.tensor([0.25, 0.75])
    cond = tiny_condition[:2]
    velocity = tiny_denoiser.network(
        x_t, cond.prompt_embeds, cond.pooled, timestep=torch.tensor([250.0, 750.0]), return_dict=False
    )[0]
    torch.testing.assert_close(tiny_denoiser(x_t, sigma, cond), x_t - sigma[:, None, None, None] * velocity)


def test_half_precision_weights_give_float32_answers(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    x_t, sigma, cond = torch.randn(2, 4, 8, 8), torch.tensor([0.25, 0.75]), tiny_condition[:2]
    wide = tiny_denoiser(x_t, sigma, cond)
    narrow = tiny_denoiser.to(torch.bfloat16)(x_t, sigma, cond)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, wide, rtol=0, atol=0.05)


def test_one_condition_serves_a_batch(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    x_t, sigma = torch.randn(3, 4, 8, 8), torch.full((3,), 0.5)
    expected = tiny_denoiser(x_t, sigma, tiny_condition[:1].repeat(3))
    torch.testing.assert_close(tiny_denoiser(x_t, sigma, tiny_condition[:1]), expected)
    with pytest.raises(ValueError, match="cannot expand 2 conditions to a batch of 3"):
        tiny_denoiser(x_t, sigma, tiny_condition[:2])


def test_condition_rows(tiny_condition: TextCondition) -> None:
    assert torch.equal(tiny_condition[[2, 0]].pooled, tiny_condition.pooled[[2, 0]])
    assert torch.equal(tiny_condition[:2].repeat(2).pooled, tiny_condition.pooled[[0, 0, 1, 1]])
    joined = TextCondition.cat([tiny_condition[:3], tiny_condition[3:]])
    assert torch.equal(joined.prompt_embeds, tiny_condition.prompt_embeds)
    assert len(joined) == 7
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 3\)"):
        TextCondition(torch.zeros(2, 3), torch.zeros(2, 3))


def test_discriminator_is_the_published_head() -> None:
    head = Discriminator(1536)
    widths = [(layer.in_features, layer.out_features) for layer in head if isinstance(layer, torch.nn.Linear)]
    assert widths == [(1536, 1152), (1152, 768), (768, 384), (384, 1)]
    names = [type(layer).__name__ for layer in head]
    assert names == ["LayerNorm", "GELU", "Linear"] * 4


def test_head_can_be_made_without_weights() -> None:
    with torch.device("meta"):
        head = Discriminator(1536)
    assert {parameter.device.type for parameter in head.parameters()} == {"meta"}


def test_discriminator_reads_the_mean_token() -> None:
    head = Discriminator(32)
    features = torch.randn(3, 9, 32)
    logits = head(features)
    assert logits.shape == (3,)
    torch.testing.assert_close(logits, head(features.mean(1, keepdim=True)))
    torch.testing.assert_close(logits[1:2], head(features[1:2]))
