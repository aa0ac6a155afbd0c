"""What networks are conditioned on, as rows: one per image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Condition:
    """What a family is conditioned on; a frozen dataclass derives from it, all fields tensors with the batch first."""

    knows_size: ClassVar[bool] = False  # whether the network is told the size of the finished image

    def __post_init__(self) -> None:
        shapes = {name: tuple(value.shape) for name, value in self.tensors().items()}
        if len({shape[:1] for shape in shapes.values()}) != 1:
            raise ValueError(f"{type(self).__name__} needs as many rows in every field, got {shapes}")

    def tensors(self) -> dict[str, Tensor]:
        """Fields by name, as the constructor takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Every field changed in the same way."""
        return type(self)(**{name: change(value) for name, value in self.tensors().items()})

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def __getitem__(self, index: slice | Tensor | list[int]) -> Self:
        """Rows chosen by a slice, a list or an index tensor."""
        return self.map(lambda value: value[index])

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter(self.tensors().values())).device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """All tensors moved and cast."""
        return self.map(lambda value: value.to(device=device, dtype=dtype))

    def repeat(self, n: int) -> Self:
        """Each row ``n`` times in a row: a, a, b, b for n = 2."""
        return self.map(lambda value: value.repeat_interleave(n, 0))

    def expand_to(self, batch: int) -> Self:
        """One condition for a whole batch (no copy); a batch of the right size is itself.

        Raises:
            ValueError: when there are neither 1 nor ``batch`` rows.
        """
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise ValueError(f"cannot expand {len(self)} conditions to a batch of {batch}: need 1 or {batch}")
        return self.map(lambda value: value.expand(batch, *value.shape[1:]))

    def for_image(self, height: int, width: int) -> Self:
        """The same for a finished image of this size in pixels; most networks are not told.

        Args:
            height: of the image that the last latent becomes.
            width: the same.
        """
        return self

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Rows of all parts, in order."""
        columns = [part.tensors() for part in parts]
        return cls(**{name: torch.cat([column[name] for column in columns]) for name in columns[0]})
