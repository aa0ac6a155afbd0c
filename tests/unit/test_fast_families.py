"""The fast path of the families other than SD3, and what compiled blocks of several sizes do in all of them."""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from conftest import make_transformer
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from fast_world import OFF, ON, PARTS, SCHEDULE, assert_same, write_student
from test_sampler import NoHostSync
from torch import Tensor, nn

from swd.backbones import denoiser_of
from swd.backbones.base import Condition, Denoiser
from swd.backbones.fast import FastOptions
from swd.backbones.flux.condition import FluxCondition
from swd.backbones.flux.fast import FastFluxDenoiser
from swd.backbones.lean import adaptive_norms
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.backbones.sd3.fast import FastSD3Denoiser
from swd.backbones.sdxl.condition import SDXLCondition
from swd.backbones.sdxl.fast import FastSDXLDenoiser
from swd.guidance import with_guidance
from swd.lora.files import load_adapter
from swd.sampler import sample, sample_teacher
from swd.schedule import ScaleSchedule


def flux_condition(rows: int) -> FluxCondition:
    rng = torch.Generator().manual_seed(7)
    guidance = 1 + torch.arange(rows) / 2
    return FluxCondition(torch.randn(rows, 5, 32, generator=rng), torch.randn(rows, 16, generator=rng), guidance)


@dataclasses.dataclass(frozen=True)
class Family:
    """What the tests need of one: a network, conditions, the fast denoiser, and what is read once per call."""

    name: str
    fast: Callable[[Any, FastOptions], Any]
    condition: Callable[[int], Condition]
    once: Callable[[Any], dict[str, nn.Module]]

    def denoiser(self) -> Denoiser:
        return denoiser_of(tiny_pipelines.make(self.name, seed=2))


def flux_once(network: Any) -> dict[str, nn.Module]:
    linears = {f"norm {i}": norm.linear for i, norm in enumerate(adaptive_norms(network))}
    assert len(linears) == 2 * 2 + 3 + 1  # two a double block, one a single one, one at the end
    return {**linears, "time and text": network.time_text_embed, "context": network.context_embedder}


def sdxl_condition(rows: int) -> SDXLCondition:
    rng = torch.Generator().manual_seed(7)
    embeds, pooled = torch.randn(rows, 7, 32, generator=rng), torch.randn(rows, 8, generator=rng)
    return SDXLCondition(embeds, pooled, 16.0 * torch.randint(1, 9, (rows, 6), generator=rng))


def sdxl_once(network: Any) -> dict[str, nn.Module]:
    resnets = [module for module in network.modules() if isinstance(module, ResnetBlock2D)]
    readers = [module for module in network.modules() if isinstance(module, BasicTransformerBlock)]
    assert (len(resnets), len(readers)) == (17, 2 * 1 + 2 * 2 + 2 + 3 * 2 + 3 * 1)  # down, middle, up
    linears = [resnet.time_emb_proj for resnet in resnets]
    linears += [layer for block in readers for layer in (block.attn2.to_k, block.attn2.to_v)]
    embeddings = {"time": network.time_embedding, "sizes and text": network.add_embedding}
    return embeddings | {f"linear {i}": linear for i, linear in enumerate(linears)}


FAMILIES = {
    "flux": Family("flux", FastFluxDenoiser, flux_condition, flux_once),
    "sdxl": Family("sdxl", FastSDXLDenoiser, sdxl_condition, sdxl_once),
}


