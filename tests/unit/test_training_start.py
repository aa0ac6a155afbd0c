"""Training that starts from a student, and networks that already have an adapter on them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_adapter, merged
from conftest import make_transformer
from peft import LoraConfig
from training_world import cache, config

from swd.backbones.sd3.backbone import BACKBONE
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.errors import ConfigError
from swd.lora.bank import AdapterBank
from swd.lora.files import load_adapter, write_adapter
from swd.training import train
from swd.training.start import check_plain, start_from


def bank(**options: Any) -> AdapterBank:
    return AdapterBank(SD3Denoiser(make_transformer()), **{"rank": 2, "alpha": 2.0, "seed": 0, **options})


def x0(denoiser: SD3Denoiser) -> torch.Tensor:
    rng = torch.Generator().manual_seed(3)
    cond = BACKBONE.condition(torch.randn(1, 5, 32, generator=rng), torch.randn(1, 16, generator=rng))
    with torch.no_grad():
        return denoiser(torch.randn(1, 4, 8, 8, generator=rng), torch.tensor([0.7]), cond)


@pytest.mark.parametrize(("layout", "rslora"), [("peft", False), ("kohya", True), ("diffusers", True)])
def test_it_starts_with_the_student_s_own_effect(tmp_path: Path, layout: Any, rslora: bool) -> None:
    adapter = make_adapter(
        make_transformer(), BACKBONE.lora_targets, rank=lambda index: 2, alpha=lambda index: 1.0 + index, rslora=rslora
    )
    write_adapter(adapter, layout, tmp_path, component="transformer", names=BACKBONE.layer_names)
    start = bank(alpha=3.0)
    start_from(start, tmp_path)
    expected = x0(SD3Denoiser(merged(make_transformer(), adapter)))
    with start.use("student"):
        torch.testing.assert_close(x0(start.denoiser), expected, rtol=0, atol=1e-5)
    with start.use("fake"):
        assert torch.equal(x0(start.denoiser), x0(SD3Denoiser(make_transformer())))


def test_a_student_of_another_rank_or_of_other_layers_is_refused() -> None:
    wide = make_adapter(make_transformer(), BACKBONE.lora_targets, rank=lambda index: 4)
    with pytest.raises(ConfigError, match=r"cannot start from .*has shape \(4, 16\), expected \(2, 16\).*rank is 2"):
        start_from(bank(), wide.state())
    few = make_adapter(make_transformer(), ("to_q",), rank=lambda index: 2)
    with pytest.raises(ConfigError, match=r"cannot start from .*missing keys \(first .*attn\.to_k"):
        start_from(bank(), few.state())


def test_an_adapter_in_use_is_not_ignored(tmp_path: Path) -> None:
    adapter = make_adapter(make_transformer(), BACKBONE.lora_targets)
    denoiser = SD3Denoiser(make_transformer())
    load_adapter(denoiser, adapter.state(), name="released")
    with pytest.raises(ConfigError, match=r"has the adapter released on it .*give it as the student to start from"):
        train(config(), denoiser, cache(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_training_left_or_fused_and_unloaded_is_no_adapter_in_use() -> None:
    check_plain(bank().denoiser)
    network = make_transformer()
    network.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False), adapter_name="style")
    with pytest.raises(ConfigError, match="has the adapter style"):
        check_plain(SD3Denoiser(network))
    network.fuse_lora()
    with pytest.raises(ConfigError, match="has the adapter style"):
        check_plain(SD3Denoiser(network))
    network.unload_lora()
    check_plain(SD3Denoiser(network))


def test_a_run_goes_on_from_a_student(tmp_path: Path) -> None:
    adapter = make_adapter(make_transformer(), BACKBONE.lora_targets, rank=lambda index: 2, alpha=lambda index: 2.0)
    options = config(iterations=1, weight_gan=0.0, weight_dmd=0.0, lr=1e-6)
    result = train(options, SD3Denoiser(make_transformer()), cache(), tmp_path, student=adapter.state())
    trained = SD3Denoiser(make_transformer())
    load_adapter(trained, result.adapter)
    expected = x0(SD3Denoiser(merged(make_transformer(), adapter)))
    torch.testing.assert_close(x0(trained), expected, rtol=0, atol=1e-3)
    assert not torch.allclose(x0(SD3Denoiser(make_transformer())), expected, rtol=0, atol=1e-2)
