from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny, SD3Transformer2DModel
from profiled import peak_bytes
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from repro.profiles import sd35_architecture
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.cost import counting, decode_cost, forward_cost, on_meta, schedule_cost, text_cost, weight_bytes
from swd.cost.counting import Cost, count
from swd.schedule import ScaleSchedule, preset
from swd.training import DistillConfig
from swd.training.cost import choose_checkpointing, training_cost, update_bytes

TINY = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 20,
    "pos_embed_max_size": 8,
}
TEXT_TOKENS = 333  # 77 of CLIP and 256 of T5, at which these FLOPs were counted independently


def meta(kind: type, config: dict, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    with torch.device("meta"):
        return nn.Module.to(kind(**config), dtype)


@pytest.fixture(scope="module")
def medium() -> SD3Denoiser:
    return SD3Denoiser(meta(SD3Transformer2DModel, sd35_architecture.MEDIUM))


@pytest.fixture(scope="module")
def large() -> SD3Denoiser:
    return SD3Denoiser(meta(SD3Transformer2DModel, sd35_architecture.LARGE))


@pytest.fixture(scope="module")
def tiny() -> SD3Denoiser:
    torch.manual_seed(0)
    return SD3Denoiser(SD3Transformer2DModel(**TINY).eval())


@pytest.mark.parametrize(
    ("model", "side", "tera"),
    [("medium", 128, 11.25), ("medium", 32, 0.911), ("large", 128, 31.12), ("large", 32, 3.282)],
)
def test_forward_of_sd35(request: pytest.FixtureRequest, model: str, side: int, tera: float) -> None:
    cost = forward_cost(request.getfixturevalue(model), side, text_tokens=TEXT_TOKENS)
    assert cost.flops / 1e12 == pytest.approx(tera, rel=0.01)
    assert cost.tokens == (side // 2) ** 2


@pytest.mark.parametrize(
    ("model", "schedule", "tera"),
    [
        ("medium", "sd35-6", 25.5),
        ("medium", "sd35-full-4", 45.0),
        ("large", "sd35-6", 76.1),
        ("large", "sd35-full-4", 124.5),
    ],
)
def test_schedules_of_sd35(request: pytest.FixtureRequest, model: str, schedule: str, tera: float) -> None:
    cost = schedule_cost(request.getfixturevalue(model), preset(schedule), text_tokens=TEXT_TOKENS)
    assert cost.flops / 1e12 == pytest.approx(tera, rel=0.01)


def test_decoding_and_text_of_sd35() -> None:
    assert decode_cost(meta(AutoencoderKL, sd35_architecture.VAE), 128).flops / 1e12 == pytest.approx(10.5, rel=0.01)
    t5 = meta(T5EncoderModel, {"config": T5Config(**sd35_architecture.TEXT_ENCODERS[2])})
    assert text_cost(t5, 256).flops / 1e12 == pytest.approx(2.40, rel=0.01)
    assert weight_bytes(t5) / 2e9 == pytest.approx(4.76, rel=0.01)


def test_the_tiny_vae_decodes_for_less() -> None:
    full = decode_cost(meta(AutoencoderKL, sd35_architecture.VAE), 64)
    assert decode_cost(meta(AutoencoderTiny, sd35_architecture.TINY_VAE), 64).flops < full.flops / 10


def test_clip_reads_its_tokens() -> None:
    config = CLIPTextConfig(**sd35_architecture.TEXT_ENCODERS[0])
    clip = meta(CLIPTextModelWithProjection, {"config": config})
    per_token = 2 * sum(p.numel() for name, p in clip.named_parameters() if p.ndim == 2 and "layers" in name)
    assert text_cost(clip, 77).flops == pytest.approx(77 * per_token, rel=0.03)  # and a little for attention


@pytest.mark.parametrize("side", [16, (8, 32)])
def test_counting_agrees_with_a_real_forward(side: int | tuple[int, int]) -> None:
    height, width = (side, side) if isinstance(side, int) else side
    config = {**TINY, "pos_embed_max_size": 16}
    denoiser = SD3Denoiser(SD3Transformer2DModel(**config))
    cond = TextCondition(torch.randn(2, 5, 24), torch.randn(2, 20))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(torch.randn(2, 4, height, width), torch.ones(2), cond)
    cost = forward_cost(denoiser, side, batch=2, text_tokens=5)
    assert cost.flops == counter.get_total_flops()
    assert cost.tokens == 2 * 64


def test_bytes_of_a_product_are_its_operands() -> None:
    a, b = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta", dtype=torch.float32)
    cost = count(lambda: (a @ b).relu())
    assert cost.flops == 2 * 3 * 5 * 7
    assert cost.bytes == 4 * (3 * 5 + 5 * 7 + 3 * 7)


def test_peak_is_what_lives_at_once() -> None:
    x = torch.empty(1000, device="meta")

    def chain() -> None:
        y = x + 1
        y = y * 2  # the sum lives until here
        y.view(10, 100).sum()

    assert count(chain).peak_bytes == 8000
    assert count(lambda: x.view(10, 100).t()).peak_bytes == 0  # views hold nothing


def test_peak_is_what_the_allocator_holds_in_a_forward(tiny: SD3Denoiser) -> None:
    """Against torch's profiler, which sees every allocation of a real pass, scratch of the operators included."""
    cond = TextCondition(torch.randn(8, 5, 24), torch.randn(8, 20))
    x_t = torch.randn(8, 4, 16, 16)
    with torch.no_grad():
        held = peak_bytes(lambda: tiny.predict(x_t, torch.ones(8), cond))
    assert forward_cost(tiny, 16, batch=8, text_tokens=5).peak_bytes == pytest.approx(held, rel=0.2)


def test_what_was_counted_before_changes_no_count(tiny: SD3Denoiser) -> None:
    config = DistillConfig(preset="none", **TestTraining.options)
    counting._KNOWN.clear()
    cold = update_bytes(tiny, config, text_tokens=5), training_cost(tiny, config, text_tokens=5)
    assert counting._KNOWN
    assert (update_bytes(tiny, config, text_tokens=5), training_cost(tiny, config, text_tokens=5)) == cold


def test_attention_holds_no_matrix_of_weights() -> None:
    q = torch.empty(1, 2, 4096, 8, device="meta")
    cost = count(lambda: F.scaled_dot_product_attention(q, q, q))
    assert cost.flops == 2 * 2 * 2 * 4096 * 4096 * 8
    assert cost.peak_bytes < 4 * 4096 * 4096


def test_costs_add_up_and_peaks_do_not() -> None:
    assert Cost(1, 2, 3, 9) + Cost(1, 1, 1, 4) == Cost(2, 3, 4, 9)
    assert Cost(1, 2, 3, 9) * 3 == Cost(3, 6, 9, 9)


def test_guidance_pays_twice(tiny: SD3Denoiser) -> None:
    schedule = ScaleSchedule((8, 16), (1.0, 0.5, 0.0))
    plain, guided = (schedule_cost(tiny, schedule, text_tokens=5, guidance=guidance) for guidance in (False, True))
    wide = schedule_cost(tiny, schedule, text_tokens=5, size=(8, 16))
    assert wide.flops == sum(forward_cost(tiny, (s // 2, s), text_tokens=5).flops for s in schedule.scales)
    assert guided.flops == 2 * plain.flops
    assert plain.tokens == 16 + 64


def test_schedules_that_do_not_fit_are_refused(tiny: SD3Denoiser) -> None:
    with pytest.raises(ValueError, match="patch size 2"):
        forward_cost(tiny, 9)
    with pytest.raises(ValueError, match="largest latent side 16"):
        forward_cost(tiny, 32)


def test_a_copy_on_meta_keeps_dtype_and_shapes(tiny: SD3Denoiser) -> None:
    network = tiny.network
    copy = on_meta(network.to(torch.float16))
    assert {p.device.type for p in copy.parameters()} == {"meta"}
    assert {n: (p.shape, p.dtype) for n, p in copy.named_parameters()} == {
        n: (p.shape, p.dtype) for n, p in network.named_parameters()
    }
    network.to(torch.float32)


class TestTraining:
    options = {"scales": (8, 16), "boundaries": (0, 14, 28), "feature_block": 1, "rank": 2}  # noqa: RUF012
    known: dict[DistillConfig, dict[str, Cost]] = {}  # noqa: RUF012  # counted once for all tests

    def passes(self, tiny: SD3Denoiser, **options: object) -> dict[str, Cost]:
        config = DistillConfig(preset="none", **{**self.options, **options})
        if config not in self.known:
            self.known[config] = training_cost(tiny, config, text_tokens=5)
        return self.known[config]

    def test_every_pass_has_a_name(self, tiny: SD3Denoiser) -> None:
        assert list(self.passes(tiny)) == [
            "fake update: student x0",
            "fake update: fake x0 and features",
            "fake update: fake features",
            "fake update: backward",
            "student update: student x0",
            "student update: teacher features",
            "student update: fake x0 and features",
            "student update: teacher x0",
            "student update: backward",
        ]

    def test_every_kernel_of_pdm_is_counted(self, tiny: SD3Denoiser) -> None:
        linear, rbf = (self.passes(tiny, pdm_kernel=kernel) for kernel in ("linear", "rbf"))
        assert linear.keys() == rbf.keys()
        assert rbf["student update: backward"].flops > linear["student update: backward"].flops

    def test_what_needs_a_gpu_is_counted_without_one(self, tiny: SD3Denoiser) -> None:
        strips, triton = (self.passes(tiny, pdm_kernel="rbf", pdm_method=method) for method in ("chunked", "triton"))
        assert strips == triton

    def test_forward_passes_cost_what_the_forward_costs(self, tiny: SD3Denoiser) -> None:
        passes = self.passes(tiny, share_fake_pass=False)
        forward = sum(forward_cost(tiny, side, text_tokens=5).flops for side in (8, 16)) / 2
        # the adapters of rank 2 on a network this small weigh a little
        assert forward < passes["student update: student x0"].flops < 1.35 * forward
        assert passes["fake update: fake x0"].flops == 5 * passes["student update: fake x0"].flops
        assert passes["student update: teacher x0"].flops == 2 * forward
        assert passes["student update: teacher features"].flops < 2 * forward

    def test_a_loss_that_is_off_costs_nothing(self, tiny: SD3Denoiser) -> None:
        passes = self.passes(tiny, weight_dmd=0.0, weight_gan=0.0)
        assert list(passes) == [
            "student update: student x0",
            "student update: teacher features",
            "student update: backward",
        ]

    def test_steps_are_averaged(self, tiny: SD3Denoiser) -> None:
        flat = self.passes(tiny, scales=(16, 16))
        longer = self.passes(tiny, scales=(16, 16, 16), boundaries=(0, 7, 14, 28))
        assert flat == longer

    def test_checkpointing_computes_again(self, tiny: SD3Denoiser) -> None:
        modes = ("off", "selective", "half", "full")
        plain, some, half, again = (self.passes(tiny, gradient_checkpointing=on) for on in modes)
        name = "student update: backward"
        assert again[name].flops > 1.2 * plain[name].flops
        assert some[name].flops < 1.05 * plain[name].flops  # the second products of adapters alone
        assert some[name].flops < half[name].flops < again[name].flops
        forward, light = (passes["student update: student x0"] for passes in (plain, again))
        assert light.flops == forward.flops
        assert light.peak_bytes < forward.peak_bytes / 2

    def test_a_shared_pass_costs_less_and_gives_the_rest(self, tiny: SD3Denoiser) -> None:
        apart, shared = (self.passes(tiny, share_fake_pass=share) for share in (False, True))
        assert (
            shared["fake update: fake features"].flops == apart["fake update: fake features"].flops / 2
        )  # of data alone
        assert shared["student update: fake x0 and features"].flops < sum(
            apart[f"student update: fake {what}"].flops for what in ("x0", "features")
        )
        assert sum(cost.flops for cost in shared.values()) < 0.9 * sum(cost.flops for cost in apart.values())

    def test_auto_takes_the_mode_that_fits(self) -> None:
        deep = SD3Denoiser(SD3Transformer2DModel(**{**TINY, "num_layers": 6}))  # one block is always held whole
        empty = TextCondition(torch.zeros(1, 5, 24), torch.zeros(1, 20))
        config = DistillConfig(preset="none", **self.options)
        off, some, half, full = (
            update_bytes(deep, replace(config, gradient_checkpointing=mode), text_tokens=5)
            for mode in ("off", "selective", "half", "full")
        )
        assert full < 0.8 * half
        assert half < 0.8 * some
        assert some < 0.95 * off

        def chosen(free: float, precision: str = "no") -> str:
            changed = replace(config, mixed_precision=precision)
            return choose_checkpointing(deep, changed, empty, batch=1, free_bytes=int(free))

        assert chosen(1.3 * off) == "off"
        assert chosen(1.3 * some) == "selective"
        assert chosen(1.3 * half) == "half"
        assert chosen(half) == "full"
        assert chosen(off, "bf16") == "off"  # autocast halves it

    def test_the_network_stays_as_it_was(self, tiny: SD3Denoiser) -> None:
        names = [name for name, _ in tiny.network.named_modules()]
        training_cost(tiny, DistillConfig(preset="none", **self.options), text_tokens=5)
        assert [name for name, _ in tiny.network.named_modules()] == names


def test_three_sides_tell_the_cost_of_all(tiny: SD3Denoiser) -> None:
    options = {"boundaries": (0, 7, 14, 20, 28), "feature_block": 1, "rank": 2, "gradient_checkpointing": "full"}
    config = DistillConfig(preset="none", scales=(4, 6, 10, 16), **options)
    told = training_cost(tiny, config, text_tokens=5)
    counted = [training_cost(tiny, replace(config, scales=(side,) * 4), text_tokens=5) for side in config.scales]
    assert told.keys() == counted[0].keys()
    for name, cost in told.items():
        for what in ("flops", "bytes", "tokens"):
            exact = sum(getattr(one[name], what) for one in counted) / 4
            assert getattr(cost, what) == pytest.approx(exact, abs=1), (name, what)
        assert cost.peak_bytes == counted[-1][name].peak_bytes
