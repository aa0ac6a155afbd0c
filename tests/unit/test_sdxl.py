"""SDXL behind the interfaces: what its UNet, its text encoders and its sizes ask of the method."""

import copy
import functools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from torch._dynamo.utils import counters

from repro.profiles.sdxl_architecture import UNET
from swd.backbones import backbone_of, backbone_of_folder, denoiser_of
from swd.backbones.compiled import compiled_blocks
from swd.backbones.sdxl.backbone import BACKBONE
from swd.backbones.sdxl.condition import SDXLCondition
from swd.backbones.sdxl.denoiser import SDXLDenoiser
from swd.cost import forward_cost
from swd.lora.bank import AdapterBank
from swd.sampler import sample
from swd.schedule import preset
from swd.training import DistillConfig
from swd.training.cost import update_bytes

MIDDLE = 3


@cache
def _pipeline() -> Any:
    return tiny_pipelines.make("sdxl")


@pytest.fixture
def pipeline() -> Any:
    return _pipeline()  # whoever changes it copies it


@pytest.fixture
def denoiser() -> SDXLDenoiser:
    return SDXLDenoiser(copy.deepcopy(_pipeline().unet))


@pytest.fixture
def cond() -> SDXLCondition:
    rng = torch.Generator().manual_seed(5)
    embeds, pooled = torch.randn(2, 7, 32, generator=rng), torch.randn(2, 8, generator=rng)
    return SDXLCondition(embeds, pooled, torch.zeros(2, 6)).for_image(832, 1216)


def latents(height: int = 12, width: int = 16) -> Tensor:
    return torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(6))


def test_its_family_is_found(pipeline: Any, tmp_path: Path) -> None:
    assert backbone_of(pipeline) is BACKBONE
    assert isinstance(denoiser_of(pipeline), SDXLDenoiser)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    assert backbone_of_folder(tmp_path) is BACKBONE


