import dataclasses
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_transformer
from diffusers import SD3Transformer2DModel
from fast_world import OFF, ON, PARTS, SCHEDULE, assert_same, sd35, write_adapter
from test_sampler import NoHostSync

from swd.backbones.fast import COMPILE_MODES, FastOptions
from swd.backbones.lean import adaptive_norms
from swd.backbones.sd3.backbone import BACKBONE
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.backbones.sd3.fast import FastSD3Denoiser
from swd.backbones.shared_weights import substitute
from swd.lora.files import load_adapter
from swd.sampler import finish_teacher, sample, sample_teacher


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of `sd35`."""
    return write_adapter(sd35(), tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def student(adapter: Path) -> SD3Transformer2DModel:
    transformer = sd35()
    load_adapter(SD3Denoiser(transformer), adapter)
    return transformer


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled as far as the graph, which then runs without a compiler behind it."""
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda fn, *, mode, **kwargs: compile_with(fn, backend="eager", **kwargs))
    torch._dynamo.reset()


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("changes", [{}, {"qk_norm": None, "dual_attention_layers": ()}], ids=["sd35", "sd3"])
def test_every_part_leaves_the_latents_as_they_are(
    changes: dict[str, object], parts: str, adapter: Path, tiny_condition: TextCondition
) -> None:
    transformer = sd35(**changes)
    assert [block.use_dual_attention for block in transformer.transformer_blocks] == [not changes, False, False]
    if not changes:
        load_adapter(SD3Denoiser(transformer), adapter)
    expected = sample(SD3Denoiser(transformer), SCHEDULE, tiny_condition, range(7))
    assert_same(sample(FastSD3Denoiser(transformer, PARTS[parts]), SCHEDULE, tiny_condition, range(7)), expected)


