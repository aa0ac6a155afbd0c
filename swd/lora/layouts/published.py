"""What kohya's and ComfyUI's layouts share: published names, fused layers, an alpha tensor for each layer.

A fused layer has one product for all its parts. Parts that share ``down`` share it there too. Others lie side by side,
``up`` block by block, so that the product is the same and the rank is the sum; alpha grows with it. What the parts were
stands in the header, so that reading gives them back as they were.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from swd.errors import AdapterError
from swd.lora.layouts.adapter import Adapter, Layers, LoraWeights
from swd.lora.layouts.contents import LAYERS_HEADER, OUR_HEADER, Contents, Pair, pairs
from swd.lora.layouts.naming import CLIP_NAMES, LayerNames, Part

Tensors = dict[str, torch.Tensor]
_CLOSE = 1e-5  # of two scales that are the same but for rounding
_SIDES = ("lora_down.weight", "lora_up.weight", "alpha")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How a layout writes published names.

    Attributes:
        networks: prefixes of the network's keys, the first is written.
        text_encoders: parts of the pipeline by their prefix; of several, the first is written.
        parts: layers of diffusers in a key without its prefix.
        spell: a published name as it stands in the key.
    """

    networks: tuple[str, ...]
    text_encoders: Mapping[str, str]
    parts: Callable[[LayerNames | None, str], Sequence[Part]]
    spell: Callable[[str], str]

    def recognises(self, contents: Contents) -> bool:
        """By the prefix of its keys."""
        return any(key.startswith((*self.networks, *self.text_encoders)) for key in contents.tensors)

    def read(self, contents: Contents, names: LayerNames | None) -> Adapter:
        """Every part apart."""
        found: dict[str, dict[str, Pair]] = {}
        for name, pair in pairs(contents).items():
            prefix = next((one for one in (*self.networks, *self.text_encoders) if name.startswith(one)), None)
            if prefix is None:
                raise AdapterError(f"{contents.source}: {pair.key} lacks the prefix {self.networks[0]} of the others")
            found.setdefault(self.text_encoders.get(prefix, ""), {})[name.removeprefix(prefix)] = pair
        layers, record = _understood(found.pop("", {}), partial(self.parts, names), contents)
        if missing := sorted(contents.json(LAYERS_HEADER).get("layers", {}).keys() - layers.keys()):
            raise AdapterError(f"{contents.source}: {len(missing)} layers have missing keys (first {missing[0]})")
        clip = partial(self.parts, CLIP_NAMES)
        return Adapter(
            layers=layers,
            text_encoders={part: _understood(pairs_of, clip, contents)[0] for part, pairs_of in found.items()},
            rslora=bool(record.get("use_rslora", False)),
            targets=_targets_of(record),
            header=contents.json(OUR_HEADER),
            source=contents.source,
        )

    def write(self, adapter: Adapter, names: LayerNames | None) -> Contents:
        """One file for all parts."""
        if names is None:
            raise AdapterError(f"{adapter.source}: this family of networks has no published names")
        prefixes = {part: prefix for prefix, part in reversed([*self.text_encoders.items()])}
        tensors = self._written(adapter.layers, names, self.networks[0], adapter)
        for part, layers in adapter.text_encoders.items():
            tensors |= self._written(layers, CLIP_NAMES, prefixes[part], adapter)
        return Contents(tensors, _header_of(adapter))

    def _written(self, layers: Layers, names: LayerNames, prefix: str, adapter: Adapter) -> Tensors:
        groups: dict[str, dict[int, LoraWeights]] = {}
        for layer, weights in layers.items():
            place = names.published(layer)
            if place is None:
                raise AdapterError(f"{adapter.source}: {layer} has no published name, so no other program can read it")
            groups.setdefault(place[0], {})[place[1]] = weights
        rslora = adapter.rslora and names is not CLIP_NAMES
        tensors: Tensors = {}
        for published, parts in groups.items():
            down, up, scale = _fused(parts, names.parts(published), rslora=rslora)
            values = down, up, torch.tensor(scale * down.shape[0])
            spelled = f"{prefix}{self.spell(published)}"
            tensors |= {f"{spelled}.{side}": value for side, value in zip(_SIDES, values, strict=True)}
        return tensors


