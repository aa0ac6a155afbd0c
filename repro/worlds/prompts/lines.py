"""JSON Lines: an object in each line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repro.worlds.prompts.entry import PromptFileError
from repro.worlds.prompts.text import read_text


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects with their line, counted from 1; blank lines are passed over.

    Raises:
        PromptFileError: a line is not a JSON object.
    """
    for number, line in enumerate(read_text(path).split("\n"), 1):  # a caption may hold other separators
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise PromptFileError(
                f"{path}, line {number}: {error.msg} at column {error.colno}; expected JSON"
            ) from error
        except RecursionError:
            raise PromptFileError(f"{path}, line {number}: nested too deeply; expected a JSON object") from None
        if not isinstance(value, dict):
            raise PromptFileError(f"{path}, line {number}: a {type(value).__name__}; expected a JSON object")
        yield number, value