@torch.no_grad()
@pytest.mark.parametrize("size", [(12, 16), (13, 19)])
def test_x0_follows_from_the_predicted_noise(
    denoiser: SDXLDenoiser, cond: SDXLCondition, size: tuple[int, int]
) -> None:
    x_t, timesteps = latents(*size), torch.tensor([999, 399])
    noise = denoiser.network(
        x_t,
        timesteps,
        cond.prompt_embeds,
        added_cond_kwargs={
            "text_embeds": cond.pooled,
            "time_ids": torch.tensor([[832, 1216, 0, 0, 832, 1216]] * 2),
        },
    ).sample
    alphas = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
    signal = alphas[timesteps].sqrt()[:, None, None, None]
    expected = (x_t - (1 - signal**2).sqrt() * noise) / signal
    torch.testing.assert_close(denoiser(x_t, torch.tensor([1.0, 0.4]), cond), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_only_the_network_is_rounded(denoiser: SDXLDenoiser, cond: SDXLCondition) -> None:
    half = SDXLDenoiser(denoiser.network.to(torch.bfloat16))
    x_t, sigma = latents(), torch.ones(2)
    noise = half.predict(x_t, sigma, cond)
    assert noise.dtype == torch.bfloat16
    x0 = half(x_t, sigma, cond)
    signal = 0.0682649  # alpha at t = 1000: the square root of the product of 1000 alphas
    exact = (x_t.double() - (1 - signal**2) ** 0.5 * noise.double()) / signal
    assert x0.dtype == torch.float32
    torch.testing.assert_close(x0.double(), exact, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_features_are_the_maps_of_every_block(denoiser: SDXLDenoiser, cond: SDXLCondition) -> None:
    maps: list[Tensor] = []
    network = denoiser.network
    blocks = [*network.down_blocks, network.mid_block, *network.up_blocks]
    hooks = [
        block.register_forward_hook(lambda _, args, out: maps.append(out[0] if isinstance(out, tuple) else out))
        for block in blocks
    ]
    x_t, sigma = latents(), torch.tensor([0.4, 0.1])
    denoiser(x_t, sigma, cond)
    for hook in hooks:
        hook.remove()
    features = denoiser.features(x_t, sigma, cond, range(denoiser.num_blocks))
    for block, (found, expected) in enumerate(zip(features, maps, strict=True)):
        assert found.shape[-1] == denoiser.feature_dim(block) == expected.shape[1]
        height, width = expected.shape[-2:]
        torch.testing.assert_close(found[:, width + 1], expected[:, :, 1, 1])
        assert found.shape[1] == height * width


@torch.no_grad()
def test_blocks_after_the_tapped_one_do_not_run(denoiser: SDXLDenoiser, cond: SDXLCondition) -> None:
    ran: list[int] = []
    for number, block in enumerate(denoiser.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    denoiser.features(latents(), torch.full((2,), 0.4), cond, [MIDDLE])
    assert ran == [0, 1, 2, 3]


def test_a_detached_pass_keeps_the_gradient_of_its_features(denoiser: SDXLDenoiser, cond: SDXLCondition) -> None:
    x_t, sigma = latents().requires_grad_(), torch.tensor([0.4, 0.8])
    (alone,) = denoiser.features(x_t, sigma, cond, [MIDDLE])
    (expected,) = torch.autograd.grad(alone.square().sum(), x_t)
    graphs: list[bool] = []
    for block in denoiser.blocks[MIDDLE + 1 :]:
        block.register_forward_hook(lambda _, args, output: graphs.append(output.requires_grad))
    x0, (features,) = denoiser.with_features(x_t, sigma, cond, [MIDDLE], detach=True)
    assert torch.is_grad_enabled()
    assert graphs == [False] * 3, "skip connections must not carry a graph past the tapped block"
    assert not x0.requires_grad
    torch.testing.assert_close(x0, denoiser(x_t, sigma, cond).detach())
    torch.testing.assert_close(torch.autograd.grad(features.square().sum(), x_t)[0], expected)


@pytest.mark.parametrize("mode", ["half", "full", "selective"])
def test_recomputing_runs_more_and_changes_nothing(denoiser: SDXLDenoiser, cond: SDXLCondition, mode: Any) -> None:
    bank = AdapterBank(denoiser, rank=2, alpha=2, seed=0)
    rng = torch.Generator().manual_seed(1)
    for name in bank.names:
        weights = bank.state_dict(name)
        bank.load_state_dict(name, {key: 0.3 * torch.randn(w.shape, generator=rng) for key, w in weights.items()})

    def gradients() -> tuple[list[Tensor], int]:
        runs: list[object] = []
        hooks = [unit.register_forward_pre_hook(lambda *_: runs.append(0)) for unit in denoiser.units]
        with bank.trainable("student"):
            with bank.use("student"):
                x0 = denoiser(latents(), torch.tensor([0.8, 0.4]), cond)
            with bank.use("fake"):  # whatever is in use by the time of the way back
                x0.square().mean().backward()
        for hook in hooks:
            hook.remove()
        found = [weight.grad.clone() for weight in bank.parameters("student") if weight.grad is not None]
        denoiser.network.zero_grad()
        return found, len(runs)

    expected, once = gradients()
    assert once == len(denoiser.units) == 17 + 17
    bank.enable_gradient_checkpointing(mode)
    found, runs = gradients()
    # no adapter stands before the first three, and diffusers leaves the middle's first alone
    assert runs - once == {"full": 30, "selective": 30, "half": 14}[mode]
    assert len(found) == len(expected) == len(bank.parameters("student"))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_recomputing_holds_less(denoiser: SDXLDenoiser) -> None:
    options = {"preset": "own", "grid": "sdxl", "scales": (16, 16), "boundaries": (0, 30, 50), "feature_block": MIDDLE}
    config = DistillConfig(**options, rank=2, batch_size=1, weight_dmd=0.0, weight_gan=0.0)
    held = {
        mode: update_bytes(denoiser, replace(config, gradient_checkpointing=mode), text_tokens=7)
        for mode in ("off", "selective", "half", "full")
    }
    assert held["full"] < held["half"] < held["off"]
    assert held["full"] < held["selective"] < held["off"]


@pytest.mark.slow
def test_compiled_units_compute_the_same(
    denoiser: SDXLDenoiser, cond: SDXLCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    bank, sigma = AdapterBank(denoiser, rank=2, alpha=2, seed=0), torch.tensor([0.8, 0.4])

    def passes() -> list[Tensor]:
        found = []
        for side in (8, 12):
            with bank.trainable("student"), bank.use("student"):
                x0 = denoiser(latents(side, side), sigma, cond)
                (features,) = denoiser.features(x0, sigma, cond, [MIDDLE])
                features.square().mean().backward()
            found += [x0.detach(), *(p.grad.clone() for p in bank.parameters("student") if p.grad is not None)]
            denoiser.network.zero_grad()
        return found

    expected = passes()
    bank.enable_gradient_checkpointing("half")
    with compiled_blocks(denoiser.units):
        found = passes()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]


def test_prompts_are_those_of_its_pipeline(pipeline: Any) -> None:
    prompts = ["a red star", "two blue circles"]
    cond = BACKBONE.encode_prompts(pipeline, [*prompts, ""], token_length=BACKBONE.token_length(pipeline))
    embeds, negative, pooled, negative_pooled = pipeline.encode_prompt(prompts, do_classifier_free_guidance=True)
    torch.testing.assert_close(cond.prompt_embeds, torch.cat([embeds, negative[:1]]))
    torch.testing.assert_close(cond.pooled, torch.cat([pooled, negative_pooled[:1]]))
    assert not cond.prompt_embeds[2].any(), "the folder says that the empty prompt is zeros"
    native = pipeline.default_sample_size * pipeline.vae_scale_factor
    assert cond.time_ids.tolist() == [[native, native, 0, 0, native, native]] * 3


def test_the_empty_prompt_is_encoded_where_the_folder_does_not_say_zeros(pipeline: Any) -> None:
    other = type(pipeline)(**pipeline.components, force_zeros_for_empty_prompt=False)
    cond = BACKBONE.encode_prompts(other, [""], token_length=12)
    torch.testing.assert_close(cond.prompt_embeds, other.encode_prompt("", do_classifier_free_guidance=False)[0])
    assert cond.pooled.any()


def test_bad_prompts_are_named(pipeline: Any) -> None:
    length = BACKBONE.token_length(pipeline)
    BACKBONE.check_prompts(pipeline, ["a red star"], length)
    with pytest.raises(ValueError, match=r"prompt has \d+ tokens, the text encoders take 12"):
        BACKBONE.check_prompts(pipeline, ["a red star", "star " * 30], 512)
    BACKBONE.check_prompts(pipeline, ["star " * 30], length, truncate=True)
    with pytest.raises(ValueError, match="must not be empty"):
        BACKBONE.check_prompts(pipeline, [" "], length)


def test_conditions_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"time_ids \(B, 6\) of one B, got \(2, 5, 8\), \(2, 4\), \(2, 5\)"):
        SDXLCondition(torch.zeros(2, 5, 8), torch.zeros(2, 4), torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 9}, "takes 9 channels and gives 4: inpainting"),
        ({"addition_embed_type": None}, "not SDXL's: it must have text and sizes added to its time"),
        ({"time_cond_proj_dim": 16}, "takes a guidance scale"),
        ({"projection_class_embeddings_input_dim": 48}, "no room for the pooled text beside 6 sizes"),
    ],
)
def test_other_networks_of_the_same_class_are_refused(pipeline: Any, changes: dict[str, Any], message: str) -> None:
    with torch.device("meta"):
        config = {name: value for name, value in pipeline.unet.config.items() if name != "_use_default_values"}
        other = UNet2DConditionModel.from_config({**config, **changes})
    with pytest.raises(ValueError, match=message):
        SDXLDenoiser(other)


