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
from swd.data.checks import check_captions, check_keys, check_numbers, check_scales
from swd.data.encoding import BatchEncoder
from swd.data.layout import ONLINE_SCHEMA, SCHEMA, CacheIndex, growing_pairs, source_of
from swd.data.plan import CachePlan


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
    check_numbers({"batch_size": batch_size, "shard_size": shard_size}, scales, dtype)
    sides, captions = sorted(set(scales)), list(captions)
    if keys is not None:
        check_keys(keys, len(captions))
    backbone = backbone_of(pipeline)
    if getattr(pipeline, backbone.component, None) is not None:
        check_scales([sides], denoiser_of(pipeline))
    if max_sequence_length is None:
        max_sequence_length = backbone.token_length(pipeline)
    check_captions(pipeline, captions, max_sequence_length, truncate=truncate)
    prompts = list(dict.fromkeys(["", *captions]))
    index = CacheIndex(
        schema=ONLINE_SCHEMA if online else SCHEMA,
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
        moments=moments,
        online=online,
    )
    index = replace(index, fingerprint=index.own_fingerprint)
    encoder = BatchEncoder(pipeline, index, batch_size, max_sequence_length)
    return CachePlan(Path(folder), index, encoder, captions, prompts, keys=keys)


def cache_ladder(schedules: Iterable[Sequence[int]]) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Scales and pairs that serve several schedules at once, for ``build_cache(scales=..., pairs=...)``."""
    ladders = list(schedules)
    sides = tuple(sorted({side for ladder in ladders for side in ladder}))
    return sides, tuple(sorted({pair for ladder in ladders for pair in growing_pairs(ladder)}))
