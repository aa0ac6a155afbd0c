"""How many tokens T5 reads: one number, from one place, for caches, training, sampling and costs.

The networks know no attention mask, so padding is read as text, and another length draws other images. Students are
trained and published with 512.
"""

from typing import Any

from swd.backbones import backbone_of
from swd.lora.released import T5_TOKENS
from swd.values import whole


def own_length(pipeline: Any, tokenizer: str) -> int:
    """The number of a loaded student, else of the folder (``max_sequence_length`` in its model_index.json), else 512.

    Args:
        pipeline: with or without T5; zeros stand for T5 where there is none, as in diffusers.
        tokenizer: part that cuts T5's text; the published number is not beyond its limit.

    Raises:
        TypeError: the pipeline was made with something else than a number.
        ValueError: a number that T5 does not take.
    """
    student = getattr(getattr(pipeline, "student", None), "token_length", None)
    folder = getattr(pipeline.config, "max_sequence_length", None)
    stated = next((number for number in (student, folder) if number is not None), None)
    if stated is None:
        return min(T5_TOKENS, longest(pipeline, tokenizer))
    return whole("max_sequence_length of the pipeline", stated, 0, T5_TOKENS)


def longest(pipeline: Any, tokenizer: str) -> int:
    """Tokens that T5 takes by what its tokenizer says; the published number where that says nothing."""
    limit = getattr(getattr(pipeline, tokenizer, None), "model_max_length", None)
    return T5_TOKENS if limit is None else min(T5_TOKENS, int(limit))


def resolve_length(pipeline: Any, asked: int | None) -> int:
    """Tokens of T5 (or of the zeros in its place) for a call, a cache or an encoding.

    Args:
        pipeline: of a family whose ``t5`` names encoder and tokenizer, or has none.
        asked: None for the pipeline's own number.

    Raises:
        TypeError: no whole number.
        ValueError: a negative one, a family without T5, a pipeline without it, or more than T5 takes.
    """
    backbone = backbone_of(pipeline)
    own = backbone.token_length(pipeline)
    asked = None if asked is None else whole("max_sequence_length", asked)
    if asked is not None and asked < 0:
        raise ValueError(f"max_sequence_length is a number of tokens, got {asked}")
    if backbone.t5 is None:
        if asked not in (None, own):
            raise ValueError(f"the text encoders read {own} tokens, which cannot be chosen; got {asked}")
        return own
    encoder, tokenizer = backbone.t5
    length = own if asked is None else asked
    if getattr(pipeline, encoder, None) is None:
        if asked and asked != getattr(pipeline.config, "max_sequence_length", None):
            raise ValueError(
                f"max_sequence_length={asked} asks for tokens of T5 ({encoder}), which this pipeline does not have; "
                f"leave it out for {own} zeros in their place, or load the pipeline with its T5"
            )
        if length > T5_TOKENS:
            raise ValueError(f"T5 takes up to {T5_TOKENS} tokens, got max_sequence_length={length}")
        return length
    if length > longest(pipeline, tokenizer):
        raise ValueError(f"T5 takes up to {longest(pipeline, tokenizer)} tokens, got max_sequence_length={length}")
    return length
