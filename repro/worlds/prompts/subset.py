"""Which prompts of a set are taken, and which seed each image has: hashes of ids, so that no order plays a part.

A prompt's rank is SHA-256 of "subset", a salt and its id. A set is always in the order of ranks and a subset is its
beginning: the 5,000 of a set are the first 5,000 of its 30,000, the subset of a subset is the subset, and a file that
was sorted gives the same.

The seed of image k of a prompt is 256 h + k with h the first 44 bits of SHA-256 of "image", a salt and the id. Seeds of
one prompt differ by construction; they fit 53 bits, so that JSON and float64 keep them exact.
"""

import hashlib
from collections.abc import Sequence

from repro.worlds.prompts.entry import PromptEntry

IMAGES_PER_PROMPT = 256  # at most
VERSION = 1  # raise it when a subset or a seed changes


def subset(entries: Sequence[PromptEntry], count: int | None = None, *, salt: int = 0) -> list[PromptEntry]:
    """The first ``count`` entries by rank, or all of them.

    Raises:
        ValueError: there are fewer, or ``count`` is not positive.
    """
    if count is not None and not 0 < count <= len(entries):
        raise ValueError(f"{len(entries)} prompts do not give {count}; expected between 1 and {len(entries)}")
    return sorted(entries, key=lambda entry: _digest("subset", salt, entry.id))[:count]


def image_seed(prompt_id: str, index: int = 0, *, salt: int = 0) -> int:
    """Seed of an image, below 2 ** 52; distinct for the images of a prompt.

    Raises:
        ValueError: ``index`` is out of range.
    """
    if not 0 <= index < IMAGES_PER_PROMPT:
        raise ValueError(f"image {index} of a prompt; expected 0 to {IMAGES_PER_PROMPT - 1}")
    high = int.from_bytes(_digest("image", salt, prompt_id)[:6], "big") >> 4  # 44 bits
    return high * IMAGES_PER_PROMPT + index


def _digest(purpose: str, salt: int, prompt_id: str) -> bytes:
    return hashlib.sha256(f"{purpose}/{salt}/{prompt_id}".encode()).digest()
