"""A LoRA adapter as a value, whatever layout its file has.

Every layer adds ``scale * up @ down`` to a weight. The scale is alpha / rank, and alpha / sqrt(rank) for rsLoRA
(arXiv 2312.03732).
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

from swd.errors import AdapterError

Targets = tuple[str, ...] | str


@dataclass(frozen=True, slots=True, eq=False)
class LoraWeights:
    """What an adapter adds to one layer.

    Attributes:
        down: (rank, in) for a linear layer, (rank, in, height, width) for a convolution.
        up: (out, rank), or (out, rank, 1, 1).
        alpha: of the scale.

    Raises:
        AdapterError: the two do not make a product, or its scale is no number.
    """

    down: Tensor
    up: Tensor
    alpha: float

    def __post_init__(self) -> None:
        down, up = tuple(self.down.shape), tuple(self.up.shape)
        if len(down) not in (2, 4) or len(up) != len(down) or up[1] != down[0] or up[2:] not in ((), (1, 1)):
            raise AdapterError(f"shapes {down} and {up} of down and up make no product")
        if not down[0]:
            raise AdapterError(f"shapes {down} and {up} of down and up are of rank 0")
        if not math.isfinite(self.alpha):
            raise AdapterError(f"alpha must be finite, got {self.alpha}")

    @property
    def rank(self) -> int:
        """Of the product."""
        return self.down.shape[0]

    def scale(self, *, rslora: bool) -> float:
        """Factor of ``up @ down``."""
        return self.alpha / (math.sqrt(self.rank) if rslora else self.rank)


Layers = Mapping[str, LoraWeights]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """A LoRA adapter.

    Attributes:
        layers: of the network, by the name that diffusers gives them.
        text_encoders: layers of text encoders, by part of the pipeline and name in transformers.
        rslora: which scale.
        targets: layers that it was made for, as PEFT writes it: ends of names or a regular expression. None where the
            file does not say.
        header: what a file of ours says beside the weights: schedule, training, and so on.
        source: what the user named, for messages.

    Raises:
        AdapterError: there are no layers.
    """

    layers: Layers
    text_encoders: Mapping[str, Layers] = field(default_factory=lambda: MappingProxyType({}))
    rslora: bool = False
    targets: Targets | None = None
    header: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    source: str = "the adapter"

    def __post_init__(self) -> None:
        if not self.layers and not self.text_encoders:
            raise AdapterError(f"{self.source} holds no LoRA weights")

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        """Weights of the network's layers by PEFT key."""
        return peft_state(self.layers, prefix)

    def config(self) -> dict[str, Any]:
        """PEFT's options for the network's layers."""
        return peft_config(self.layers, rslora=self.rslora, targets=self.targets)


def peft_state(layers: Layers, prefix: str = "") -> dict[str, Tensor]:
    """Weights by PEFT key, such as ``transformer_blocks.0.attn.to_q.lora_A.weight``."""
    sides = {"lora_A": "down", "lora_B": "up"}
    return {
        f"{prefix}{name}.{side}.weight": getattr(weights, attribute)
        for name, weights in layers.items()
        for side, attribute in sides.items()
    }


def peft_config(layers: Layers, *, rslora: bool, targets: Targets | None = None) -> dict[str, Any]:
    """Options of PEFT's LoraConfig under which ``layers`` scale as they should; defaults of PEFT are left out.

    Layers that differ from most are named in ``rank_pattern`` and ``alpha_pattern``, anchored, since an end of a name
    may be that of another layer.
    """
    rank = Counter(weights.rank for weights in layers.values()).most_common(1)[0][0]
    alpha = Counter(weights.alpha for weights in layers.values()).most_common(1)[0][0]
    chosen: list[str] | str = sorted(layers) if targets is None else targets if isinstance(targets, str) else [*targets]
    config: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "target_modules": chosen}
    ranks = {f"^{name}": weights.rank for name, weights in layers.items() if weights.rank != rank}
    alphas = {f"^{name}": weights.alpha for name, weights in layers.items() if weights.alpha != alpha}
    extras = {"rank_pattern": ranks, "alpha_pattern": alphas, "use_rslora": rslora}
    return {**config, **{name: value for name, value in extras.items() if value}}
