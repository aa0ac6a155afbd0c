"""Encoded prompts that are kept: text encoders are most of the weights, and prompts come again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from swd.backbones.base import Condition

CondT = TypeVar("CondT", bound=Condition)
PromptT = TypeVar("PromptT", bound=Hashable)


class PromptCache(Generic[CondT]):
    """The last encoded prompts; the least recently used goes first.

    A row is what its first encoding gave, bit for bit. As with any product, that may differ in the last digits from
    an encoding in another batch.

    Args:
        size: prompts to keep; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._rows: OrderedDict[Hashable, CondT] = OrderedDict()
        self._encoders: object = None

    def __len__(self) -> int:
        return len(self._rows)

    def drop_unless(self, encoders: object) -> None:
        """Forget everything unless ``encoders`` equals what was told before."""
        if encoders != self._encoders:
            self._rows.clear()
        self._encoders = encoders

    def encode(
        self, prompts: Sequence[PromptT], how: tuple[Hashable, ...], encode: Callable[[list[PromptT]], CondT]
    ) -> CondT:
        """One row per prompt; those that are not kept go through ``encode`` together.

        Args:
            prompts: what to encode: a text, or one for each text encoder.
            how: whatever else the encoding depends on (length, device, dtype).
            encode: called with distinct prompts, one row each.
        """
        rows = {prompt: self._rows[prompt, *how] for prompt in prompts if (prompt, *how) in self._rows}
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in rows]
        if missing:
            encoded = encode(missing)
            rows |= {prompt: encoded[[index]] for index, prompt in enumerate(missing)}
        for prompt in dict.fromkeys(prompts):
            row = rows[prompt]
            self._rows[prompt, *how] = row
            self._rows.move_to_end((prompt, *how))
        while len(self._rows) > self.size:
            self._rows.popitem(last=False)
        return type(row).cat([rows[prompt] for prompt in prompts])
