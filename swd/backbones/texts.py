"""What a caller may write for prompts, turned into one row of texts per prompt: one text for each text encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Row = tuple[str, ...]


def text_rows(texts: Mapping[str, Any], count: int | None = None) -> list[Row]:
    """One row per prompt.

    Args:
        texts: by the names of their arguments, ``{"prompt": ..., "prompt_2": ...}``: a text or a list of them; absent
            ones (None) are as the first.
        count: how many rows there have to be; as many as the first argument has when absent. A single text stands for
            all of them.

    Raises:
        TypeError: something else than texts.
        ValueError: another number of them, or none.
    """
    first, *others = texts
    columns = {name: _texts(name, value) for name, value in texts.items() if value is not None}
    if not columns.get(first):
        raise ValueError(f"at least one prompt is needed, got {first}={texts[first]!r}")
    count = len(columns[first]) if count is None else count
    for name, value in texts.items():
        if isinstance(value, str):
            columns[name] *= count
        if name in columns and len(columns[name]) != count:
            raise ValueError(f"{name} has {len(columns[name])} texts for {count} prompts; give one for each, or one")
    return list(zip(*(columns.get(name, columns[first]) for name in (first, *others)), strict=True))


def negative_rows(texts: Mapping[str, Any]) -> list[Row]:
    """One row for all prompts, or as many as the longest list has; what is absent is empty.

    Raises:
        TypeError: something else than texts.
        ValueError: lists of different lengths.
    """
    first, *others = texts
    given = {first: "" if texts[first] is None else texts[first], **{name: texts[name] for name in others}}
    lists = [_texts(name, value) for name, value in given.items() if not isinstance(value, str | None)]
    return text_rows(given, max(map(len, lists), default=1))


def _texts(name: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    for text in [value] if isinstance(value, bytes) else texts:
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a string or a list of strings, got {text!r} ({type(text).__name__})")
    return texts


def encoder_texts(names: Sequence[str], rows: Sequence[Row]) -> dict[str, list[str]]:
    """Arguments of a pipeline's ``encode_prompt``: those after the first only where they say something of their own."""
    columns = dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))
    first = columns[names[0]]
    return {name: column for name, column in columns.items() if name == names[0] or column != first}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextArguments:
    """Texts and embeddings of one call, by the names of their arguments.

    Attributes:
        texts: of each text encoder, ``{"prompt": ..., "prompt_2": ...}``; absent ones (None) are as the first.
        negatives: the same for guidance, ``{"negative_prompt": ..., ...}``.
        embeds: what can stand in for the texts, ``{"prompt_embeds": ..., "pooled_prompt_embeds": ...}``: all or none.
        negative_embeds: the same for ``negatives``.
        encoding: further options of the pipeline's ``encode_prompt``; absent ones are None.

    Raises:
        TypeError: texts that are none.
        ValueError: texts and embeddings at once, or not all of the embeddings.
    """

    texts: Mapping[str, Any]
    negatives: Mapping[str, Any]
    embeds: Mapping[str, Tensor | None]
    negative_embeds: Mapping[str, Tensor | None]
    encoding: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in {**self.texts, **self.negatives}.items():
            if value is not None:
                _texts(name, value)
        for texts, embeds in ((self.texts, self.embeds), (self.negatives, self.negative_embeds)):
            given = [name for name, value in embeds.items() if value is not None]
            told = [name for name, value in texts.items() if value is not None]
            if given and (told or len(given) < len(embeds)):
                raise ValueError(
                    f"give either {next(iter(texts))}, or both {' and '.join(embeds)}; got {', '.join(told + given)}"
                )

    @property
    def has_embeds(self) -> bool:
        """Whether embeddings stand in for the texts."""
        return any(value is not None for value in self.embeds.values())

    @property
    def has_negative_embeds(self) -> bool:
        """Whether embeddings stand in for the negative texts."""
        return any(value is not None for value in self.negative_embeds.values())

    @property
    def has_negatives(self) -> bool:
        """Whether anything is said that images are to be guided away from."""
        return self.has_negative_embeds or any(self.negatives.values())

    @property
    def options(self) -> dict[str, Any]:
        """What ``encode_prompt`` is told beside the texts."""
        return {name: value for name, value in self.encoding.items() if value is not None}

    @property
    def negative_options(self) -> dict[str, Any]:
        """The same for negatives, whose last layers diffusers never skips."""
        return {name: value for name, value in self.options.items() if name != "clip_skip"}


def check_rows(pipeline: Any, rows: Sequence[Row], token_length: int, *, truncate: bool) -> None:
    """Refuse texts that say nothing, or more than the text encoders read.

    Where every encoder has the same text, what one of them cuts may be read by another; a text of its own has to fit.

    Raises:
        ValueError: an empty prompt, one that is too long, or a text for an encoder that is not there.
    """
    backbone, names = pipeline.backbone, pipeline.text_names
    backbone.check_prompts(pipeline, [row[0] for row in rows if len(set(row)) == 1], token_length, truncate=truncate)
    lengths = backbone.encoder_lengths(pipeline, token_length)
    for row in (row for row in rows if len(set(row)) > 1):
        for text, name, part, tokenizer in zip(row, names, backbone.text_encoders, backbone.tokenizers, strict=True):
            if not text.strip():
                continue
            if part not in lengths and text != row[0]:
                raise ValueError(f"{name} is for {part}, which this pipeline does not have")
            if part in lengths and not truncate:
                _check_length(name, text, getattr(pipeline, tokenizer), lengths[part])


def check_negatives(pipeline: Any, rows: Sequence[Row], token_length: int, *, truncate: bool) -> None:
    """As `check_rows` for negatives, of which any may be empty.

    Raises:
        ValueError: one that is longer than what its text encoder reads.
    """
    said = [row for row in rows if any(text.strip() for text in row)]
    try:
        check_rows(pipeline, said, token_length, truncate=truncate)
    except ValueError as error:
        raise ValueError(f"negative {error}") from error


def _check_length(name: str, text: str, tokenizer: Any, limit: int) -> None:
    count = len(tokenizer(text, verbose=False).input_ids)
    if count > limit:
        raise ValueError(
            f"{name} has {count} tokens, its text encoder takes {limit}; shorten it, or pass truncate=True: "
            f"{text[:80]!r}"
        )
