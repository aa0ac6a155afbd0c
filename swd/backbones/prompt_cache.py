"""Encoded prompts that are kept: text encoders are most of the weights, and prompts come again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from swd.backbones.base import TextCondition


class PromptCache:
    """The last encoded prompts; the least recently used goes first.

    A row is what its first encoding gave, bit for bit. As with any product, that may differ in the last digits from
    an encoding in another batch.

    Args:
        size: prompts to keep; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._rows: OrderedDict[Hashable, TextCondition] = OrderedDict()
        self._encoders: object = None

    def __len__(self) -> int:
        return len(self._rows)

    def drop_unless(self, encoders: object) -> None:
        """Forget everything unless ``encoders`` equals what was told before."""
        if encoders != self._encoders:
            self._rows.clear()
        self._encoders = encoders

    def encode(
        self, prompts: Sequence[str], how: tuple[Hashable, ...], encode: Callable[[list[str]], TextCondition]
    ) -> TextCondition:
        """One row per prompt; those that are not kept go through ``encode`` together.

        Args:
            prompts: what to encode.
            how: whatever else the encoding depends on (length, device, dtype).
            encode: called with distinct prompts, one row each.
        """
        rows = {prompt: self._rows.get((prompt, *how)) for prompt in prompts}
        missing = [prompt for prompt, row in rows.items() if row is None]
        if missing:
            encoded = encode(missing)
            rows |= {prompt: encoded[[index]] for index, prompt in enumerate(missing)}
        for prompt, row in rows.items():
            self._rows[prompt, *how] = row
            self._rows.move_to_end((prompt, *how))
        while len(self._rows) > self.size:
            self._rows.popitem(last=False)
        return TextCondition.cat([rows[prompt] for prompt in prompts])
