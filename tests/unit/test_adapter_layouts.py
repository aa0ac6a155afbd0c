"""Adapters in every layout, on real networks of every family: exact round trips, and other programs read them too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import TARGETS, evaluate, make_adapter, merged
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_ldm_unet_checkpoint,
    convert_sd3_transformer_checkpoint_to_diffusers,
)
from tiny_pipelines import NETWORK, make

from swd.backbones.flux.names import NAMES as FLUX
from swd.backbones.sd3.names import NAMES as SD35
from swd.backbones.sdxl.names import NAMES as SDXL
from swd.lora.files import open_adapter, put_on, write_adapter
from swd.lora.fitting import adaptable_layers
from swd.lora.layouts import LAYOUTS, layout_of
from swd.lora.layouts.adapter import Adapter
from swd.lora.layouts.naming import LayerNames
from swd.lora.source import read_contents

NAMES = {"sd35-medium": SD35, "sd35-large": SD35, "sdxl": SDXL, "flux": FLUX}
FAMILIES = tuple(NAMES)


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    return {name: make(name) for name in FAMILIES}


@pytest.fixture(scope="module")
def networks(pipelines: dict[str, Any]) -> dict[str, Any]:
    """One of each family; not to be changed."""
    return {name: getattr(pipeline, NETWORK[name]) for name, pipeline in pipelines.items()}


def uneven(network: Any, family: str, **options: Any) -> Adapter:
    """An adapter whose layers have different ranks and alphas."""
    return make_adapter(
        network, TARGETS[family], rank=lambda index: 2 + index % 3, alpha=lambda index: 1.5 + index % 2, **options
    )


def assert_same(actual: Adapter, expected: Adapter) -> None:
    assert actual.layers.keys() == expected.layers.keys()
    for name, weights in expected.layers.items():
        found = actual.layers[name]
        assert torch.equal(found.down, weights.down), name
        assert torch.equal(found.up, weights.up), name
        assert found.alpha == weights.alpha, name
    assert actual.rslora == expected.rslora
    assert actual.targets == expected.targets
    assert actual.header == expected.header


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_round_trips_are_exact(
    networks: dict[str, Any], tmp_path: Path, family: str, layout: Any, rslora: bool
) -> None:
    network, names = networks[family], NAMES[family]
    adapter = make_adapter(network, TARGETS[family], rslora=rslora)
    path = write_adapter(adapter, layout, tmp_path, component=NETWORK[family], names=names)
    assert layout_of(read_contents(path)) == layout
    assert_same(open_adapter(tmp_path, names), adapter)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_is_the_merged_network(
    networks: dict[str, Any], tmp_path: Path, family: str, layout: Any, rslora: bool
) -> None:
    adapter = uneven(networks[family], family, rslora=rslora)
    write_adapter(adapter, layout, tmp_path, component=NETWORK[family], names=NAMES[family])
    network = make(family).components[NETWORK[family]]
    put_on(network, open_adapter(tmp_path, NAMES[family]), "student")
    expected = evaluate(merged(networks[family], adapter))
    torch.testing.assert_close(evaluate(network), expected, rtol=0, atol=1e-5)
    assert (expected - evaluate(networks[family])).abs().max() > 1e-2
    assert not any(parameter.requires_grad for name, parameter in network.named_parameters() if ".lora_" in name)


def published_checkpoint(names: LayerNames, network: Any) -> dict[str, torch.Tensor]:
    """Random weights of every published layer."""
    checkpoint, modules = {}, adaptable_layers(network)
    for name in modules:
        if (place := names.published(name)) is not None:
            parts = [part.layer for part in names.parts(place[0])]
            assert parts[place[1]] == name
            rows = sum(len(modules[part].weight) for part in parts)
            checkpoint[f"{place[0]}.weight"] = torch.randn(rows, *modules[name].weight.shape[1:])
    return checkpoint


_ANY = torch.zeros(7 * 3072)  # what a converter may split in two, three, or into FLUX's fused parts


class Lenient(dict):
    """A checkpoint that has whatever a converter asks for beside the layers that matter."""

    def pop(self, key: str, *default: Any) -> torch.Tensor:
        return super().pop(key, default[0] if default else _ANY)

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.get(key, _ANY)


def assert_converted(
    names: LayerNames, network: Any, checkpoint: dict[str, torch.Tensor], converted: dict[str, torch.Tensor]
) -> None:
    """Every layer that has a published name is what the converter makes of it."""
    modules = adaptable_layers(network)
    for name in modules:
        if (place := names.published(name)) is None:
            assert "norm" in name
            continue
        shares = [part.share for part in names.parts(place[0])]
        whole = checkpoint[f"{place[0]}.weight"]
        rows = whole.split([len(whole) // sum(shares) * share for share in shares])[place[1]]
        assert torch.equal(converted[f"{name}.weight"], rows), name


def test_published_names_of_sd35(networks: dict[str, Any]) -> None:
    checkpoint = published_checkpoint(SD35, networks["sd35-medium"])
    converted = convert_sd3_transformer_checkpoint_to_diffusers(Lenient(checkpoint))
    assert_converted(SD35, networks["sd35-medium"], checkpoint, converted)


def test_published_names_of_flux(networks: dict[str, Any]) -> None:
    checkpoint = published_checkpoint(FLUX, networks["flux"])
    ratio = 3072 // 32  # diffusers' converter has FLUX.1's width built in: every row stands for so many
    wide = {key: weight.repeat_interleave(ratio, 0) for key, weight in checkpoint.items()}
    converted = convert_flux_transformer_checkpoint_to_diffusers(Lenient(wide))
    narrow = {key: weight[::ratio] for key, weight in converted.items() if weight is not None}
    assert_converted(FLUX, networks["flux"], checkpoint, narrow)


def test_published_names_of_sdxl(networks: dict[str, Any]) -> None:
    checkpoint = published_checkpoint(SDXL, networks["sdxl"])
    checkpoint |= {key.replace(".weight", ".bias"): torch.zeros(1) for key in checkpoint}
    prefixed = {f"model.diffusion_model.{key}": weight for key, weight in checkpoint.items()}
    converted = convert_ldm_unet_checkpoint(prefixed, dict(networks["sdxl"].config))
    assert_converted(SDXL, networks["sdxl"], checkpoint, converted)
    assert all(SDXL.published(name) for name in adaptable_layers(networks["sdxl"]))
