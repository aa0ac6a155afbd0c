"""GenEval (Ghosh et al., 2023): `evaluation_metadata.jsonl`, 553 prompts of six tags with what must be seen.

A line: {"tag": "counting", "include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}],
"prompt": "a photo of two clocks"}. An inclusion may ask for a "color", or for a "position": ["right of", 0], relative
to the inclusion of that number. The line's number from 0, five digits as GenEval's own folders, is the id.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repro.worlds.prompts.entry import PromptEntry, PromptFileError, checked, clean
from repro.worlds.prompts.lines import read_objects

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
RELATIONS = ("left of", "right of", "above", "below")


def read_geneval(path: Path) -> list[PromptEntry]:
    """Prompts with the whole object of their line.

    Raises:
        PromptFileError: a line is not an object of this form.
    """
    return checked(path, _numbered(path))


def _numbered(path: Path) -> Iterator[tuple[int, PromptEntry]]:
    for index, (line, value) in enumerate(read_objects(path)):
        if problem := _problem(value):
            raise PromptFileError(f"{path}, line {line}: {problem}")
        yield line, PromptEntry(id=f"{index:05d}", caption=clean(value["prompt"]), category=value["tag"], geneval=value)


def _problem(value: Mapping[str, Any]) -> str:
    if not isinstance(value.get("prompt"), str):
        return f"prompt is {value.get('prompt')!r}; expected text"
    if value.get("tag") not in TAGS:
        return f"tag is {value.get('tag')!r}; expected one of {', '.join(TAGS)}"
    if not isinstance(value.get("include"), list) or not value["include"]:
        return f"include is {value.get('include')!r}; expected a list of what must be seen"
    for part in ("include", "exclude"):
        for place, item in enumerate(value.get(part, [])):
            if problem := _item_problem(item, place):
                return f"{part}[{place}] is {item!r}; {problem}"
    return ""


def _item_problem(item: Any, place: int) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("class"), str) or not isinstance(item.get("count"), int):
        return 'expected {"class": "clock", "count": 2} and perhaps color, position'
    position = item.get("position")
    if position is None:
        return ""
    if not isinstance(position, list) or len(position) != 2 or position[0] not in RELATIONS:
        return f"expected a position as [relation, number of another], with relation one of {', '.join(RELATIONS)}"
    if not isinstance(position[1], int) or not 0 <= position[1] < place:
        return f"expected a position relative to an earlier inclusion, 0 to {place - 1}"
    return ""
