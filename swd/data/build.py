"""Make a latent cache: pixels -> downscaled pixels -> VAE latents, prompts -> embeddings, shard by shard.

Finished shards are never made again: a build that was killed continues, and a torn or damaged shard is rebuilt. A
build that knows its images by their keys goes on when some of them have changed, gone or come: it encodes those alone,
and takes the rows of all others from the shards that are there. Shards do not depend on each other, so several
processes share a build without a word between them: shard ``i`` is made by process ``i % processes``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swd.backbones import backbone_of, denoiser_of
from swd.backbones.fingerprint import pipeline_fingerprint
from swd.data.cache import LatentCache
from swd.data.checks import check_captions, check_keys, check_scales, counts, flags
from swd.data.encoding import BatchEncoder
from swd.data.layout import ONLINE_SCHEMA, SCHEMA, CacheIndex, growing_pairs, source_of
from swd.data.plan import CachePlan
from swd.errors import CacheError, ConfigError
from swd.lora.released import T5_TOKENS
from swd.values import as_whole, several, typed, whole


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
    keys: Sequence[str] | None = None,
) -> CachePlan:
    """What a cache will hold, before anything is written.

    Args:
        captions: one per image.
        pipeline: of a known backbone.
        scales: latent sides of the schedule; several schedules give all their sides, with ``pairs``.
        folder: where the shards go.
        pairs: neighbouring scales (low, high) whose lower latents are needed; those of ``scales`` when absent.
        source: names the images (a seed, a data hash): part of the fingerprint, since pixels are not hashed. Not with
            ``keys``.
        dtype: of the stored tensors.
        moments: store the deviation of every latent beside its mode, for ``DistillConfig.sample_latents``; twice the
            size.
        online: keep prompts as text; training encodes them, with the text encoders beside the network.
        batch_size: images, and prompts, per pass.
        shard_size: images per file.
        max_sequence_length: tokens of the text encoder whose length can be chosen; the pipeline's own number when
            absent.
        truncate: cut over-long captions where the encoders do, rather than refuse them.
        keys: one text per image that names what is in it, as the hash of its file does. Shards are kept, and rows
            taken over, by them.

    Raises:
        CacheError: there are no captions, or one is no text, empty or over-long (`CaptionError`).
        ConfigError: a size below 1, scales that the network does not have, or keys that do not fit the captions.
    """
    scales, sizes = counts(scales, dtype, batch_size=batch_size, shard_size=shard_size)
    batch_size, shard_size = sizes["batch_size"], sizes["shard_size"]
    switches = flags(moments=moments, online=online, truncate=truncate)
    sides, captions = sorted(set(scales)), _texts(captions)
    if not isinstance(source, str):
        raise ConfigError(f"source must be text that names the images, got {typed(source)}")
    if keys is not None:
        check_keys(keys, len(captions))
    backbone = backbone_of(pipeline)
    if getattr(pipeline, backbone.component, None) is not None:
        check_scales([sides], denoiser_of(pipeline))
    if max_sequence_length is None:
        max_sequence_length = backbone.token_length(pipeline)
    elif (length := as_whole(max_sequence_length)) is None or not 0 <= length <= T5_TOKENS:
        given = typed(max_sequence_length)
        raise ConfigError(f"max_sequence_length must be a whole number from 0 to {T5_TOKENS}, got {given}")
    else:
        max_sequence_length = length
    check_captions(pipeline, captions, max_sequence_length, truncate=switches["truncate"])
    prompts = list(dict.fromkeys(["", *captions]))
    index = CacheIndex(
        schema=ONLINE_SCHEMA if switches["online"] else SCHEMA,
        fingerprint="",
        pipeline=pipeline_fingerprint(pipeline),
        backbone=backbone.name,
        scales=tuple(sides),
        pairs=growing_pairs(scales) if pairs is None else tuple(sorted({(low, high) for low, high in pairs})),
        dtype=str(dtype).removeprefix("torch."),
        count=len(captions),
        shard_size=shard_size,
        num_prompts=len(prompts),
        prompt_shard_size=max(batch_size, shard_size),
        source=source_of(source, keys, max_sequence_length, captions),
        moments=switches["moments"],
        online=switches["online"],
    )
    index = replace(index, fingerprint=index.own_fingerprint)
    encoder = BatchEncoder(pipeline, index, batch_size, max_sequence_length)
    return CachePlan(Path(folder), index, encoder, captions, prompts, keys=keys)


def _texts(captions: Any) -> list[Any]:
    try:
        return several("captions", captions)
    except TypeError as error:
        raise CacheError(str(error)) from error


def cache_ladder(schedules: Iterable[Sequence[int]]) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Scales and pairs that serve several schedules at once, for ``build_cache(scales=..., pairs=...)``.

    Raises:
        TypeError: no lists of whole numbers.
        ValueError: a scale below 1.
    """
    listed = several("schedules", schedules)
    ladders = [[whole("a scale", side, 1) for side in several("a schedule", one)] for one in listed]
    sides = tuple(sorted({side for ladder in ladders for side in ladder}))
    return sides, tuple(sorted({pair for ladder in ladders for pair in growing_pairs(ladder)}))