def test_schedules_of_flow_models_are_refused(denoiser: SDXLDenoiser, cond: SDXLCondition) -> None:
    with pytest.raises(ValueError, match="a flow process, and the network's is variance-preserving"):
        sample(denoiser, preset("sd35-4"), cond, [0, 1])


@pytest.fixture(scope="module")
def base() -> Iterator[SDXLDenoiser]:
    with torch.device("meta"):
        yield SDXLDenoiser(UNet2DConditionModel(**UNET))


def test_the_published_network_has_its_size_and_cost(base: SDXLDenoiser) -> None:
    assert sum(parameter.numel() for parameter in base.network.parameters()) == 2_567_463_684
    assert BACKBONE.condition_shapes(base.network, 77) == {
        "prompt_embeds": (77, 2048),
        "pooled": (1280,),
        "time_ids": (6,),
    }
    tokens = {32 * 32: (1280, 60), 64 * 64: (640, 10)}  # places: width and transformer blocks
    attention = sum(4 * n * (n + 77) * width * blocks for n, (width, blocks) in tokens.items())
    cost = forward_cost(base, 128)
    assert cost.flops - attention == pytest.approx(2 * 2.98e12, rel=0.01)  # 2,980 GMACs of weights, widely published
    assert (128 / 96) ** 2 < cost.flops / forward_cost(base, 96).flops < (128 / 96) ** 4


def test_adapters_go_to_attention_and_mlp_of_every_transformer_block() -> None:
    with torch.device("meta"):
        twin = SDXLDenoiser(UNet2DConditionModel(**{**UNET, "transformer_layers_per_block": (1, 1, 2)}))
        bank = AdapterBank(twin, rank=64, alpha=64, seed=0)
    layers = {key.removesuffix(".lora_A.weight") for key in bank.named_parameters("student") if "lora_A" in key}
    blocks = 5 * 1 + 6 * 2  # two and three of each resolution on the way down and up, and one in the middle
    assert len(layers) == blocks * (8 + 2)  # two attentions of four layers, and an MLP of two
    ends = {".".join(layer.split("transformer_blocks.")[1].split(".")[1:]) for layer in layers}
    attention = {f"attn{n}.{end}" for n in (1, 2) for end in ("to_q", "to_k", "to_v", "to_out.0")}
    assert ends == attention | {"ff.net.0.proj", "ff.net.2"}
