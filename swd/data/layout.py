"""What a cache folder looks like: ``index.json``, ``prompts.json``, shards of latents and of prompt embeddings."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from swd.errors import CacheError

SCHEMA = 3
ONLINE_SCHEMA = 4  # captions in place of embeddings; what version 3 reads is written as version 3
AGAIN = "run the same `build_cache` again, it makes only what is missing"
Shard = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class CacheIndex:
    """What a cache folder holds and what it was made from (``index.json``).

    Attributes:
        online: prompts are kept as text alone, and whoever reads the cache encodes them.
    """

    schema: int
    fingerprint: str
    pipeline: str
    backbone: str
    scales: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    dtype: str
    count: int
    shard_size: int
    num_prompts: int
    prompt_shard_size: int
    source: str
    moments: bool
    online: bool = False

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``folder/index.json``.

        Raises:
            CacheError: there is none, or it is not a cache index of this version.
        """
        try:
            values = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            schema = values["schema"]
            if schema in (SCHEMA, ONLINE_SCHEMA):
                values["scales"] = tuple(values["scales"])
                values["pairs"] = tuple((low, high) for low, high in values["pairs"])
                return cls(**values)
        except FileNotFoundError:
            raise CacheError(f"{folder} holds no latent cache: make one with `python -m swd.cache`") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CacheError(f"{folder / 'index.json'} cannot be read ({error}): build the cache again") from error
        raise CacheError(
            f"{folder} is a cache of schema {schema}, this version reads {SCHEMA}: build it in another folder"
        )

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        values = asdict(self)
        if self.schema == SCHEMA:
            del values["online"]
        return values

    @property
    def content(self) -> str:
        """Names what a batch holds: caches that differ in sides or shards alone give the same batches at a side."""
        beside = ("schema", "fingerprint", "scales", "pairs", "shard_size", "prompt_shard_size")
        values = {name: value for name, value in self.as_json().items() if name not in beside}
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]

    @property
    def token_length(self) -> int | None:
        """Tokens per prompt of the text encoder whose length can be chosen; None where the cache does not say."""
        found = re.search(r"; (\d+) text tokens; captions \w+$", self.source)
        return int(found[1]) if found else None

    def latent_shards(self) -> list[tuple[str, int, int]]:
        """(file name, first image, one past the last image) of every latent shard."""
        return _shards("latents", self.count, self.shard_size)

    def prompt_shards(self) -> list[tuple[str, int, int]]:
        """(file name, first prompt, one past the last prompt) of every prompt shard."""
        return [] if self.online else _shards("prompts", self.num_prompts, self.prompt_shard_size)


def growing_pairs(scales: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Neighbouring scales of a schedule that differ, (low, high), once each."""
    return tuple(dict.fromkeys((low, high) for low, high in pairwise(scales) if low != high))


def lower_key(low: int, side: int) -> str:
    """Shard key of the latent at ``low`` of the image already downscaled to ``side``, which may be equal."""
    return f"side_{low}_from_{side}" if low != side else f"side_{side}"


def deviation_key(latents: str) -> str:
    """Shard key of the standard deviation of the latents under another key."""
    return f"{latents}_deviation"


def read_shard(path: Path, fingerprint: str) -> Shard:
    """Map one shard.

    Raises:
        CacheError: the shard is missing, torn, or belongs to another cache.
    """
    try:
        shard = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CacheError(f"{path} is missing or torn ({error}): {AGAIN}") from error
    if shard_fingerprint(path) != fingerprint:
        raise CacheError(f"{path} belongs to another cache: {AGAIN}")
    return shard


def shard_fingerprint(path: Path) -> str:
    """The fingerprint in a shard's header."""
    with safe_open(path, framework="pt") as file:
        return str((file.metadata() or {}).get("fingerprint", ""))


def _shards(stem: str, count: int, size: int) -> list[tuple[str, int, int]]:
    starts = range(0, count, size)
    return [(f"{stem}-{i:05d}.safetensors", start, min(start + size, count)) for i, start in enumerate(starts)]