def test_guided_teacher_is_the_same(tiny_condition: TextCondition) -> None:
    plain, fast = SD3Denoiser(sd35()), FastSD3Denoiser(sd35(), ON)
    uncond = TextCondition(torch.zeros(1, 5, 32), torch.zeros(1, 16))
    options = {"num_steps": 4, "guidance_scale": 3.0}
    expected = sample_teacher(plain, tiny_condition, uncond, range(7), side=8, **options)
    assert_same(sample_teacher(fast, tiny_condition, uncond, range(7), side=8, **options), expected)
    x_t = torch.randn(7, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = finish_teacher(plain, x_t, 0.7, tiny_condition, uncond, **options)
    assert_same(finish_teacher(fast, x_t, 0.7, tiny_condition, uncond, **options), expected)


def count_calls(modules: dict[str, torch.nn.Module]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: counts.update([name]))
    return counts


@pytest.mark.parametrize(("options", "times"), [(ON, 1), (OFF, SCHEDULE.num_steps)], ids=["on", "off"])
def test_weights_beside_the_latents_are_read_once(
    options: FastOptions, times: int, tiny_condition: TextCondition
) -> None:
    transformer = sd35()
    linears = {f"norm {i}": norm.linear for i, norm in enumerate(adaptive_norms(transformer))}
    assert len(linears) == 7  # two a block, one at the end
    text = {"time and text": transformer.time_text_embed, "context": transformer.context_embedder}
    counts = count_calls({**linears, **text})
    sample(FastSD3Denoiser(transformer, options), SCHEDULE, tiny_condition, range(7))
    assert counts == dict.fromkeys([*linears, *text], times)


def test_image_is_the_same_in_any_batch(student: SD3Transformer2DModel, tiny_condition: TextCondition) -> None:
    fast = FastSD3Denoiser(student, ON)
    together = sample(fast, SCHEDULE, tiny_condition, range(7))
    for index in (0, 6):
        alone = sample(fast, SCHEDULE, tiny_condition[index : index + 1], [index])
        assert_same(alone, together[index : index + 1])


def test_one_condition_serves_a_batch(student: SD3Transformer2DModel, tiny_condition: TextCondition) -> None:
    fast = FastSD3Denoiser(student, ON)
    one, same = tiny_condition[:1], tiny_condition[:1].repeat(3)
    assert_same(sample(fast, SCHEDULE, one, range(3)), sample(fast, SCHEDULE, same, range(3)))
    with pytest.raises(ValueError, match="cannot expand 2 conditions to a batch of 3"):
        sample(fast, SCHEDULE, tiny_condition[:2], range(3))


def test_a_plain_condition_and_features_work_too(student: SD3Transformer2DModel, tiny_condition: TextCondition) -> None:
    """The interface of SD3Denoiser: each image at its own sigma, features on the way."""
    plain, fast = SD3Denoiser(student), FastSD3Denoiser(student, ON)
    x_t, sigma = torch.randn(2, 4, 8, 8), torch.tensor([0.25, 0.75])
    assert_same(fast(x_t, sigma, tiny_condition[:2]), plain(x_t, sigma, tiny_condition[:2]))
    pairs = zip(*(denoiser.features(x_t, sigma, tiny_condition[:2], [0, 2]) for denoiser in (fast, plain)), strict=True)
    for ours, theirs in pairs:
        assert_same(ours, theirs)


def test_half_precision_stays_close(student: SD3Transformer2DModel, tiny_condition: TextCondition) -> None:
    student.to(torch.bfloat16)
    expected = sample(SD3Denoiser(student), SCHEDULE, tiny_condition, range(7))
    assert_same(sample(FastSD3Denoiser(student, ON), SCHEDULE, tiny_condition, range(7)), expected, relative=0.05)


def test_the_transformer_stays_as_it_is(student: SD3Transformer2DModel, tiny_condition: TextCondition) -> None:
    """Bit for bit: nothing is merged in place, so there is nothing to undo."""

    def image() -> torch.Tensor:
        return sample(SD3Denoiser(student), SCHEDULE, tiny_condition, range(7))

    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    modules, latents = list(student.modules()), image()
    fast = FastSD3Denoiser(student, dataclasses.replace(ON, compile=True))
    assert fast.fits(student)
    assert all(a is b for a, b in zip(student.modules(), modules, strict=True))
    assert all(torch.equal(student.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(module._compiled_call_impl is None for module in student.modules())
    assert torch.equal(image(), latents)


def test_weights_are_shared_but_for_merged_ones(student: SD3Transformer2DModel) -> None:
    own = {parameter.data_ptr() for parameter in student.parameters()}
    unmerged = FastSD3Denoiser(student, dataclasses.replace(ON, merge_lora=False))
    assert {parameter.data_ptr() for parameter in unmerged.parameters()} == own
    merged = FastSD3Denoiser(student, ON).network
    copied = {name for name, parameter in merged.named_parameters() if parameter.data_ptr() not in own}
    layers = {name.rpartition(".")[0] for name in copied}
    assert {target for name in layers for target in BACKBONE.lora_targets if name.endswith(target)} == set(
        BACKBONE.lora_targets
    )
    assert all(name.endswith(BACKBONE.lora_targets) for name in layers)


def test_adapters_fused_in_place_are_not_copied(student: SD3Transformer2DModel, tiny_condition: TextCondition) -> None:
    expected = sample(SD3Denoiser(student), SCHEDULE, tiny_condition, range(7))
    student.fuse_lora()
    fast = FastSD3Denoiser(student, ON)
    assert {p.data_ptr() for p in fast.parameters()} < {p.data_ptr() for p in student.parameters()}
    assert_same(sample(fast, SCHEDULE, tiny_condition, range(7)), expected)


def test_the_loop_reads_no_value_on_the_host(
    student: SD3Transformer2DModel, tiny_condition: TextCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = FastSD3Denoiser(student, ON)
    expected = sample(fast, SCHEDULE, tiny_condition, range(7))
    for name in ("tolist", "numpy", "cpu"):  # on the CPU these are not dispatched
        monkeypatch.setattr(torch.Tensor, name, lambda *args, name=name: pytest.fail(f"{name} waits for the device"))
    with NoHostSync():
        watched = sample(fast, SCHEDULE, tiny_condition, range(7))
        sample_teacher(fast, tiny_condition, tiny_condition, range(7), side=8, num_steps=2, guidance_scale=2.0)
    assert torch.equal(watched, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_loop_never_waits_for_the_device(student: SD3Transformer2DModel, tiny_condition: TextCondition) -> None:
    on_cpu = sample(SD3Denoiser(student), SCHEDULE, tiny_condition, range(7))
    fast, cond = FastSD3Denoiser(student.cuda(), ON), tiny_condition.to("cuda")
    sample(fast, SCHEDULE, cond, range(7))  # warm-up: libraries initialise with synchronisation

    class Watched:
        latent_channels, patch_size, process = fast.latent_channels, fast.patch_size, fast.process

        def prepare(self, sigmas: torch.Tensor, cond: TextCondition) -> list[Any]:
            torch.cuda.set_sync_debug_mode("error")
            return fast.prepare(sigmas, cond)

        def __call__(self, *args: Any) -> torch.Tensor:
            return fast(*args)

    try:
        on_gpu = sample(Watched(), SCHEDULE, cond, range(7))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-2, atol=1e-2)


def test_substitution_shares_what_it_does_not_change() -> None:
    inner, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    network = torch.nn.Sequential(torch.nn.Sequential(inner, torch.nn.ReLU()), other)
    new = torch.nn.Identity()
    changed = substitute(network, {inner: new})
    assert changed[0][0] is new
    assert changed[0][1] is network[0][1]
    assert changed[1] is other
    assert network[0][0] is inner
    assert substitute(network, {new: inner}) is network


@pytest.mark.slow
@pytest.mark.parametrize("others", [OFF, ON], ids=["alone", "all"])
def test_blocks_of_one_kind_are_compiled_once(
    others: FastOptions, tmp_path: Path, tiny_condition: TextCondition, traced: None
) -> None:
    """Three kinds in six blocks, one graph each for all sizes."""
    transformer = sd35(num_layers=6, dual_attention_layers=(0, 1, 2))
    load_adapter(SD3Denoiser(transformer), write_adapter(sd35(num_layers=6, dual_attention_layers=(0, 1, 2)), tmp_path))
    torch._dynamo.utils.counters.clear()
    for batch in (2, 3, 7):
        fast = FastSD3Denoiser(transformer, dataclasses.replace(others, compile=True))  # built again, compiled once
        expected = sample(SD3Denoiser(transformer), SCHEDULE, tiny_condition[:batch], range(batch))
        assert_same(sample(fast, SCHEDULE, tiny_condition[:batch], range(batch)), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 3


def test_more_kinds_of_blocks_and_batches_run_than_torch_compiles_by_default(
    traced: None, tiny_condition: TextCondition
) -> None:
    transformer = make_transformer(num_layers=1)
    fast = FastSD3Denoiser(transformer, dataclasses.replace(OFF, compile=True))
    with torch._dynamo.config.patch(recompile_limit=1):
        for cond in (tiny_condition, tiny_condition[:1]):
            expected = sample(SD3Denoiser(transformer), SCHEDULE, cond, range(len(cond)))
            assert_same(sample(fast, SCHEDULE, cond, range(len(cond))), expected)


@pytest.mark.parametrize(("mode", "steps"), [("reduce-overhead", SCHEDULE.num_steps), ("default", 0)])
def test_an_evaluation_is_a_step_of_the_cuda_graphs(
    mode: str, steps: int, traced: None, tiny_condition: TextCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a block, whose output the next one reads."""
    begun: list[int] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(1))
    options = dataclasses.replace(OFF, compile=True, compile_mode=mode)
    sample(FastSD3Denoiser(make_transformer(num_layers=2), options), SCHEDULE, tiny_condition, range(7))
    assert len(begun) == steps


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "mode", [pytest.param(m, marks=pytest.mark.slow) if "autotune" in m else m for m in COMPILE_MODES]
)
@pytest.mark.parametrize("attention", ["auto", "native", "math"])
def test_every_mode_gives_the_same_latents_on_the_gpu(mode: str, attention: str, tiny_condition: TextCondition) -> None:
    transformer, cond = make_transformer(num_layers=3).cuda(), tiny_condition.to("cuda")
    fast = FastSD3Denoiser(transformer, FastOptions(compile_mode=mode, attention=attention))
    for batch in (7, 1):
        expected = sample(SD3Denoiser(transformer), SCHEDULE, cond[:batch], range(batch))
        for _ in range(3):  # graphs are recorded in the second call, and played in the third
            found = sample(fast, SCHEDULE, cond[:batch], range(batch))
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
def test_compiled_blocks_give_the_same_latents(tmp_path: Path, tiny_condition: TextCondition) -> None:
    transformer = make_transformer(num_layers=2)
    load_adapter(SD3Denoiser(transformer), write_adapter(make_transformer(num_layers=2), tmp_path))
    fast = FastSD3Denoiser(transformer, dataclasses.replace(ON, compile=True))
    expected = sample(SD3Denoiser(transformer), SCHEDULE, tiny_condition, range(7))
    assert_same(sample(fast, SCHEDULE, tiny_condition, range(7)), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "fastest"}, "attention must be one of auto, native, cudnn, .*, got 'fastest'"),
        ({"shapes": "round"}, "shapes must be one of static, dynamic, largest, got 'round'"),
        ({"compile_mode": "quick"}, "compile_mode must be one of default, reduce-overhead, .*, got 'quick'"),
        ({"prompt_cache": -1}, "at least 0, got -1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FastOptions(**options)


def test_adapters_that_cannot_merge_are_refused(student: SD3Transformer2DModel) -> None:
    layer = student.transformer_blocks[1].attn.to_k
    layer.lora_B["student"].weight.data.fill_(torch.nan)
    name = r"cannot merge the adapter of transformer_blocks\.1\.attn\.to_k: "
    with pytest.raises(ValueError, match=name + ".*NaN.*; switch merge_lora off"):
        FastSD3Denoiser(student, ON)
    layer.lora_B["student"].weight.data.fill_(0.1)
    layer.merge()
    layer._disable_adapters = True
    with pytest.raises(ValueError, match=name + "it is disabled, but fused"):
        FastSD3Denoiser(student, ON)


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="needs an SD3Transformer2DModel, got Linear"):
        FastSD3Denoiser(torch.nn.Linear(2, 2), ON)
