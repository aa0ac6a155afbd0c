"""What samplers ask of a network and of what it is conditioned on."""

from collections.abc import Sequence
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from swd.flow import NoiseProcess
from swd.grid import TeacherGrid


class ConditionRows(Protocol):
    """What the sampler needs of a text condition: rows that can be expanded to a batch and joined."""

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        ...

    def expand_to(self, batch: int) -> Self:
        """One row for the whole batch."""
        ...

    @classmethod
    def cat(cls, parts: Sequence[Any]) -> Self:
        """Rows of all parts."""
        ...


CondT = TypeVar("CondT", bound=ConditionRows)
CondT_contra = TypeVar("CondT_contra", bound=ConditionRows, contravariant=True)


class X0Predictor(Protocol[CondT_contra]):
    """What the sampler needs of a denoiser: its prediction has become ``x0``, once, at the model's boundary."""

    @property
    def process(self) -> NoiseProcess:
        """What ``x_t`` is."""
        ...

    @property
    def grid(self) -> TeacherGrid:
        """How the undistilled model samples."""
        ...

    @property
    def latent_channels(self) -> int:
        """C of the latents."""
        ...

    @property
    def patch_size(self) -> int:
        """Latent sides are its multiples."""
        ...

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: CondT_contra) -> Tensor:
        """Clean estimate (B, C, H, W) from ``x_t`` (B, C, H, W) at noise levels ``sigma`` (B,)."""
        ...
