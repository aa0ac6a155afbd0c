"""Cached latents and prompt embeddings: everything that training reads, made once by ``build_cache``.

For every distinct side ``s`` of the schedule the cache holds the VAE latent of the image area-downscaled *in pixels*
to ``s``, and for every growing pair ``(l, s)`` the latent of that already downscaled image area-downscaled once more
to ``l`` (SwD v1, section 4: pixel-space downscaling is clearly better than latent downscaling). Latents are normalised
as SD3 does: ``(z - shift_factor) * scaling_factor``. They are the mode of what the VAE's encoder predicts, a Gaussian;
a cache with moments holds its deviation too, so that each reading may draw from it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from swd.backbones.base import TextCondition
from swd.errors import CacheError
from swd.rng import StepRandom, derived_rng
from swd.schedule import ScaleSchedule

SCHEMA = 2
AGAIN = "run the same `build_cache` again, it makes only what is missing"
Shard = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class CacheIndex:
    """What a cache folder holds and what it was made from (``index.json``)."""

    schema: int
    fingerprint: str
    pipeline: str
    scales: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    dtype: str
    count: int
    shard_size: int
    num_prompts: int
    prompt_shard_size: int
    source: str
    moments: bool

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``folder/index.json``.

        Raises:
            CacheError: there is none, or it is not a cache index of this version.
        """
        try:
            values = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            schema = values["schema"]
            if schema == SCHEMA:
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
        return asdict(self)

    def latent_shards(self) -> list[tuple[str, int, int]]:
        """(file name, first image, one past the last image) of every latent shard."""
        return _shards("latents", self.count, self.shard_size)

    def prompt_shards(self) -> list[tuple[str, int, int]]:
        """(file name, first prompt, one past the last prompt) of every prompt shard."""
        return _shards("prompts", self.num_prompts, self.prompt_shard_size)


