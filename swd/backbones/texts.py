"""What a caller may write for prompts, turned into one row of texts per prompt: one text for each text encoder."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from swd.errors import PromptError
from swd.values import flag, shown, typed

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
    columns = {name: texts_of(name, value) for name, value in texts.items() if value is not None}
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
    lists = [texts_of(name, value) for name, value in given.items() if not isinstance(value, str | None)]
    return text_rows(given, max(map(len, lists), default=1))


def texts_of(name: str, value: Any) -> list[str]:
    """A text, or some, as a list.

    Raises:
        TypeError: something else.
        ValueError: half a character.
    """
    texts = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    for text in [value] if isinstance(value, bytes) else texts:
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a string or a list of strings, got {typed(text)}")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(f"{name} holds half a character (a lone surrogate): {shown(text)}")
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
        ValueError: half a character; texts and embeddings at once, or not all of the embeddings.
    """

    texts: Mapping[str, Any]
    negatives: Mapping[str, Any]
    embeds: Mapping[str, Tensor | None]
    negative_embeds: Mapping[str, Tensor | None]
    encoding: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in {**self.texts, **self.negatives}.items():
            if value is not None:
                texts_of(name, value)
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


def refuse_empty(prompts: Sequence[str]) -> None:
    """Raise PromptError for the first prompt that says nothing."""
    for number, prompt in enumerate(prompts):
        if not prompt.strip():
            raise PromptError(number, f"prompts must not be empty, got {prompt!r}")


def check_rows(pipeline: Any, rows: Sequence[Row], token_length: int, *, truncate: bool) -> None:
    """Refuse texts that say nothing, or more than the text encoders read.

    Where every encoder has the same text, what one of them cuts may be read by another; a text of its own has to fit.

    Raises:
        ValueError: an empty prompt, one that is too long, or a text for an encoder that is not there; of several
            prompts, it says which.
    """
    try:
        _check(pipeline, dict(enumerate(rows)), token_length, truncate=flag("truncate", truncate))
    except PromptError as error:
        raise ValueError(f"prompt[{error.number}]: {error}" if len(rows) > 1 else str(error)) from error


def check_negatives(pipeline: Any, rows: Sequence[Row], token_length: int, *, truncate: bool) -> None:
    """As `check_rows` for negatives, of which any may be empty.

    Raises:
        ValueError: one that is longer than what its text encoder reads; of several, it says which.
    """
    said = {number: row for number, row in enumerate(rows) if any(text.strip() for text in row)}
    try:
        _check(pipeline, said, token_length, truncate=flag("truncate", truncate))
    except PromptError as error:
        place = f"prompt[{error.number}]: " if len(rows) > 1 else ""
        raise ValueError(f"negative {place}{error}") from error


def _check(pipeline: Any, rows: Mapping[int, Row], token_length: int, *, truncate: bool) -> None:
    """Rows by their numbers, which a PromptError then has."""
    alike = [number for number, row in rows.items() if len(set(row)) == 1]
    texts = [rows[number][0] for number in alike]
    try:
        pipeline.backbone.check_prompts(pipeline, texts, token_length, truncate=truncate)
    except PromptError as error:
        raise PromptError(alike[error.number], str(error)) from error
    lengths = pipeline.backbone.encoder_lengths(pipeline, token_length)
    for number, row in rows.items():
        if len(set(row)) > 1:
            _check_own(pipeline, number, row, {} if truncate else lengths, set(lengths))


def _check_own(pipeline: Any, number: int, row: Row, limits: Mapping[str, int], parts: Collection[str]) -> None:
    """Each text of a row by itself: it has an encoder among ``parts``, and fits the limits that there are."""
    encoders, tokenizers = pipeline.backbone.text_encoders, pipeline.backbone.tokenizers
    for text, name, part, tokenizer in zip(row, pipeline.text_names, encoders, tokenizers, strict=True):
        if not text.strip():
            continue
        if part not in parts and text != row[0]:
            raise PromptError(number, f"{name} is for {part}, which this pipeline does not have")
        if part not in limits:
            continue
        count = len(getattr(pipeline, tokenizer)(text, verbose=False).input_ids)
        if count > limits[part]:
            raise PromptError(
                number,
                f"{name} has {count} tokens, its text encoder takes {limits[part]}; shorten it, or pass "
                f"truncate=True: {text[:80]!r}",
            )
