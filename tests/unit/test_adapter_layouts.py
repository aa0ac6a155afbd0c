"""Adapters in every layout, on real networks of every family: exact round trips, and other programs read them too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import TARGETS, evaluate, make_adapter, merged
from tiny_pipelines import NETWORK, make

from swd.backbones.flux.names import NAMES as FLUX
from swd.backbones.sd3.names import NAMES as SD35
from swd.backbones.sdxl.names import NAMES as SDXL
from swd.lora.adapter import Adapter
from swd.lora.files import open_adapter, put_on, write_adapter
from swd.lora.layouts import LAYOUTS, layout_of
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
