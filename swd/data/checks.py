"""What a cache may be asked for: found before anything is encoded or written."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from swd.backbones import backbone_of
from swd.backbones.base import Denoiser
from swd.errors import CacheError, CaptionError, ConfigError
from swd.schedule import ScaleSchedule
from swd.values import flag, several, typed, whole


def counts(scales: Any, dtype: Any, **numbers: Any) -> tuple[list[int], dict[str, int]]:
    """Scales, and counts, as whole numbers of Python's own, from 1 on; and a type that embeddings fit into.

    Raises:
        ConfigError: the message names the option and its value.
    """
    try:
        sides = [whole("a scale", side, 1) for side in several("scales", scales)]
        found = {name: whole(name, value, 1) for name, value in numbers.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error
    if not sides:
        raise ConfigError("there are no scales: give the latent sides of a schedule")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ConfigError(f"dtype must be one of torch's floating types, got {typed(dtype)}")
    return sides, found


def flags(**given: Any) -> dict[str, bool]:
    """Options that are true or false.

    Raises:
        ConfigError: one is something else.
    """
    try:
        return {name: flag(name, value) for name, value in given.items()}
    except TypeError as error:
        raise ConfigError(str(error)) from error


def check_keys(keys: Sequence[str], count: int) -> None:
    """Make sure that there is one key for each image, and that keys can stand side by side in a header.

    Raises:
        ConfigError: not so.
    """
    if len(keys) != count:
        raise ConfigError(f"there are {len(keys)} keys for {count} images; expected one each")
    if bad := [key for key in keys if not key or any(letter.isspace() for letter in key)]:
        raise ConfigError(f"a key is a word without spaces, got {bad[0]!r}")


def check_scales(ladders: Iterable[Sequence[int]], denoiser: Denoiser) -> None:
    """Make sure that a network can work at every scale, or no training of it would take the cache.

    Raises:
        ConfigError: it cannot; the message names the scales.
    """
    for scales in ladders:
        count = len(scales)
        try:
            schedule = ScaleSchedule(tuple(scales), tuple(1 - step / count for step in range(count + 1)))  # any sigmas
            schedule.check_patch(denoiser.patch_size)
            schedule.check_size(denoiser.max_side)
        except ValueError as error:
            raise ConfigError(str(error)) from error


def check_captions(pipeline: Any, captions: Sequence[Any], token_length: int, *, truncate: bool) -> None:
    """Refuse captions that are no text, say nothing, or more than the text encoders read.

    Raises:
        CacheError: there are none.
        CaptionError: the first that is refused.
    """
    if not captions:
        raise CacheError("there are no captions: a cache needs at least one image")
    backbone, seen = backbone_of(pipeline), set[str]()
    for number, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise CaptionError(number, f"must be text, got {typed(caption)}")
        if any("\ud800" <= letter <= "\udfff" for letter in caption):
            raise CaptionError(number, f"holds half a character (a lone surrogate): {caption[:40]!a}")
        if caption in seen:
            continue
        seen.add(caption)
        try:
            backbone.check_prompts(pipeline, [caption], token_length, truncate=truncate)
        except ValueError as error:
            raise CaptionError(number, str(error)) from error