@dataclass(frozen=True, slots=True)
class Batch:
    """Data of one update, all at one scale ``s``.

    Attributes:
        target: real latents at ``s``, (B, C, s, s) float32.
        lower: real latents at the scale of the step before, (B, C, l, l); the target itself where the scale stays.
        cond: prompt embeddings, B of them, in the dtype of the cache.
    """

    target: Tensor
    lower: Tensor
    cond: TextCondition

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; a GPU copies from pinned memory, and nobody waits for it."""
        pinned = device.type == "cuda" and not self.target.is_cuda
        parts = [(part.pin_memory() if pinned else part).to(device, non_blocking=pinned) for part in self._parts]
        return Batch(parts[0], parts[1], TextCondition(parts[2], parts[3]))

    @property
    def nbytes(self) -> int:
        """What its tensors hold."""
        return sum(part.nbytes for part in self._parts)

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.target, self.lower, self.cond.prompt_embeds, self.cond.pooled

    def __len__(self) -> int:
        """B, the number of images."""
        return len(self.target)

    def __getitem__(self, rows: slice) -> "Batch":
        """Some of the images."""
        return Batch(self.target[rows], self.lower[rows], self.cond[rows])


class LatentCache:
    """Read side of a cache folder; shards are memory-mapped unless ``in_memory``.

    Attributes:
        index: what the cache was made from.
        prompts: the distinct prompts; the first is the empty one, which guidance needs.
    """

    def __init__(self, index: CacheIndex, latents: list[Shard], embeddings: list[Shard], prompts: list[str]) -> None:
        self.index, self.prompts = index, prompts
        self._latents, self._embeddings = latents, embeddings

    @classmethod
    def open(cls, folder: Path, *, pipeline: str | None = None, in_memory: bool = False) -> Self:
        """Open a finished cache.

        Args:
            folder: where ``build_cache`` wrote it.
            pipeline: ``pipeline_fingerprint`` of the pipeline about to be used; checked when given.
            in_memory: read everything now in place of mapping the files.

        Raises:
            CacheError: missing, torn or foreign cache; the message says which and what to do.
        """
        folder = Path(folder)
        index = CacheIndex.read(folder)
        if pipeline is not None and pipeline != index.pipeline:
            raise CacheError(
                f"{folder} was made with another VAE, text encoder or tokenizer (fingerprint {index.pipeline}, "
                f"this pipeline has {pipeline}): build a cache for this pipeline in another folder"
            )
        try:
            prompts = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CacheError(f"{folder / 'prompts.json'} cannot be read ({error}): {AGAIN}") from error
        latents = [read_shard(folder / name, index.fingerprint) for name, _, _ in index.latent_shards()]
        embeddings = [read_shard(folder / name, index.fingerprint) for name, _, _ in index.prompt_shards()]
        if in_memory:
            latents, embeddings = [[{k: v.clone() for k, v in s.items()} for s in x] for x in (latents, embeddings)]
        return cls(index, latents, embeddings, prompts)

    def __len__(self) -> int:
        """Number of images."""
        return self.index.count

    @property
    def empty(self) -> TextCondition:
        """Embedding of the empty prompt, (1, ...), for classifier-free guidance."""
        return self._condition([0])

    def latents(self, side: int, rows: Sequence[int]) -> Tensor:
        """Latents of the images downscaled to ``side``, (B, C, side, side) float32."""
        return self.lower(side, side, rows)

    def lower(self, low: int, side: int, rows: Sequence[int]) -> Tensor:
        """Latents at ``low`` of the images already downscaled to ``side``, (B, C, low, low) float32."""
        return _gather(self._latents, lower_key(low, side), rows, self.index.shard_size).float()

    def captions(self, rows: Sequence[int]) -> list[str]:
        """Captions of the images."""
        return [self.prompts[index] for index in self._prompt_rows(rows)]

    def condition(self, rows: Sequence[int]) -> TextCondition:
        """Prompt embeddings of the images, one each."""
        return self._condition(self._prompt_rows(rows))

    def batch(self, rows: Sequence[int], schedule: ScaleSchedule, step: int, random: StepRandom | None = None) -> Batch:
        """What student step ``step`` trains on: targets at its scale, inputs from the scale before (section 4).

        Args:
            rows: images.
            schedule: the student's.
            step: of it.
            random: draws latents from the Gaussians of the VAE, which takes a cache with moments; their modes when
                absent.
        """
        side = schedule.scales[step]
        below = schedule.scales[step - 1] if step else side
        target = self._drawn(side, side, rows, random, "target latent")
        lower = target if below == side else self._drawn(below, side, rows, random, "lower latent")
        return Batch(target, lower, self.condition(rows))

    def check(self, schedule: ScaleSchedule, *, moments: bool = False) -> None:
        """Make sure that every step of ``schedule`` has its data.

        Args:
            schedule: the student's.
            moments: whether latents are to be drawn.

        Raises:
            CacheError: a scale, or a pair of neighbouring scales, or the deviations are not in the cache.
        """
        if moments and not self.index.moments:
            raise CacheError(
                "the cache holds the mode of every latent alone, but sample_latents draws them: build a cache with "
                "moments (`python -m swd.cache --moments`)"
            )
        missing = [side for side in schedule.scales if side not in self.index.scales]
        lacking = [pair for pair in growing_pairs(schedule.scales) if pair not in self.index.pairs]
        if missing or lacking:
            raise CacheError(
                f"the cache holds scales {self.index.scales} with pairs {self.index.pairs}, but the schedule also "
                f"needs scales {missing} and pairs {lacking}: build a cache with all scales of the schedule"
            )

    def _drawn(self, low: int, side: int, rows: Sequence[int], random: StepRandom | None, purpose: str) -> Tensor:
        """What ``lower`` gives, or with random numbers a draw around it."""
        mode = self.lower(low, side, rows)
        if random is None:
            return mode
        deviation = _gather(self._latents, deviation_key(lower_key(low, side)), rows, self.index.shard_size).float()
        return mode + deviation * random.normal(purpose, mode)

    def _prompt_rows(self, rows: Sequence[int]) -> list[int]:
        return _gather(self._latents, "prompt", rows, self.index.shard_size).tolist()

    def _condition(self, prompts: Sequence[int]) -> TextCondition:
        size = self.index.prompt_shard_size
        embeds, pooled = (_gather(self._embeddings, key, prompts, size) for key in ("prompt_embeds", "pooled"))
        return TextCondition(embeds, pooled)


def growing_pairs(scales: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Neighbouring scales of a schedule that differ, (low, high), once each."""
    return tuple(dict.fromkeys((low, high) for low, high in pairwise(scales) if low != high))


def lower_key(low: int, side: int) -> str:
    """Shard key of the latent at ``low`` of the image already downscaled to ``side``, which may be equal."""
    return f"side_{low}_from_{side}" if low != side else f"side_{side}"


def deviation_key(latents: str) -> str:
    """Shard key of the standard deviation of the latents under another key."""
    return f"{latents}_deviation"


def data_rows(seed: int, position: int, batch_size: int, count: int) -> list[int]:
    """Images number ``position * batch_size`` and on of an endless stream of epochs, each its own permutation.

    A pure function of its arguments, so the position in the data is one integer and a resumed run reads on exactly.
    """
    first = position * batch_size
    order: dict[int, Tensor] = {}
    rows = []
    for place in range(first, first + batch_size):
        epoch, offset = divmod(place, count)
        if epoch not in order:
            order[epoch] = torch.randperm(count, generator=derived_rng(seed, "epoch", epoch))
        rows.append(int(order[epoch][offset]))
    return rows


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
        return (file.metadata() or {}).get("fingerprint", "")


def _shards(stem: str, count: int, size: int) -> list[tuple[str, int, int]]:
    starts = range(0, count, size)
    return [(f"{stem}-{i:05d}.safetensors", start, min(start + size, count)) for i, start in enumerate(starts)]


def _gather(shards: list[Shard], key: str, rows: Sequence[int], size: int) -> Tensor:
    return torch.stack([shards[row // size][key][row % size] for row in rows])
