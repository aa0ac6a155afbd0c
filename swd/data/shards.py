"""Shards of a cache: safetensors files whose header says what they are of, with a checksum over all that they hold.

A shard of a cache that knows its images names the key of every row, the SHA-256 of an image file or of a caption. So
it is known which rows are of what, whatever happened to the list of images since.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from swd.errors import CacheError
from swd.files import write_tensors

Shard = dict[str, Tensor]
AGAIN = "run the same `build_cache` or `python -m swd.cache` again, it makes only what is missing"
KEY_LENGTH = 32  # hexadecimal digits of SHA-256 that a key keeps
_SEPARATOR = " "


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a shard has to hold, by the plan of its cache.

    Attributes:
        path: of the file.
        fingerprint: of the cache.
        start: first image or prompt.
        count: rows.
        dtype: of latents and embeddings.
        sides: side of the latents under every key; None in a shard of prompts, whose keys the backbone names.
        num_prompts: distinct prompts of the cache.
        keys: of the rows, where the cache knows its images.
        prompts: number of every image's prompt, where it is known beforehand.
    """

    path: Path
    fingerprint: str
    start: int
    count: int
    dtype: torch.dtype
    sides: Mapping[str, int] | None
    num_prompts: int
    keys: tuple[str, ...] | None = None
    prompts: tuple[int, ...] | None = None

    @property
    def rows(self) -> range:
        """Numbers of its images or prompts."""
        return range(self.start, self.start + self.count)


def key_of(data: bytes) -> str:
    """Key of what a row is made from."""
    return hashlib.sha256(data).hexdigest()[:KEY_LENGTH]


def write_shard(path: Path, shard: Shard, fingerprint: str, keys: Sequence[str] | None = None) -> None:
    """Save a shard, atomically and flushed to disk.

    Raises:
        OutputFolderError: it cannot be written.
    """
    facts = {"fingerprint": fingerprint}
    if keys is not None:
        facts["rows"] = _SEPARATOR.join(keys)
    write_tensors(path, shard, {**facts, "sha256": checksum(shard, facts)})


def read_shard(wanted: Wanted, *, verify: bool = False) -> Shard:
    """Map one shard, and compare it with what it has to hold.

    Args:
        wanted: what that is.
        verify: read it whole and compare with its checksum; a shard of before there were any passes.

    Raises:
        CacheError: the shard is missing, torn or damaged, or belongs to another cache; the message names it.
    """
    path = wanted.path
    try:
        shard, facts = load_file(path), shard_facts(path)
    except (OSError, SafetensorError) as error:
        raise CacheError(f"{path} is missing or torn ({error}): {AGAIN}") from error
    if facts.get("fingerprint", "") != wanted.fingerprint:
        raise CacheError(f"{path} belongs to another cache: {AGAIN}")
    if wanted.keys is not None and _keys(facts) != wanted.keys:
        raise CacheError(f"{path} is of other images or prompts than the cache lists: {AGAIN}")
    if fault := _fault(shard, wanted):
        raise CacheError(f"{path} {fault}: {AGAIN}")
    if verify and not is_sound(shard, facts):
        raise CacheError(f"{path} is not what was written (its SHA-256 is another): {AGAIN}")
    return shard


def shard_facts(path: Path) -> dict[str, str]:
    """What a shard's header says beside its tensors."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def is_sound(shard: Shard, facts: Mapping[str, str]) -> bool:
    """Whether tensors and header are those that were written, as far as a checksum was."""
    plain = {name: value for name, value in facts.items() if name != "sha256"}
    return "sha256" not in facts or facts["sha256"] == checksum(shard, plain)


def checksum(shard: Shard, facts: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, and the facts."""
    digest = hashlib.sha256()
    for name, value in sorted(facts.items()):
        digest.update(f"{name}={value}\0".encode())
    for name, tensor in sorted(shard.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint_of(path: Path) -> str | None:
    """The fingerprint in a shard's header; None of a file that is torn."""
    try:
        return shard_facts(path).get("fingerprint", "")
    except (OSError, SafetensorError):
        return None


def shard_rows(folder: Path, stem: str, fingerprint: str, *, beside: Collection[Path]) -> dict[str, tuple[Shard, int]]:
    """Shard and row of every key that sound shards in a folder hold, whatever list they belonged to.

    Args:
        folder: of the shards.
        stem: of their names.
        fingerprint: that they must have.
        beside: shards that are left out.
    """
    found: dict[str, tuple[Shard, int]] = {}
    for path in sorted(set(folder.glob(f"{stem}-*.safetensors")) - set(beside)):
        try:
            shard, facts = load_file(path), shard_facts(path)
        except (OSError, SafetensorError):
            continue
        whole = {"rows", "sha256"} <= facts.keys() and is_sound(shard, facts)
        if whole and facts.get("fingerprint") == fingerprint:
            found |= {key: (shard, row) for row, key in enumerate(_keys(facts))}
    return found


def _keys(facts: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(facts.get("rows", "").split(_SEPARATOR))


def _fault(shard: Shard, wanted: Wanted) -> str | None:
    """What is wrong with the shapes or the numbers of prompts, if anything."""
    sides = wanted.sides
    expected = set(sides) | {"prompt"} if sides is not None else set(shard)
    if lacking := sorted(expected - set(shard)) or (["embeddings"] if not expected else []):
        return f"lacks {', '.join(lacking)}"
    if more := sorted(set(shard) - expected):
        return f"holds {', '.join(more)}, which the cache does not list"
    for name, tensor in shard.items():
        if tensor.ndim < 1 or len(tensor) != wanted.count:
            return f"holds {len(tensor) if tensor.ndim else 'no'} rows of {name}, expected {wanted.count}"
        if name != "prompt" or sides is None:
            if tensor.dtype != wanted.dtype:
                return f"holds {name} in {tensor.dtype}, expected {wanted.dtype}"
            if sides is not None and (tensor.ndim != 4 or tuple(tensor.shape[2:]) != (sides[name], sides[name])):
                return f"holds {name} of shape {tuple(tensor.shape[1:])}, expected sides of {sides[name]}"
    return _prompt_fault(shard["prompt"], wanted) if sides is not None else None


def _prompt_fault(numbers: Tensor, wanted: Wanted) -> str | None:
    if numbers.ndim != 1 or numbers.is_floating_point():
        return "holds no numbers of prompts"
    if int(numbers.min()) < 0 or int(numbers.max()) >= wanted.num_prompts:
        worst = next(number for number in numbers.tolist() if not 0 <= number < wanted.num_prompts)
        return f"names prompt {worst}, but the cache has {wanted.num_prompts}, counted from 0"
    if wanted.prompts is not None and tuple(numbers.tolist()) != wanted.prompts:
        return "is of other captions than the cache lists"
    return None
