"""MJHQ-30K (Li et al., 2024): `meta_data.json`, 3,000 prompts in each of ten categories, ids that name the images.

The file is one object: {"<id>": {"category": "people", "prompt": "..."}, ...}.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repro.worlds.prompts.entry import PromptEntry, PromptFileError, checked, clean
from repro.worlds.prompts.text import read_text


def read_mjhq(path: Path, category: str | None = None) -> list[PromptEntry]:
    """Prompts with their category and image ("people/<id>"), of all categories or one.

    Raises:
        PromptFileError: it is not JSON, an id stands twice, an object lacks ``prompt`` or ``category``, or no prompt
            has this category.
    """
    entries = checked(path, _numbered(path), unit="object")
    if category is None:
        return entries
    known = sorted({str(entry.category) for entry in entries})
    if category not in known:
        raise PromptFileError(f"{path} has no category {category!r}; known are {', '.join(known)}")
    return [entry for entry in entries if entry.category == category]


def _numbered(path: Path) -> Iterator[tuple[int, PromptEntry]]:
    for number, (key, value) in enumerate(_pairs(path), 1):
        prompt, category = (value.get("prompt"), value.get("category")) if isinstance(value, dict) else (None, None)
        if not isinstance(prompt, str) or not isinstance(category, str):
            raise PromptFileError(
                f'{path}, object {number}: {key!r} is {_short(value)}; expected {{"category": "...", "prompt": "..."}}'
            )
        yield number, PromptEntry(id=key, caption=clean(prompt), category=category, image=f"{category}/{key}")


def _pairs(path: Path) -> list[tuple[str, Any]]:
    """The outermost object as pairs: a dict would swallow an id that stands twice."""
    found: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found[:] = pairs  # called from the inside out, the outermost object last
        return dict(pairs)

    try:
        value = json.loads(read_text(path), object_pairs_hook=keep)
    except json.JSONDecodeError as error:
        raise PromptFileError(f"{path}, line {error.lineno}: {error.msg}; expected one JSON object") from error
    except RecursionError:
        raise PromptFileError(f"{path} is nested too deeply; expected one JSON object of prompts by id") from None
    if not isinstance(value, dict):
        raise PromptFileError(f"{path} holds a {type(value).__name__}; expected one JSON object of prompts by id")
    return found if value else []


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
