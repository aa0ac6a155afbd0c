from pathlib import Path

import pytest
import torch
from conftest import make_transformer
from peft import LoraConfig, inject_adapter_in_model

from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.lora.bank import AdapterBank
from swd.lora.files import ADAPTER_FILE, load_adapter, read_adapter, save_adapter


@pytest.fixture
def bank(tiny_denoiser: SD3Denoiser) -> AdapterBank:
    return AdapterBank(tiny_denoiser, rank=4, alpha=2, seed=0)


def randomise(bank: AdapterBank, name: str, seed: int = 1) -> None:
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in bank.parameters(name):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))


def run(bank: AdapterBank, cond: TextCondition, name: str | None) -> torch.Tensor:
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with bank.use(name):
        return bank.denoiser(x_t, torch.tensor([0.4, 0.8]), cond[:2])


def test_all_adapters_start_as_the_teacher(bank: AdapterBank, tiny_condition: TextCondition) -> None:
    plain = SD3Denoiser(make_transformer(num_layers=3))
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = plain(x_t, torch.tensor([0.4, 0.8]), tiny_condition[:2])
    for name in (None, "student", "fake"):
        assert torch.equal(run(bank, tiny_condition, name), expected)


def test_targets_are_attention_and_mlp(bank: AdapterBank) -> None:
    inside = {key.split(".", 2)[2].removesuffix(".lora_A.weight") for key in bank.state_dict("student") if "_A" in key}
    attention = {f"attn.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")}
    assert inside == attention | {f"{ff}.{name}" for ff in ("ff", "ff_context") for name in ("net.0.proj", "net.2")}


def test_use_switches_nests_and_restores(bank: AdapterBank, tiny_condition: TextCondition) -> None:
    randomise(bank, "student")
    teacher, student, fake = (run(bank, tiny_condition, name) for name in (None, "student", "fake"))
    assert torch.equal(teacher, fake)
    assert (student - teacher).abs().max() > 1e-3
    with bank.use("student"):
        with bank.use("fake"), bank.use(None), bank.use("student"):
            assert bank.active == "student"
        assert torch.equal(run(bank, tiny_condition, None), teacher)
        assert bank.active == "student"
    with pytest.raises(KeyError), bank.use("student"):
        raise KeyError
    assert bank.active is None
    assert torch.equal(run(bank, tiny_condition, None), teacher)


def test_use_leaves_requires_grad_alone(bank: AdapterBank) -> None:
    assert not any(parameter.requires_grad for parameter in bank.denoiser.parameters())
    with bank.trainable("student"):
        ours = {id(parameter) for parameter in bank.parameters("student")}
        for name in (None, "fake", "student"):
            with bank.use(name):
                assert all(p.requires_grad == (id(p) in ours) for p in bank.denoiser.parameters())
    assert not any(parameter.requires_grad for parameter in bank.denoiser.parameters())


def test_gradients_reach_the_adapter_through_another(bank: AdapterBank, tiny_condition: TextCondition) -> None:
    randomise(bank, "student", 1)
    randomise(bank, "fake", 2)
    with bank.trainable("student"):
        x0 = run(bank, tiny_condition, "student")
        with bank.use("fake"):
            bank.denoiser(x0, torch.tensor([0.5, 0.5]), tiny_condition[:2]).square().mean().backward()
    assert all(parameter.grad is not None for parameter in bank.parameters("student")[:4])
    assert all(parameter.grad is None for parameter in bank.parameters("fake"))


