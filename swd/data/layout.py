"""What a cache folder looks like: ``index.json``, ``prompts.json``, shards of latents and of prompt embeddings.

A cache that knows its images (``swd.cache``) has ``images.json`` too, the key of every image, and is *keyed*: its
fingerprint says how the rows are made, and shards say which rows they hold. The fingerprint of a cache that was given
tensors names all its images at once, by whatever its source says.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch

from swd.data.shards import AGAIN, Wanted, key_of
from swd.errors import CacheError, no_cache

SCHEMA = 3
ONLINE_SCHEMA = 4  # captions in place of embeddings; what version 3 reads is written as version 3
KEYED = re.compile(r"image files [0-9a-f]{16}; \d+ text tokens; captions [0-9a-f]{16}$")
OF_IMAGES = ("count", "num_prompts", "source")  # in a keyed cache, these follow its images alone


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
            CacheError: there is none, it is no cache index of this version, or it was changed since it was written.
        """
        path = folder / "index.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise no_cache(folder) from None
        except OSError as error:
            raise CacheError(f"{path} cannot be read ({error.strerror or error})") from error
        except (ValueError, RecursionError) as error:
            raise DamagedIndexError(f"{path} cannot be read, it is no JSON: {AGAIN}") from error
        schema = values.get("schema", SCHEMA) if isinstance(values, dict) else SCHEMA
        if schema not in (SCHEMA, ONLINE_SCHEMA):
            raise CacheError(
                f"{folder} is a cache of schema {schema}, this version reads {SCHEMA}: build it in another folder"
            )
        index = cls._of_json(values)
        if index is None or index.fingerprint != index.own_fingerprint:
            raise DamagedIndexError(f"{path} cannot be read, it is not what was written: {AGAIN}")
        return index

    @classmethod
    def _of_json(cls, values: Any) -> Self | None:
        try:
            scales, pairs = tuple(values["scales"]), tuple((low, high) for low, high in values["pairs"])
            return cls(**{**values, "scales": scales, "pairs": pairs})
        except (TypeError, ValueError, KeyError):
            return None

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

    @property
    def keyed(self) -> bool:
        """Whether the cache knows its images, so that shards say which of them they hold."""
        return KEYED.match(self.source) is not None

    @property
    def own_fingerprint(self) -> str:
        """What ``fingerprint`` is to be: a hash of all else, or in a keyed cache of what does not follow its images."""
        values = {**self.as_json(), "fingerprint": ""}
        if self.keyed:
            values |= dict.fromkeys(OF_IMAGES, None) | {"text_tokens": self.token_length}
        return text_hash([json.dumps(values)])

    def wanted_latents(
        self, folder: Path, keys: Sequence[str] | None = None, prompts: Sequence[int] | None = None
    ) -> list[Wanted]:
        """What every shard of latents has to hold.

        Args:
            folder: of the cache.
            keys: of all images, where the cache is keyed.
            prompts: number of every image's prompt, where it is known beforehand.
        """
        sides = {lower_key(side, side): side for side in self.scales}
        sides |= {lower_key(low, side): low for low, side in self.pairs}
        if self.moments:
            sides |= {deviation_key(key): side for key, side in sides.items()}
        return [
            self._wanted(folder / name, range(start, stop), sides, keys, prompts)
            for name, start, stop in self.latent_shards()
        ]

    def wanted_prompts(self, folder: Path, prompts: Sequence[str]) -> list[Wanted]:
        """What every shard of embeddings has to hold."""
        keys = [key_of(prompt.encode()) for prompt in prompts] if self.keyed else None
        return [
            self._wanted(folder / name, range(start, stop), None, keys) for name, start, stop in self.prompt_shards()
        ]

    def _wanted(
        self,
        path: Path,
        rows: range,
        sides: Mapping[str, int] | None,
        keys: Sequence[str] | None,
        prompts: Sequence[int] | None = None,
    ) -> Wanted:
        return Wanted(
            path,
            self.fingerprint,
            rows.start,
            len(rows),
            getattr(torch, self.dtype),
            sides,
            self.num_prompts,
            None if keys is None else tuple(keys[rows.start : rows.stop]),
            None if prompts is None else tuple(prompts[rows.start : rows.stop]),
        )

    def latent_shards(self) -> list[tuple[str, int, int]]:
        """(file name, first image, one past the last image) of every latent shard."""
        return _shards("latents", self.count, self.shard_size)

    def prompt_shards(self) -> list[tuple[str, int, int]]:
        """(file name, first prompt, one past the last prompt) of every prompt shard."""
        return [] if self.online else _shards("prompts", self.num_prompts, self.prompt_shard_size)


class DamagedIndexError(CacheError):
    """An ``index.json`` that is not what was written: shards are judged by their own headers."""


def source_of(source: str, keys: Sequence[str] | None, token_length: int, captions: Iterable[str]) -> str:
    """What images and captions a cache is of, in words.

    Args:
        source: as its maker names the images.
        keys: of the images, which then name them in its place.
        token_length: of the text encoder whose length can be chosen.
        captions: one per image.
    """
    named = source if keys is None else f"image files {text_hash(keys)}"
    return f"{named}; {token_length} text tokens; captions {text_hash(captions)}"


def text_hash(texts: Iterable[str]) -> str:
    """Short SHA-256 of texts in order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


def growing_pairs(scales: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Neighbouring scales of a schedule that differ, (low, high), once each."""
    return tuple(dict.fromkeys((low, high) for low, high in pairwise(scales) if low != high))


def lower_key(low: int, side: int) -> str:
    """Shard key of the latent at ``low`` of the image already downscaled to ``side``, which may be equal."""
    return f"side_{low}_from_{side}" if low != side else f"side_{side}"


def deviation_key(latents: str) -> str:
    """Shard key of the standard deviation of the latents under another key."""
    return f"{latents}_deviation"


def _shards(stem: str, count: int, size: int) -> list[tuple[str, int, int]]:
    starts = range(0, count, size)
    return [(f"{stem}-{i:05d}.safetensors", start, min(start + size, count)) for i, start in enumerate(starts)]
