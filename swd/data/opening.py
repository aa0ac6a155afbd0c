"""What is read and compared when a finished cache is opened, so that no contradiction waits for an iteration."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from swd.data.layout import CacheIndex, text_hash
from swd.data.shards import AGAIN, Shard, Wanted, read_shard
from swd.errors import CacheError


def read_prompts(folder: Path, index: CacheIndex) -> list[str]:
    """The distinct prompts, the empty one first.

    Raises:
        CacheError: no list of as many different texts as the index says.
    """
    path = folder / "prompts.json"
    prompts = _texts(path)
    if len(prompts) != index.num_prompts:
        raise CacheError(f"{path} holds {len(prompts)} prompts, and index.json says {index.num_prompts}: {AGAIN}")
    if prompts[:1] != [""] or len(set(prompts)) < len(prompts):
        raise CacheError(f"{path} is not what was written: expected different prompts, the empty one first: {AGAIN}")
    return prompts


def read_keys(folder: Path, index: CacheIndex) -> list[str] | None:
    """The key of every image, in a cache that has them.

    Raises:
        CacheError: they are not as many as the index says, or not those.
    """
    if not index.keyed:
        return None
    path = folder / "images.json"
    keys = _texts(path)
    if len(keys) != index.count:
        raise CacheError(f"{path} holds the keys of {len(keys)} images, and index.json says {index.count}: {AGAIN}")
    if not index.source.startswith(f"image files {text_hash(keys)};"):
        raise CacheError(f"{path} is of other images than index.json: {AGAIN}")
    return keys


def open_shards(shards: Sequence[Wanted], *, verify: bool) -> list[Shard]:
    """Map shards, several at a time where they are read whole.

    Raises:
        CacheError: as `read_shard`, the first of them.
    """
    if not verify:
        return [read_shard(wanted) for wanted in shards]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing lets go of the interpreter
        return list(pool.map(partial(read_shard, verify=True), shards))


def check_captions(folder: Path, index: CacheIndex, prompts: Sequence[str], latents: Sequence[Shard]) -> None:
    """Compare the captions, which prompts and their numbers give, with the hash that the index has of them.

    Raises:
        CacheError: they are others.
    """
    captions = (prompts[number] for shard in latents for number in shard["prompt"].tolist())
    wanted = index.source.rpartition("; captions ")
    if wanted[1] and text_hash(captions) != wanted[2]:
        raise CacheError(
            f"{folder / 'prompts.json'} or the shards' numbers of prompts are not what was written: {AGAIN}"
        )


def _texts(path: Path) -> list[str]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CacheError(f"{path} is missing: {AGAIN}") from None
    except OSError as error:
        raise CacheError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise CacheError(f"{path} cannot be read, it is no JSON: {AGAIN}") from error
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise CacheError(f"{path} is not what was written: expected a list of texts: {AGAIN}")
    return values