def test_checkpointing_recomputes_under_the_adapter_of_the_forward(
    bank: AdapterBank, tiny_condition: TextCondition
) -> None:
    randomise(bank, "student", 1)
    randomise(bank, "fake", 2)

    def gradients() -> list[torch.Tensor]:
        with bank.trainable("student"):
            x0 = run(bank, tiny_condition, "student")
            with bank.use("fake"):
                x0 = bank.denoiser(x0, torch.tensor([0.5, 0.5]), tiny_condition[:2])
            grads = torch.autograd.grad(x0.square().mean(), bank.parameters("student"), allow_unused=True)
        return [grad for grad in grads if grad is not None]

    expected = gradients()
    bank.enable_gradient_checkpointing()
    bank.denoiser.train()
    for a, b in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_initial_weights_come_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    banks = [AdapterBank(SD3Denoiser(make_transformer()), rank=4, alpha=4, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    key = "transformer_blocks.0.attn.to_q.lora_A.weight"
    first, again, other = (bank.state_dict("student")[key] for bank in banks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, banks[0].state_dict("fake")[key])
    assert first.std() == pytest.approx(1 / 4, rel=0.3)


def test_adapters_are_float32_on_a_half_precision_base() -> None:
    bank = AdapterBank(SD3Denoiser(make_transformer().to(torch.bfloat16)), rank=2, alpha=2, seed=0)
    assert {parameter.dtype for parameter in bank.parameters("student")} == {torch.float32}
    cond = TextCondition(torch.randn(1, 3, 32), torch.randn(1, 16))
    with bank.use("student"):
        bank.denoiser(torch.randn(1, 4, 8, 8), torch.tensor([0.5]), cond)


@pytest.mark.parametrize("alpha", [2, 4])
def test_save_and_load_round_trip(
    bank: AdapterBank, tiny_condition: TextCondition, tmp_path: Path, alpha: float
) -> None:
    bank = AdapterBank(SD3Denoiser(make_transformer(num_layers=3)), rank=4, alpha=alpha, seed=0)
    randomise(bank, "student")
    path = save_adapter(bank, "student", tmp_path / "new" / "folder", {"preset": "mini-4"})
    assert [entry.name for entry in path.parent.iterdir()] == [ADAPTER_FILE]
    state, metadata = read_adapter(path.parent)
    assert metadata == {"preset": "mini-4", "rank": 4, "alpha": alpha}
    bank.load_state_dict("fake", state)
    expected = run(bank, tiny_condition, "student")
    assert torch.equal(run(bank, tiny_condition, "fake"), expected)

    plain = SD3Denoiser(make_transformer(num_layers=3))
    assert load_adapter(plain, path)["preset"] == "mini-4"
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(plain(x_t, torch.tensor([0.4, 0.8]), tiny_condition[:2]), expected)


def test_a_missing_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no adapter at .*nowhere.*expected a file pytorch_lora_weights"):
        read_adapter(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_adapter_is_named(bank: AdapterBank, tmp_path: Path, keep: int) -> None:
    path = save_adapter(bank, "student", tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        read_adapter(tmp_path)


def test_an_adapter_of_another_shape_is_refused(bank: AdapterBank, tmp_path: Path) -> None:
    save_adapter(bank, "student", tmp_path)
    state, _ = read_adapter(tmp_path)
    wider = SD3Denoiser(make_transformer(num_layers=3, num_heads=4))
    with pytest.raises(ValueError, match=r"transformer_blocks\.0\..* has shape \(4, 16\), expected \(4, 32\)"):
        load_adapter(wider, tmp_path)
    with pytest.raises(ValueError, match=r"0 missing keys, \d+ unknown keys \(first transformer_blocks\.1\.ff_context"):
        load_adapter(SD3Denoiser(make_transformer(num_layers=2)), tmp_path)
    other_rank = AdapterBank(SD3Denoiser(make_transformer(num_layers=3)), rank=8, alpha=8, seed=0)
    before = {key: weight.clone() for key, weight in other_rank.state_dict("student").items()}
    with pytest.raises(ValueError, match=r"has shape \(4, 16\), expected \(8, 16\)"):
        other_rank.load_state_dict("student", state)
    assert all(torch.equal(before[key], weight) for key, weight in other_rank.state_dict("student").items())


def test_unknown_names_and_ranks_are_refused(bank: AdapterBank) -> None:
    with pytest.raises(ValueError, match="no adapter 'teacher', expected one of student, fake"), bank.use("teacher"):
        pass
    with pytest.raises(ValueError, match="no adapter 'x'"):
        bank.parameters("x")
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        AdapterBank(SD3Denoiser(make_transformer()), rank=0, alpha=1, seed=0)


def test_a_failed_write_leaves_the_old_adapter(
    bank: AdapterBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_adapter(bank, "student", tmp_path)
    before = path.read_bytes()
    randomise(bank, "student")

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("swd.lora.files.save_tensors", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_adapter(bank, "student", tmp_path)
    assert path.read_bytes() == before


def test_canary_peft_still_honours_the_private_switches_of_the_bank() -> None:
    # AdapterBank flips _disable_adapters and _active_adapter of every layer: peft's public way would thaw parameters
    layer = torch.nn.Sequential(torch.nn.Linear(3, 3))
    x = torch.ones(1, 3)
    base = layer(x)
    for number, name in enumerate(("one", "two"), start=1):
        inject_adapter_in_model(LoraConfig(r=1, lora_alpha=1, target_modules=["0"]), layer, adapter_name=name)
        for side in (layer[0].lora_A, layer[0].lora_B):
            torch.nn.init.constant_(side[name].weight, float(number))
    expected = {"one": base + 3, "two": base + 12}  # B A x with all weights 1, and all 2
    assert vars(layer[0]).keys() >= {"_disable_adapters", "_active_adapter"}, "peft renamed the switches of AdapterBank"
    for name in ("one", "two", "one"):
        layer[0]._disable_adapters, layer[0]._active_adapter = False, [name]
        torch.testing.assert_close(layer(x), expected[name])
        layer[0]._disable_adapters, layer[0]._active_adapter = True, []
        assert torch.equal(layer(x), base)
