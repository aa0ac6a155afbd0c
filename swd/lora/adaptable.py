"""What adapters need of a network: where they sit, how files call them, which blocks there are."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import nn

from swd.lora.layouts.naming import LayerNames


class LoraLayout(Protocol):
    """Where in a family of networks adapters sit, and how files call them."""

    @property
    def component(self) -> str:
        """Part of the pipeline that diffusers loads the keys into, their prefix."""
        ...

    @property
    def lora_targets(self) -> tuple[str, ...]:
        """Linear layers that are adapted, as ends of their names."""
        ...

    @property
    def layer_names(self) -> LayerNames | None:
        """Their published names, where other programs have any."""
        ...


class Adaptable(Protocol):
    """A denoiser as adapters see it.

    Attributes:
        network: a diffusers model.
    """

    network: Any

    @property
    def backbone(self) -> LoraLayout:
        """Its family."""
        ...

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Blocks of the network, in the order in which they run."""
        ...

    @property
    def units(self) -> Sequence[nn.Module]:
        """What gradient checkpointing computes again."""
        ...
