"""Cached latents and prompt embeddings: everything that training reads, made once by ``build_cache``.

For every distinct side ``s`` of the schedule the cache holds the VAE latent of the image area-downscaled *in pixels*
to ``s``, and for every growing pair ``(l, s)`` the latent of that already downscaled image area-downscaled once more
to ``l`` (SwD v1, section 4: pixel-space downscaling is clearly better than latent downscaling). Latents
are whitened as the backbone does it. They are the mode of what the VAE's encoder predicts, a Gaussian; a cache with
moments holds its deviation too, so that each reading may draw from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from swd.backbones import backbone_named
from swd.backbones.base import Condition
from swd.data.layout import CacheIndex, deviation_key, growing_pairs, lower_key
from swd.data.opening import check_captions, open_shards, read_keys, read_prompts
from swd.data.shards import Shard
from swd.errors import CacheError
from swd.resize import downscale_area
from swd.rng import StepRandom, derived_rng
from swd.schedule import ScaleSchedule

PromptEncoder = Callable[[list[str]], Any]  # a condition of the backbone, one row for each prompt


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
    cond: Condition

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; a GPU copies from pinned memory, and nobody waits for it."""
        pinned = device.type == "cuda" and not self.target.is_cuda

        def moved(part: Tensor) -> Tensor:
            return (part.pin_memory() if pinned and not part.is_cuda else part).to(device, non_blocking=pinned)

        return Batch(moved(self.target), moved(self.lower), self.cond.map(moved))

    @property
    def nbytes(self) -> int:
        """What its tensors hold."""
        return sum(part.nbytes for part in (self.target, self.lower, *self.cond.tensors().values()))

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

    def __init__(
        self,
        index: CacheIndex,
        latents: list[Shard],
        embeddings: list[Shard],
        prompts: list[str],
        encoder: PromptEncoder | None = None,
    ) -> None:
        self.index, self.prompts = index, prompts
        self._latents, self._embeddings, self._encoder = latents, embeddings, encoder

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        pipeline: str | None = None,
        in_memory: bool = False,
        encoder: PromptEncoder | None = None,
        verify: bool = True,
    ) -> Self:
        """Open a finished cache.

        Whatever contradicts itself is found here: counts, sides, numbers of prompts, captions, shards of other images.

        Args:
            folder: where ``build_cache`` wrote it.
            pipeline: ``pipeline_fingerprint`` of the pipeline about to be used; checked when given.
            in_memory: read everything now in place of mapping the files.
            encoder: of prompts, for a cache that keeps captions alone; one with embeddings has no use for it.
            verify: read every shard once and compare it with its checksum, where it has one (earlier versions wrote
                none).

        Raises:
            CacheError: missing, torn, damaged or foreign cache, or one that needs an encoder; the message says what to
                do.
        """
        folder = Path(folder)
        index = CacheIndex.read(folder)
        if index.online and encoder is None:
            raise CacheError(f"{folder} keeps captions without their embeddings: open it with an encoder of prompts")
        if pipeline is not None and pipeline != index.pipeline:
            raise CacheError(
                f"{folder} was made with another VAE, text encoder or tokenizer (fingerprint {index.pipeline}, "
                f"this pipeline has {pipeline}): build a cache for this pipeline in another folder"
            )
        prompts, keys = read_prompts(folder, index), read_keys(folder, index)
        latents = open_shards(index.wanted_latents(folder, keys), verify=verify)
        check_captions(folder, index, prompts, latents)
        embeddings = open_shards(index.wanted_prompts(folder, prompts), verify=verify)
        if in_memory:
            latents, embeddings = [[{k: v.clone() for k, v in s.items()} for s in x] for x in (latents, embeddings)]
        return cls(index, latents, embeddings, prompts, encoder if index.online else None)

    def __len__(self) -> int:
        """Number of images."""
        return self.index.count

    @cached_property
    def empty(self) -> Condition:
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

    def condition(self, rows: Sequence[int]) -> Condition:
        """Prompt embeddings of the images, one each."""
        return self._condition(self._prompt_rows(rows))

    def batch(
        self,
        rows: Sequence[int],
        schedule: ScaleSchedule,
        step: int,
        random: StepRandom | None = None,
        *,
        from_latents: bool = False,
    ) -> Batch:
        """What student step ``step`` trains on: targets at its scale, inputs from the scale before (section 4).

        Args:
            rows: images.
            schedule: the student's.
            step: of it.
            random: draws latents from the Gaussians of the VAE, which takes a cache with moments; their modes when
                absent.
            from_latents: downscale the latents of the whole images, by area, in place of their pixels.
        """
        side = schedule.scales[step]
        below = schedule.scales[step - 1] if step else side
        if from_latents:
            whole = schedule.scales[-1]
            latents = self._drawn(whole, whole, rows, random, "whole latent")
            target, lower = (downscale_area(latents, (size, size)) for size in (side, below))
            return Batch(target, lower, self.condition(rows))
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

    def _condition(self, prompts: Sequence[int]) -> Condition:
        if self._encoder is not None:
            made: Condition = self._encoder([self.prompts[index] for index in prompts])
            return made
        size = self.index.prompt_shard_size
        kind = backbone_named(self.index.backbone).condition
        return kind(**{name: _gather(self._embeddings, name, prompts, size) for name in self._embeddings[0]})


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


def _gather(shards: list[Shard], key: str, rows: Sequence[int], size: int) -> Tensor:
    return torch.stack([shards[row // size][key][row % size] for row in rows])
