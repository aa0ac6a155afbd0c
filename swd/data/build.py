"""Make a latent cache: pixels -> downscaled pixels -> VAE latents, prompts -> embeddings, shard by shard.

Finished shards are never made again: a build that was killed continues, and a torn shard is rebuilt.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from swd.backbones import backbone_of
from swd.backbones.fingerprint import pipeline_fingerprint
from swd.data.cache import LatentCache
from swd.data.encoding import BatchEncoder
from swd.data.layout import SCHEMA, CacheIndex, Shard, growing_pairs, read_shard
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
    pairs: Sequence[tuple[int, int]] | None = None,
    source: str = "",
    dtype: torch.dtype = torch.float32,
    moments: bool = False,
    batch_size: int = 32,
    shard_size: int = 1024,
    max_sequence_length: int | None = None,
    truncate: bool = False,
    progress: bool = True,
) -> LatentCache:
    """Encode every image at every scale and every distinct prompt once, and open the result.

    Args:
        images: one square (3, H, W) per caption, float in [-1, 1] or uint8; at least the largest scale in size. A
            sequence is read only where shards are missing, an iterator is read through.
        captions: one per image.
        pipeline: of a known backbone; its VAE, ``vae_scale_factor`` and text encoders are used.
        scales: latent sides of the schedule; several schedules give all their sides, with ``pairs``.
        folder: where the shards go.
        pairs: neighbouring scales (low, high) whose lower latents are needed; those of ``scales`` when absent.
        source: names the images (a seed, a data hash): part of the fingerprint, since pixels are not hashed.
        dtype: of the stored tensors.
        moments: store the deviation of every latent beside its mode, for ``DistillConfig.sample_latents``; twice the
            size.
        batch_size: images, and prompts, per pass.
        shard_size: images per file.
        max_sequence_length: tokens of the text encoder whose length can be chosen; the pipeline's own number when
            absent.
        truncate: cut over-long captions where the encoders do, rather than refuse them.
        progress: show progress bars.

    Raises:
        CacheError: the folder holds a cache of other data, a caption is empty or over-long, or images do not fit the
            captions or scales.
        OutputFolderError: the folder cannot be written or has no room for what is missing, raised before the work;
            or the disk became full on the way, and finished shards are kept.
    """
    folder, prompts = Path(folder), list(dict.fromkeys(["", *captions]))
    if not captions:
        raise CacheError("there are no captions: a cache needs at least one image")
    if max_sequence_length is None:
        max_sequence_length = backbone_of(pipeline).token_length(pipeline)
    _check_captions(pipeline, captions, max_sequence_length, truncate)
    sides = tuple(sorted(set(scales)))
    index = CacheIndex(
        schema=SCHEMA,
        fingerprint="",
        pipeline=pipeline_fingerprint(pipeline),
        backbone=backbone_of(pipeline).name,
        scales=sides,
        pairs=growing_pairs(scales) if pairs is None else tuple(sorted({(low, high) for low, high in pairs})),
        dtype=str(dtype).removeprefix("torch."),
        count=len(captions),
        shard_size=shard_size,
        num_prompts=len(prompts),
        prompt_shard_size=max(batch_size, shard_size),
        source=f"{source}; {max_sequence_length} text tokens; captions {_text_hash(captions)}",
        moments=moments,
    )
    index = replace(index, fingerprint=_text_hash([json.dumps(index.as_json())]))
    encoder = BatchEncoder(pipeline, index, batch_size, max_sequence_length)
    probe_writable(folder, needed_bytes=SLACK_BYTES)
    _check_folder(folder, index)
    missing = _missing_bytes(folder, encoder)
    if progress and missing:
        tqdm.write(f"{folder}: {missing / 2**30:.2f} GiB to write", file=sys.stderr)
    probe_writable(folder, needed_bytes=SLACK_BYTES + missing)
    write_json(folder / "prompts.json", prompts)
    write_json(folder / "index.json", index.as_json())  # before the shards: the plan to continue by
    _build_prompts(folder, prompts, encoder, progress)
    _build_latents(folder, images, captions, prompts, encoder, progress)
    return LatentCache.open(folder)


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
            theirs, ours = found.as_json(), index.as_json()
            changed = [f"{name}: {theirs[name]} -> {ours[name]}" for name in ours if theirs[name] != ours[name]]
            raise CacheError(f"{folder} holds a cache of something else ({'; '.join(changed)}): use another folder")


def _missing_bytes(folder: Path, encoder: BatchEncoder) -> int:
    """What the shards that are still to be made will take on disk."""
    index = encoder.index
    images, prompts = (
        sum(stop - start for name, start, stop in shards if not _intact(folder / name, index.fingerprint))
        for shards in (index.latent_shards(), index.prompt_shards())
    )
    return images * encoder.image_bytes() + (prompts * encoder.prompt_bytes() if prompts else 0)


def _build_prompts(folder: Path, prompts: list[str], encoder: BatchEncoder, progress: bool) -> None:
    index = encoder.index
    for name, start, stop in _missing(folder, index, index.prompt_shards(), "prompts", progress):
        shard = _joined([encoder.prompts(prompts[a:b]) for a, b in encoder.chunks(start, stop)])
        _write_shard(folder, name, shard, index)


def _build_latents(
    folder: Path,
    images: Iterable[Tensor],
    captions: Sequence[str],
    prompts: list[str],
    encoder: BatchEncoder,
    progress: bool,
) -> None:
    index, row_of = encoder.index, {prompt: row for row, prompt in enumerate(prompts)}
    reader = ImageReader(images, smallest=max(index.scales) * encoder.pipeline.vae_scale_factor)
    for name, start, stop in _missing(folder, index, index.latent_shards(), "images", progress):
        shard = _joined([encoder.latents(reader.read(a, b)) for a, b in encoder.chunks(start, stop)])
        shard["prompt"] = torch.tensor([row_of[caption] for caption in captions[start:stop]])
        _write_shard(folder, name, shard, index)


def _write_shard(folder: Path, name: str, shard: Shard, index: CacheIndex) -> None:
    try:
        write_tensors(folder / name, shard, {"fingerprint": index.fingerprint})
    except OutputFolderError as error:
        names = [name for name, _, _ in (*index.prompt_shards(), *index.latent_shards())]
        whole = sum(_intact(folder / name, index.fingerprint) for name in names)
        raise OutputFolderError(
            f"{error}; {whole} of {len(names)} shards are finished and kept: the same build goes on from there"
        ) from error


def _missing(
    folder: Path, index: CacheIndex, shards: list[tuple[str, int, int]], unit: str, progress: bool
) -> Iterator[tuple[str, int, int]]:
    """Shards that are not there or torn, with a bar over all."""
    with tqdm(total=shards[-1][2], desc=f"caching {unit}", unit=" " + unit, disable=not progress) as bar:
        for name, start, stop in shards:
            if not _intact(folder / name, index.fingerprint):
                yield name, start, stop
            bar.update(stop - start)


def _intact(path: Path, fingerprint: str) -> bool:
    try:
        read_shard(path, fingerprint)
    except CacheError:
        return False
    return True


def _joined(shards: list[Shard]) -> Shard:
    return {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}


def _text_hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]