@pytest.fixture(params=FAMILIES, scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def adapter(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(family.denoiser(), tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def student(family: Family, adapter: Path) -> Denoiser:
    denoiser = family.denoiser()
    load_adapter(denoiser, adapter)
    return denoiser


@pytest.fixture(scope="module")
def expected(family: Family, adapter: Path) -> Tensor:
    """Latents of the student by the plain path."""
    denoiser = family.denoiser()
    load_adapter(denoiser, adapter)
    return sample(denoiser, SCHEDULE, family.condition(3), range(3))


@pytest.mark.parametrize("parts", PARTS)
def test_every_part_leaves_the_latents_as_they_are(
    parts: str, family: Family, student: Denoiser, expected: Tensor
) -> None:
    fast = family.fast(student.network, PARTS[parts])
    assert_same(sample(fast, SCHEDULE, family.condition(3), range(3)), expected)


def test_any_size_in_any_order(family: Family, student: Denoiser) -> None:
    """What is kept of a size is that size's: 4 x 12 has as many tokens as 12 x 4."""
    fast, cond = family.fast(student.network, ON), family.condition(1)
    for size in ((4, 12), (12, 4), (4, 12), (8, 8)):
        found, plain = (sample(each, SCHEDULE, cond, [0], size=size) for each in (fast, student))
        assert_same(found, plain)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_guidance_is_the_same(family: Family, student: Denoiser, scale: float) -> None:
    fast, cond = family.fast(student.network, ON), family.condition(3)
    uncond = cond[:1].map(torch.zeros_like)
    found, plain = (sample(with_guidance(each, uncond, scale), SCHEDULE, cond, range(3)) for each in (fast, student))
    assert_same(found, plain)
    found, plain = (
        sample_teacher(each, cond, uncond, range(3), side=8, num_steps=3, guidance_scale=scale)
        for each in (fast, student)
    )
    assert_same(found, plain)


@pytest.mark.parametrize(("options", "times"), [(ON, 1), (OFF, SCHEDULE.num_steps)], ids=["on", "off"])
def test_weights_beside_the_latents_are_read_once(options: FastOptions, times: int, family: Family) -> None:
    network = family.denoiser().network
    modules, counts = family.once(network), Counter[str]()
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: counts.update([name]))
    sample(family.fast(network, options), SCHEDULE, family.condition(3), range(3))
    assert counts == dict.fromkeys(modules, times)


def test_angles_are_computed_once_for_each_size() -> None:
    network, computed = FAMILIES["flux"].denoiser().network, []
    network.pos_embed.register_forward_hook(lambda _, args, out: computed.append(len(args[0])))
    fast = FastFluxDenoiser(network, ON)
    for _ in range(2):
        sample(fast, SCHEDULE, flux_condition(2), range(2))
    assert computed == [5 + (side // 2) ** 2 for side in SCHEDULE.scales]
    for side in range(2, 2 * 40, 2):  # what is kept does not grow without end
        fast(torch.zeros(1, 4, 2, side), torch.ones(1), flux_condition(1))
    assert len(fast._angles) == 16


def test_a_plain_condition_and_features_work_too(family: Family, student: Denoiser) -> None:
    """Each image at its own sigma and guidance, features of every kind of block on the way."""
    fast, cond = family.fast(student.network, ON), family.condition(2)
    x_t, sigma = torch.randn(2, 4, 8, 8), torch.tensor([0.25, 0.75])
    assert_same(fast(x_t, sigma, cond), student(x_t, sigma, cond))
    blocks = [0, student.num_blocks // 2, student.num_blocks - 1]
    for ours, theirs in zip(*(each.features(x_t, sigma, cond, blocks) for each in (fast, student)), strict=True):
        assert_same(ours, theirs)


def test_half_precision_stays_close(family: Family, student: Denoiser) -> None:
    student.network.to(torch.bfloat16)
    expected = sample(student, SCHEDULE, family.condition(3), range(3))
    found = sample(family.fast(student.network, ON), SCHEDULE, family.condition(3), range(3))
    assert_same(found, expected, relative=0.05)


def test_the_network_stays_as_it_is(family: Family, student: Denoiser, expected: Tensor) -> None:
    """Bit for bit: nothing is merged in place, so there is nothing to undo."""
    network = student.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modules, kind = list(network.modules()), type(network)
    fast = family.fast(network, dataclasses.replace(ON, compile=True))
    assert fast.fits(network)
    assert type(network) is kind
    assert all(a is b for a, b in zip(network.modules(), modules, strict=True))
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(module._compiled_call_impl is None for module in network.modules())
    assert torch.equal(sample(student, SCHEDULE, family.condition(3), range(3)), expected)


def test_weights_are_shared_but_for_merged_ones(family: Family, student: Denoiser) -> None:
    own = {parameter.data_ptr() for parameter in student.network.parameters()}
    unmerged = family.fast(student.network, dataclasses.replace(ON, merge_lora=False))
    assert {parameter.data_ptr() for parameter in unmerged.network.parameters()} <= own
    copied = {n for n, p in family.fast(student.network, ON).named_parameters() if p.data_ptr() not in own}
    assert copied
    ends = tuple(f".{target}.{part}" for target in student.backbone.lora_targets for part in ("weight", "bias"))
    adapted = [name.replace(".block.", ".") for name in copied]  # what hands a block its columns stands around it
    assert all(name.endswith(ends) or name.startswith("keys_and_values") for name in adapted)


def test_the_loop_reads_no_value_on_the_host(
    family: Family, student: Denoiser, expected: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, cond = family.fast(student.network, ON), family.condition(3)
    sample(fast, SCHEDULE, cond, range(3))  # angles of each size, once
    for name in ("tolist", "numpy", "cpu"):  # on the CPU these are not dispatched
        monkeypatch.setattr(torch.Tensor, name, lambda *args, name=name: pytest.fail(f"{name} waits for the device"))
    with NoHostSync():
        watched = sample(fast, SCHEDULE, cond, range(3))
    assert_same(watched, expected)


def test_other_networks_are_refused(family: Family) -> None:
    with pytest.raises(ValueError, match=r"the fast path needs an .*, got Linear"):
        family.fast(nn.Linear(2, 2), ON)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled as far as the graph, which then runs without a compiler behind it."""
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda fn, *, mode, **kwargs: compile_with(fn, backend="eager", **kwargs))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.slow
@pytest.mark.parametrize("others", [OFF, ON], ids=["alone", "all"])
def test_blocks_of_one_kind_are_compiled_once(
    others: FastOptions, family: Family, student: Denoiser, traced: None
) -> None:
    """Numbers of rows, tokens and channels differ: what is equal by chance, the compiler takes for one number."""
    cond, counts, seen = family.condition(5), torch._dynamo.utils.counters["stats"], []
    for scales in ((12, 12, 12), (12, 16, 20)):  # built again, compiled once
        schedule = ScaleSchedule(scales, SCHEDULE.sigmas)
        fast = family.fast(student.network, dataclasses.replace(others, compile=True))
        found, plain = (sample(each, schedule, cond, range(5)) for each in (fast, student))
        assert_same(found, plain)
        seen.append(counts["unique_graphs"])
    blocks = sum(module._compiled_call_impl is not None for module in fast.network.modules())
    assert seen[0] == seen[1] < blocks


def sd3(layers: int = 1) -> tuple[SD3Denoiser, TextCondition]:
    rng = torch.Generator().manual_seed(7)
    cond = TextCondition(torch.randn(3, 5, 32, generator=rng), torch.randn(3, 16, generator=rng))
    return SD3Denoiser(make_transformer(num_layers=layers)), cond


@pytest.mark.parametrize(("shapes", "graphs"), [("static", SCHEDULE.num_steps), ("dynamic", 1), ("largest", 1)])
def test_one_code_for_all_sizes_or_one_for_each(shapes: str, graphs: int, traced: None) -> None:
    plain, cond = sd3()
    fast = FastSD3Denoiser(plain.network, dataclasses.replace(ON, compile=True, shapes=shapes))
    # 25 tokens at last: where there are as many as channels (16), the compiler takes the two for one number
    schedule = ScaleSchedule((4, 6, 10), SCHEDULE.sigmas)
    for _ in range(2):
        assert_same(sample(fast, schedule, cond, range(3)), sample(plain, schedule, cond, range(3)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_largest_size_first_where_it_is_asked_for(guidance_scale: float, traced: None) -> None:
    """Once for many rows and once for a single one, which is other code; then never again."""
    plain, cond = sd3()
    sides: list[int] = []
    options = dataclasses.replace(OFF, compile=True, shapes="largest")
    fast = FastSD3Denoiser(plain.network, options)
    predict = fast.predict
    fast.predict = lambda x_t, *rest: sides.append(x_t.shape[-1]) or predict(x_t, *rest)
    steps, wanted = list(SCHEDULE.scales), []
    for rows in (3, 3, 1, 1):
        uncond = cond[:1].map(torch.zeros_like)
        sample(with_guidance(fast, uncond, guidance_scale), SCHEDULE, cond[:rows], range(rows))
        first = len(wanted) in (0, 2) if guidance_scale == 1 else not wanted  # with guidance no batch is a single row
        wanted.append([steps[-1], *steps] if first else steps)
    assert sides == [side for loop in wanted for side in loop]
    sides.clear()
    uncompiled = FastSD3Denoiser(plain.network, dataclasses.replace(options, compile=False))
    assert not sample(uncompiled, SCHEDULE, cond, range(3)).isnan().any()
    assert not uncompiled.wants_largest_first


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.parametrize("shapes", ["dynamic", "largest"])
def test_compiled_blocks_give_the_same_latents(
    shapes: str, family: Family, student: Denoiser, expected: Tensor
) -> None:
    fast = family.fast(student.network, dataclasses.replace(ON, compile=True, shapes=shapes))
    assert_same(sample(fast, SCHEDULE, family.condition(3), range(3)), expected)
