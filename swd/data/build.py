"""Make a latent cache: pixels -> downscaled pixels -> VAE latents, prompts -> embeddings, shard by shard.

Finished shards are never made again: a build that was killed continues, and a torn shard is rebuilt. Shards do not
depend on each other, so several processes share a build without a word between them: shard ``i`` is made by process
``i % processes``, and holds the same bits whoever makes it.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from swd.backbones import backbone_of
from swd.backbones.fingerprint import pipeline_fingerprint
from swd.data.cache import LatentCache
from swd.data.encoding import BatchEncoder
from swd.data.layout import ONLINE_SCHEMA, SCHEMA, CacheIndex, Shard, growing_pairs, read_shard
from swd.data.reading import ImageReader
from swd.errors import CacheError, OutputFolderError
from swd.files import probe_writable, write_json, write_tensors

SLACK_BYTES = 1 << 20  # index, prompts as text, headers


def build_cache(
    images: Iterable[Tensor],
    captions: Sequence[str],
    pipeline: Any,
    scales: Sequence[int],
    folder: Path,
    *,
    progress: bool = True,
    **options: Any,
) -> LatentCache:
    """Encode every image at every scale and every distinct prompt once, and open the result.

    Args:
        images: one square (3, H, W) per caption, float in [-1, 1] or uint8; at least the largest scale in size. A
            sequence is read only where shards are missing, an iterator is read through.
        captions: one per image.
        pipeline: of a known backbone; its VAE, ``vae_scale_factor`` and text encoders are used.
        scales: latent sides of the schedule; several schedules give all their sides, with ``pairs``.
        folder: where the shards go.
        progress: show progress bars.
        options: of `plan_cache`.

    Raises:
        CacheError: the folder holds a cache of other data, a caption is empty or over-long, or images do not fit the
            captions or scales.
        OutputFolderError: the folder cannot be written or has no room for what is missing, raised before the work;
            or the disk became full on the way, and finished shards are kept.
    """
    plan = plan_cache(captions, pipeline, scales, folder, **options)
    plan.check_room(progress=progress)
    plan.build(images, progress=progress)
    return plan.open()


def plan_cache(
    captions: Sequence[str],
    pipeline: Any,
    scales: Sequence[int],
    folder: Path,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    source: str = "",
    dtype: torch.dtype = torch.float32,
    moments: bool = False,
    online: bool = False,
    batch_size: int = 32,
    shard_size: int = 1024,
    max_sequence_length: int | None = None,
    truncate: bool = False,
) -> "CachePlan":
    """What a cache will hold, before anything is written.

    Args:
        captions: one per image.
        pipeline: of a known backbone.
        scales: latent sides of the schedule; several schedules give all their sides, with ``pairs``.
        folder: where the shards go.
        pairs: neighbouring scales (low, high) whose lower latents are needed; those of ``scales`` when absent.
        source: names the images (a seed, a data hash): part of the fingerprint, since pixels are not hashed.
        dtype: of the stored tensors.
        moments: store the deviation of every latent beside its mode, for ``DistillConfig.sample_latents``; twice the
            size.
        online: keep prompts as text; training encodes them, with the text encoders beside the network.
        batch_size: images, and prompts, per pass.
        shard_size: images per file.
        max_sequence_length: tokens of the text encoder whose length can be chosen; the pipeline's own number when
            absent.
        truncate: cut over-long captions where the encoders do, rather than refuse them.

    Raises:
        CacheError: there are no captions, or one is empty or over-long.
    """
    prompts = list(dict.fromkeys(["", *captions]))
    if not captions:
        raise CacheError("there are no captions: a cache needs at least one image")
    if max_sequence_length is None:
        max_sequence_length = backbone_of(pipeline).token_length(pipeline)
    _check_captions(pipeline, captions, max_sequence_length, truncate)
    index = CacheIndex(
        schema=ONLINE_SCHEMA if online else SCHEMA,
        fingerprint="",
        pipeline=pipeline_fingerprint(pipeline),
        backbone=backbone_of(pipeline).name,
        scales=tuple(sorted(set(scales))),
        pairs=growing_pairs(scales) if pairs is None else tuple(sorted({(low, high) for low, high in pairs})),
        dtype=str(dtype).removeprefix("torch."),
        count=len(captions),
        shard_size=shard_size,
        num_prompts=len(prompts),
        prompt_shard_size=max(batch_size, shard_size),
        source=f"{source}; {max_sequence_length} text tokens; captions {_text_hash(captions)}",
        moments=moments,
        online=online,
    )
    index = replace(index, fingerprint=_text_hash([json.dumps(index.as_json())]))
    return CachePlan(
        Path(folder), index, BatchEncoder(pipeline, index, batch_size, max_sequence_length), captions, prompts
    )


@dataclass(frozen=True, slots=True)
class CachePlan:
    """A cache that is to be, or partly is already.

    Attributes:
        folder: of its shards.
        index: what they hold.
        encoder: what makes them.
        captions: one per image.
        prompts: the distinct ones, the empty one first.
    """

    folder: Path
    index: CacheIndex
    encoder: BatchEncoder
    captions: Sequence[str]
    prompts: list[str]

    def check_room(self, *, progress: bool = True) -> None:
        """Compare with what is there, and with the room on the disk; says what there is to write.

        Raises:
            CacheError: the folder holds a cache of other data.
            OutputFolderError: the folder cannot be written or has no room for what is missing.
        """
        probe_writable(self.folder, needed_bytes=SLACK_BYTES)
        _check_folder(self.folder, self.index)
        latents, prompts = self.missing_bytes()
        if progress and latents + prompts:
            tqdm.write(f"{self.folder}: {self.estimate()}", file=sys.stderr)
        try:
            probe_writable(self.folder, needed_bytes=SLACK_BYTES + latents + prompts)
        except OutputFolderError as error:
            if prompts < latents:
                raise
            raise OutputFolderError(f"{error}; most of it is embeddings: online keeps captions alone") from error

    def missing_bytes(self) -> tuple[int, int]:
        """What the shards of latents, and of prompts, that are still to be made will take on disk."""
        index = self.index
        images, prompts = (
            sum(stop - start for name, start, stop in shards if not self._intact(name))
            for shards in (index.latent_shards(), index.prompt_shards())
        )
        return images * self.encoder.image_bytes(), prompts * self.encoder.prompt_bytes() if prompts else 0

    def estimate(self) -> str:
        """What is to be written, in words."""
        latents, prompts = self.missing_bytes()
        parts = f"latents {latents / 2**30:.2f}, embeddings of prompts {prompts / 2**30:.2f}"
        return f"{(latents + prompts) / 2**30:.2f} GiB to write ({parts})"

    def missing_images(self, process: int = 0, processes: int = 1) -> list[range]:
        """Images of the shards that this process is to make."""
        shards = self.index.latent_shards()[process::processes]
        return [range(start, stop) for name, start, stop in shards if not self._intact(name)]

    def build(self, images: Iterable[Tensor], *, process: int = 0, processes: int = 1, progress: bool = True) -> None:
        """Make the missing shards, or one process's share of them.

        Args:
            images: as of `build_cache`.
            process: which of them this is.
            processes: how many share the build; each needs all images, and reads those of its own shards.
            progress: show progress bars.

        Raises:
            CacheError: the folder holds a cache of other data, or images do not fit.
            OutputFolderError: the disk became full on the way; finished shards are kept.
        """
        _check_folder(self.folder, self.index)
        self.folder.mkdir(parents=True, exist_ok=True)
        if process == 0:
            write_json(self.folder / "prompts.json", self.prompts)
            write_json(self.folder / "index.json", self.index.as_json())  # before the shards: the plan to continue by
        share = slice(process, None, processes)
        self._build_prompts(share, progress)
        self._build_latents(images, share, progress)

    def unfinished(self) -> int:
        """Shards that are not there yet, or torn."""
        return sum(not self._intact(name) for name in self._names())

    def open(self) -> LatentCache:
        """The finished cache."""
        return LatentCache.open(self.folder, encoder=self.encoder.condition)

    def _names(self) -> list[str]:
        return [name for name, _, _ in (*self.index.prompt_shards(), *self.index.latent_shards())]

    def _intact(self, name: str) -> bool:
        try:
            read_shard(self.folder / name, self.index.fingerprint)
        except CacheError:
            return False
        return True

    def _build_prompts(self, share: slice, progress: bool) -> None:
        encoder = self.encoder
        for name, start, stop in self._missing(self.index.prompt_shards()[share], "prompts", progress):
            shard = _joined([encoder.prompts(self.prompts[a:b]) for a, b in encoder.chunks(start, stop)])
            self._write_shard(name, shard)

    def _build_latents(self, images: Iterable[Tensor], share: slice, progress: bool) -> None:
        encoder, row_of = self.encoder, {prompt: row for row, prompt in enumerate(self.prompts)}
        reader = ImageReader(images, smallest=max(self.index.scales) * encoder.pipeline.vae_scale_factor)
        for name, start, stop in self._missing(self.index.latent_shards()[share], "images", progress):
            shard = _joined([encoder.latents(reader.read(a, b)) for a, b in encoder.chunks(start, stop)])
            shard["prompt"] = torch.tensor([row_of[caption] for caption in self.captions[start:stop]])
            self._write_shard(name, shard)

    def _write_shard(self, name: str, shard: Shard) -> None:
        try:
            write_tensors(self.folder / name, shard, {"fingerprint": self.index.fingerprint})
        except OutputFolderError as error:
            names = self._names()
            raise OutputFolderError(
                f"{error}; {len(names) - self.unfinished()} of {len(names)} shards are finished and kept: the same "
                "build goes on from there"
            ) from error

    def _missing(self, shards: list[tuple[str, int, int]], unit: str, progress: bool) -> Iterator[tuple[str, int, int]]:
        """Shards that are not there or torn, with a bar over all."""
        total = sum(stop - start for _, start, stop in shards)
        with tqdm(total=total, desc=f"caching {unit}", unit=" " + unit, disable=not (progress and shards)) as bar:
            for name, start, stop in shards:
                if not self._intact(name):
                    yield name, start, stop
                bar.update(stop - start)


def cache_ladder(schedules: Iterable[Sequence[int]]) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Scales and pairs that serve several schedules at once, for ``build_cache(scales=..., pairs=...)``."""
    ladders = list(schedules)
    sides = tuple(sorted({side for ladder in ladders for side in ladder}))
    return sides, tuple(sorted({pair for ladder in ladders for pair in growing_pairs(ladder)}))


def _check_captions(pipeline: Any, captions: Sequence[str], token_length: int, truncate: bool) -> None:
    backbone = backbone_of(pipeline)
    place = {caption: number for number, caption in reversed(list(enumerate(captions)))}
    for caption, number in sorted(place.items(), key=lambda item: item[1]):
        try:
            backbone.check_prompts(pipeline, [caption], token_length, truncate=truncate)
        except ValueError as error:
            raise CacheError(f"caption {number}: {error}") from error


def _check_folder(folder: Path, index: CacheIndex) -> None:
    if (folder / "index.json").exists():
        found = CacheIndex.read(folder)
        if found != index:
            theirs, ours = asdict(found), asdict(index)
            changed = [f"{name}: {theirs[name]} -> {ours[name]}" for name in ours if theirs[name] != ours[name]]
            raise CacheError(f"{folder} holds a cache of something else ({'; '.join(changed)}): use another folder")


def _joined(shards: list[Shard]) -> Shard:
    return {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}


def _text_hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]
