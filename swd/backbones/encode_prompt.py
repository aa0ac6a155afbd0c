"""Arguments of diffusers' ``encode_prompt``, checked before its tokenizers and networks get them."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from swd.backbones.devices import known_device
from swd.backbones.numbers import floats
from swd.backbones.texts import texts_of
from swd.lora.released import T5_TOKENS
from swd.values import flag, real, whole

_MOST = 10**6
_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "device": known_device,
    "num_images_per_prompt": partial(whole, low=1, high=_MOST),
    "do_classifier_free_guidance": flag,
    "clip_skip": partial(whole, low=0, high=_MOST),
    "max_sequence_length": partial(whole, low=0, high=T5_TOKENS),
    "lora_scale": real,
}


def check_encoding(
    method: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Refuse what ``encode_prompt`` of a family cannot take; None is what diffusers makes of it.

    Args:
        method: diffusers' own.
        arguments: by place.
        options: by name.

    Returns:
        The arguments by name.

    Raises:
        TypeError: an unknown argument, or one of another type.
        ValueError: no prompt and no embeddings, texts of another number than the prompts, or an argument out of range.
    """
    try:
        given = inspect.signature(method).bind(*arguments, **options).arguments
    except TypeError as error:
        raise TypeError(f"encode_prompt: {error}") from error
    texts = {}
    for name, value in given.items():
        if value is None and name != "num_images_per_prompt":
            continue
        if name.endswith("_embeds"):
            floats(name, value)
        elif "prompt" in name and name not in _CHECKS:
            if value != "" or name == "prompt":  # diffusers takes the prompt in place of an empty further one
                texts[name] = texts_of(name, value)
        elif name in _CHECKS:
            _CHECKS[name](name, value)
    _check_counts(texts, given)
    return given


def _check_counts(texts: Mapping[str, list[str]], given: Mapping[str, Any]) -> None:
    if not texts.get("prompt") and given.get("prompt_embeds") is None:
        raise ValueError(f"encode_prompt needs a prompt or prompt_embeds, got prompt={given.get('prompt')!r}")
    count = len(texts["prompt"]) if "prompt" in texts else len(given["prompt_embeds"])
    for name, found in texts.items():
        spread = name.startswith("negative") and isinstance(given[name], str)
        if len(found) != count and not spread:
            raise ValueError(f"{name} has {len(found)} texts for {count} prompts; give one for each")
