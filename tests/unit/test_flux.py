"""FLUX behind the interface of all backbones, against diffusers' own pipeline and arithmetic written out."""

from typing import Any

import pytest
import tiny_pipelines
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from repro.profiles import flux_architecture
from swd.backbones import backbone_of, denoiser_of
from swd.backbones.flux.condition import FluxCondition
from swd.backbones.flux.denoiser import FluxDenoiser, image_ids, pack, unpack
from swd.cost import forward_cost, schedule_cost
from swd.flow import FlowMatching
from swd.guidance import EmbeddedGuidance, with_guidance
from swd.lora.bank import AdapterBank
from swd.sampler import sample
from swd.schedule import ScaleSchedule

SCHEDULE = ScaleSchedule((4, 6, 8), (1.0, 0.8, 0.5, 0.0))


@pytest.fixture
def denoiser() -> FluxDenoiser:
    return FluxDenoiser(tiny_pipelines.make("flux").transformer)


@pytest.fixture
def cond() -> FluxCondition:
    rng = torch.Generator().manual_seed(7)
    return FluxCondition.of(torch.randn(3, 5, 32, generator=rng), torch.randn(3, 16, generator=rng), 4.5)


def schnell() -> FluxTransformer2DModel:
    config = {k: v for k, v in tiny_pipelines.make("flux").transformer.config.items() if not k.startswith("_")}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return FluxTransformer2DModel(**{**config, "guidance_embeds": False}).eval()


def noisy(rows: int = 3, size: tuple[int, int] = (4, 6)) -> torch.Tensor:
    return torch.randn(rows, 4, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(4, 4), (4, 6), (8, 2)])
