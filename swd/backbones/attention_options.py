"""Keyword arguments of attention: a name that no attention of a network knows is refused, not set aside."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from swd.values import shown

_NETWORKS = ("scale", "gligen", "ip_adapter_image_embeds")  # read by diffusers' networks themselves
_TENSORS = {"self", "attn", "hidden_states", "encoder_hidden_states", "attention_mask", "temb", "image_rotary_emb"}


def check_attention_options(argument: str, options: Mapping[Any, Any], network: Any) -> None:
    """Refuse names that diffusers would set aside with a log line (``scal`` for ``scale``), or trip over.

    Args:
        argument: name of the argument that the options are.
        options: by name.
        network: whose attention processors say what they take.

    Raises:
        ValueError: a name that is unknown; names those that are not.
    """
    kinds = {type(processor) for processor in network.attn_processors.values()}
    named = (
        parameter.name
        for kind in kinds
        for parameter in inspect.signature(kind.__call__).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    )
    known = dict.fromkeys([*_NETWORKS, *sorted(set(named) - _TENSORS)])
    for name in options:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(str(name), known, n=1)) or ", ".join(known)
            raise ValueError(f"{argument} holds {shown(name)}, which this network does not know; expected {near}")
