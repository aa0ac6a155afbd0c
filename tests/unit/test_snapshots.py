"""What of a network a snapshot sees."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from swd.backbones.snapshots import SAMPLED, Snapshot


def network() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(40, 40), nn.LayerNorm(4), nn.Embedding(6, 50))
    layers[0].to(memory_format=torch.channels_last)
    layers[1].to(torch.bfloat16)
    return layers


@pytest.mark.parametrize("write", [lambda data: data.mul_(1.01), lambda data: data.zero_(), lambda data: data.neg_()])
@pytest.mark.parametrize("place", range(4))
def test_numbers_written_through_data_are_seen(place: int, write: Callable[[torch.Tensor], object]) -> None:
    layers = network()
    before = Snapshot(layers)
    assert Snapshot(layers) == before
    write(layers[place].weight.data)
    assert Snapshot(layers) != before


def test_what_spares_the_sampled_numbers_is_not_seen() -> None:
    layers = network()
    before, weight = Snapshot(layers), layers[3].weight.data.flatten()
    sampled = torch.arange(SAMPLED) * (weight.numel() // SAMPLED)
    kept = weight[sampled].clone()
    weight.mul_(2)
    weight[sampled] = kept
    assert Snapshot(layers) == before
    weight[sampled[-1]] += 1
    assert Snapshot(layers) != before


def test_a_number_that_is_none_equals_itself() -> None:
    layers = network()
    layers[1].weight.data.fill_(float("nan"))
    assert Snapshot(layers) == Snapshot(layers)


def test_weights_that_are_nowhere_and_empty_ones_are_passed_over() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2, device="meta"), nn.Linear(0, 3)])
    assert Snapshot(layers) == Snapshot(layers)
    assert Snapshot(layers, None) != Snapshot(network())