def _understood(
    found: Mapping[str, Pair], parts: Callable[[str], Sequence[Part]], contents: Contents
) -> tuple[Layers, dict[str, Any]]:
    """Layers of diffusers, and the record of how they were before; an empty one where it does not hold any more.

    Raises:
        AdapterError: there is no such layer, or its rows are not those of its parts.
    """
    record = contents.json(LAYERS_HEADER)
    layers: dict[str, LoraWeights] = {}
    for name, pair in found.items():
        pieces = parts(name)
        if not pieces:
            raise AdapterError(f"{contents.source}: {pair.key} is no layer of this network")
        layers |= _split(pair, pieces, record)
    rslora = bool(record.get("use_rslora", False))
    recorded = record.get("layers", {})
    if recorded.keys() == layers.keys() and _agree(layers, recorded, rslora=rslora):
        return {name: _with_alpha(weights, recorded[name][1]) for name, weights in layers.items()}, record
    return layers, {}


def _header_of(adapter: Adapter) -> dict[str, str]:
    """What cannot be said by tensors of these layouts."""
    targets = adapter.targets if adapter.targets is None or isinstance(adapter.targets, str) else [*adapter.targets]
    record = {
        "use_rslora": adapter.rslora,
        "target_modules": targets,
        "layers": {name: [weights.rank, weights.alpha] for name, weights in adapter.layers.items()},
    }
    return {
        "format": "pt",
        OUR_HEADER: json.dumps(dict(adapter.header), sort_keys=True),
        LAYERS_HEADER: json.dumps(record, sort_keys=True),
    }


def _targets_of(record: Mapping[str, Any]) -> tuple[str, ...] | str | None:
    """Layers that an adapter was made for, from the record of a header."""
    targets = record.get("target_modules")
    return targets if targets is None or isinstance(targets, str) else tuple(targets)


def _fused(
    weights: Mapping[int, LoraWeights], parts: Sequence[Part], *, rslora: bool
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """down, up and scale of all parts in one."""
    first = next(iter(weights.values()))
    scales = {one.scale(rslora=rslora) for one in weights.values()}
    scale = scales.pop() if len(scales) == 1 else 1.0
    ups = {index: one.up if not scales else one.up * one.scale(rslora=rslora) for index, one in weights.items()}
    if len(weights) == len(parts) and all(torch.equal(one.down, first.down) for one in weights.values()):
        return first.down, torch.cat([ups[index] for index in range(len(parts))]), scale
    present = sorted(weights)
    rows = _rows(next(iter(ups.items())), parts)
    up = first.up.new_zeros(sum(rows), sum(weights[index].rank for index in present))
    start = 0
    for index in present:
        stop, top = start + weights[index].rank, sum(rows[:index])
        up[top : top + rows[index], start:stop] = ups[index]
        start = stop
    return torch.cat([weights[index].down for index in present]), up, scale


def _rows(known: tuple[int, torch.Tensor], parts: Sequence[Part]) -> list[int]:
    """Rows of every part, from one."""
    index, up = known
    unit = len(up) // parts[index].share
    return [unit * part.share for part in parts]


def _split(pair: Pair, parts: Sequence[Part], record: Mapping[str, Any]) -> dict[str, LoraWeights]:
    whole = pair.weights()
    if len(parts) == 1:
        return {parts[0].layer: whole}
    unit, rest = divmod(len(whole.up), sum(part.share for part in parts))
    if rest:
        raise AdapterError(f"{pair.key}: {len(whole.up)} rows of up are not those of {len(parts)} layers")
    ups = dict(zip(parts, whole.up.split([unit * part.share for part in parts]), strict=True))
    recorded = record.get("layers", {})
    present = [part for part in parts if part.layer in recorded]
    ranks = [int(recorded[part.layer][0]) for part in present]
    if not present or (len(present) > 1 and sum(ranks) != whole.rank):  # one down for all
        return {part.layer: LoraWeights(whole.down, up.contiguous(), whole.alpha) for part, up in ups.items()}
    columns = dict(zip(present, torch.arange(whole.rank).split(ranks), strict=True))
    scale = whole.alpha / whole.rank
    return {
        part.layer: LoraWeights(whole.down[own], ups[part][:, own].contiguous(), scale * len(own))
        for part, own in columns.items()
    }


def _agree(layers: Layers, recorded: Mapping[str, Any], *, rslora: bool) -> bool:
    """Whether the tensors still scale as recorded: another program may have changed them since."""
    for name, weights in layers.items():
        rank, alpha = recorded[name]
        scale = LoraWeights(weights.down, weights.up, alpha).scale(rslora=rslora)
        if rank != weights.rank or abs(scale - weights.scale(rslora=False)) > _CLOSE * abs(scale):
            return False
    return True


def _with_alpha(weights: LoraWeights, alpha: float) -> LoraWeights:
    return LoraWeights(weights.down, weights.up, alpha)