def test_packing_is_the_pipelines(size: tuple[int, int]) -> None:
    latents = noisy(size=size)
    tokens = pack(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, 3, 4, *size))
    assert torch.equal(unpack(tokens, size), latents)
    assert torch.equal(unpack(tokens, size), FluxPipeline._unpack_latents(tokens, 2 * size[0], 2 * size[1], 2))
    theirs = FluxPipeline._prepare_latent_image_ids(3, size[0] // 2, size[1] // 2, "cpu", torch.float32)
    assert torch.equal(image_ids(latents), theirs)


def test_prediction_becomes_x0(denoiser: FluxDenoiser, cond: FluxCondition) -> None:
    """Row by row as FluxPipeline calls the transformer, each at its own noise level and guidance."""
    x_t, sigma, scales = noisy(), torch.tensor([1.0, 0.6, 0.1]), [4.5, 1.0, 3.0]
    given = FluxCondition(cond.prompt_embeds, cond.pooled, torch.tensor(scales))
    found = denoiser(x_t, sigma, given)
    for row, scale in enumerate(scales):
        velocity = denoiser.network(
            hidden_states=FluxPipeline._pack_latents(x_t[row : row + 1], 1, 4, 4, 6),
            timestep=1000 * sigma[row : row + 1] / 1000,
            guidance=torch.full([1], scale),
            pooled_projections=cond.pooled[row : row + 1],
            encoder_hidden_states=cond.prompt_embeds[row : row + 1],
            txt_ids=torch.zeros(5, 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(1, 2, 3, "cpu", torch.float32),
            return_dict=False,
        )[0]
        velocity = FluxPipeline._unpack_latents(velocity, 8, 12, 2)
        torch.testing.assert_close(found[row], x_t[row] - sigma[row] * velocity[0], atol=1e-5, rtol=1e-5)


def test_positions_are_those_of_every_scale(denoiser: FluxDenoiser, cond: FluxCondition) -> None:
    """A latent turned by 90 degrees has other rows and columns, and other answers: ids are not those of one scale."""
    x_t, sigma = noisy(size=(4, 8)), torch.full((3,), 0.7)
    turned = denoiser(x_t.mT, sigma, cond).mT
    assert (turned - denoiser(x_t, sigma, cond)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="multiples of patch size 2"):
        denoiser(noisy(size=(4, 5)), sigma, cond)


def test_features_are_image_tokens_of_both_kinds_of_blocks(denoiser: FluxDenoiser, cond: FluxCondition) -> None:
    """Double and single blocks in the order in which they run, and none after the last tapped one."""
    network, seen, runs = denoiser.network, [], []
    for block in (network.transformer_blocks[1], network.single_transformer_blocks[0]):
        block.register_forward_hook(lambda _, args, kwargs, out: seen.append(out), with_kwargs=True)
    network.single_transformer_blocks[1].norm.register_forward_pre_hook(lambda *_: runs.append(1))
    assert denoiser.num_blocks == 5
    features = denoiser.features(noisy(), torch.full((3,), 0.7), cond, [1, 2])
    assert not runs
    for found, (text, image) in zip(features, seen, strict=True):
        assert text.shape == (3, 5, 32)
        assert torch.equal(found, image)
        assert found.shape == (3, 6, denoiser.inner_dim)


def test_guidance_is_an_input_and_never_a_doubled_batch(denoiser: FluxDenoiser, cond: FluxCondition) -> None:
    sizes: list[int] = []
    denoiser.network.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    guided = with_guidance(denoiser, None, 2.0)
    assert isinstance(guided, EmbeddedGuidance)
    x_t, sigma = noisy(), torch.full((3,), 0.7)
    found, other = guided(x_t, sigma, cond), denoiser(x_t, sigma, cond)
    assert (found - other).abs().max() > 1e-4
    assert torch.equal(found, denoiser(x_t, sigma, cond.with_guidance(2.0)))
    expected = sample(denoiser, SCHEDULE, cond.with_guidance(2.0), range(3))
    assert torch.equal(sample(guided, SCHEDULE, cond, range(3)), expected)
    assert set(sizes) == {3}
    denoiser = FluxDenoiser(schnell())
    assert torch.equal(denoiser(x_t, sigma, cond), denoiser(x_t, sigma, cond.with_guidance(1.0)))


def test_conditions_need_as_many_rows_of_the_right_kind() -> None:
    embeds, pooled = torch.zeros(2, 5, 32), torch.zeros(2, 16)
    for wrong in ((embeds[0], pooled, torch.ones(2)), (embeds, pooled[:1], torch.ones(2)), (embeds, pooled, pooled)):
        with pytest.raises(ValueError, match=r"needs prompt_embeds \(B, L, D\), pooled \(B, D\) and guidance \(B,\)"):
            FluxCondition(*wrong)
    rows = FluxCondition.cat([FluxCondition.of(embeds, pooled, 3.5), FluxCondition.of(embeds, pooled, 4.5)])
    assert rows.guidance.tolist() == [3.5, 3.5, 4.5, 4.5]
    assert rows[[0, 2]].guidance.tolist() == [3.5, 4.5]


def adapted(bank: AdapterBank[Any]) -> set[str]:
    return {key.rsplit(".", 2)[0] for key in bank.named_parameters("student")}


def test_adapters_sit_on_attention_and_mlp_of_both_kinds_of_blocks(denoiser: FluxDenoiser) -> None:
    linears = {name for name, part in denoiser.network.named_modules() if isinstance(part, torch.nn.Linear)}
    double = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", *DOUBLE_MLP)
    single = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out")
    expected = {f"transformer_blocks.{block}.{name}" for block in range(2) for name in double}
    expected |= {f"single_transformer_blocks.{block}.{name}" for block in range(3) for name in single}
    assert expected < linears
    assert adapted(AdapterBank(denoiser, rank=2, alpha=2, seed=0)) == expected


DOUBLE_MLP = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")


@pytest.mark.parametrize("mode", ["selective", "half", "full"])
def test_checkpointed_gradients_are_the_same(mode: Any, cond: FluxCondition) -> None:
    def gradients(checkpointed: bool) -> list[torch.Tensor]:
        bank = AdapterBank(FluxDenoiser(tiny_pipelines.make("flux").transformer), rank=2, alpha=2, seed=0)
        for parameter in bank.parameters("student"):
            parameter.data.add_(0.05)
        if checkpointed:
            bank.enable_gradient_checkpointing(mode)
        with bank.trainable("student"):
            with bank.use("student"):
                x0, (features,) = bank.denoiser.with_features(noisy(), torch.full((3,), 0.7), cond, [3])
            (x0.square().mean() + features.square().mean()).backward()  # under another adapter than the forward pass
        return [parameter.grad for parameter in bank.parameters("student")]

    runs: list[int] = []
    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        runs.append(1)
        torch.testing.assert_close(recomputed, plain, rtol=1e-4, atol=1e-6)
    assert runs


def test_the_registry_knows_both_pipelines() -> None:
    pipeline = tiny_pipelines.make("flux")
    assert backbone_of(pipeline).name == "flux"
    found = denoiser_of(pipeline)
    assert isinstance(found, FluxDenoiser)
    assert isinstance(found.process, FlowMatching)
    assert (found.latent_channels, found.patch_size, found.max_side) == (4, 2, None)


def test_cost_of_the_true_architecture() -> None:
    """FLUX.1-dev has 11.9 billion weights; at 1024 px nine tenths of the products are those of its blocks."""
    with torch.device("meta"):
        denoiser = FluxDenoiser(FluxTransformer2DModel(**flux_architecture.TRANSFORMER).to(torch.bfloat16))
    assert sum(p.numel() for p in denoiser.network.parameters()) == pytest.approx(11.9e9, rel=0.005)
    cost = forward_cost(denoiser, 128)
    assert cost.tokens == 64 * 64
    width, text, image = 3072, 512, 64 * 64
    tokens = text + image
    double = 19 * (24 * width**2 * tokens + 4 * tokens**2 * width)  # four of attention, eight of the MLP, twice each
    single = 38 * (24 * width**2 * tokens + 4 * tokens**2 * width)
    ends = 2 * width * (64 * image * 2 + 4096 * text)
    assert cost.flops == pytest.approx(double + single + ends, rel=0.01)
    assert cost.peak_bytes < 24 * tokens**2 * 2  # fused: the matrix of attention is never there
    scalewise = ScaleSchedule((64, 128), (1.0, 0.5, 0.0))
    assert schedule_cost(denoiser, scalewise, guidance=True).flops == schedule_cost(denoiser, scalewise).flops
