"""Whatever is typed to `swd.train`, `swd.cache`, `swd.export`: the work gets what was written, or one line says why."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from adapters import make_adapter
from asked import examples
from command_lines import BAD, FLOATS, INTS, PATHS, TEXTS, below, check_end, places, reaching, run
from conftest import make_transformer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from swd import cache, export, train
from swd.lora.files import write_adapter
from swd.training.config import DistillConfig


@dataclass(frozen=True)
class Command:
    """A command line: what it fills, what it needs, and where its work is stopped."""

    module: Any
    options: dict[str, Any]
    needed: dict[str, str]


def hints(*classes: type) -> dict[str, Any]:
    """Types of all options, by their names on the command line."""
    return {name: kind for one in classes for name, kind in get_type_hints(one).items() if name != "distill"}


COMMANDS = {
    "train": Command(
        train,
        hints(train.TrainCommand, DistillConfig),
        {"pipeline": "{place}/pipeline", "data": "{place}/cache", "output": "{place}/out", "preset": "mini-4"},
    ),
    "cache": Command(
        cache,
        hints(cache.CacheCommand),
        {"images": "{place}/images", "pipeline": "{place}/pipeline", "output": "{place}/new", "presets": "mini-4"},
    ),
    "export": Command(export, hints(export.ExportCommand), {"output": "{place}/exported"}),
}
STOPS = {"swd.training.run.new_accelerator": reaching, "swd.cache._loaded": reaching}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline_folder: Path) -> Iterator[Path]:
    """A folder with everything that an option may name."""
    root = tmp_path_factory.mktemp("library")
    place = places(root)
    (place / "images").mkdir()
    Image.new("RGB", (64, 64), "red").save(place / "images" / "0.png")
    (place / "images" / "metadata.jsonl").write_text(json.dumps({"file_name": "0.png", "text": "a red star"}) + "\n")
    (place / "pipeline").symlink_to(tiny_pipeline_folder)
    (place / "cache").mkdir()
    (place / "cache" / "index.json").write_text("{}")
    adapter = make_adapter(make_transformer(), ("to_q", "to_k"))
    write_adapter(adapter, "diffusers", place / "adapter", component="transformer")
    (place / "good.toml").write_text('pipeline = "p"\n[distill]\npreset = "mini-4"\niterations = 7\n')
    (root / "here").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, stop in STOPS.items():
            patch.setattr(name, stop)
        patch.chdir(root / "here")
        yield place


def word_of(kind: Any, place: Path) -> st.SearchStrategy[str]:
    """A word for a type, now and then of another one."""
    paths = st.sampled_from([path.replace("{place}", str(place)) for path in (*PATHS, "{place}/good.toml")])
    mostly: st.SearchStrategy[str] = {
        int: st.sampled_from(INTS),
        float: st.sampled_from((*FLOATS, *INTS)),
        Path: paths,
    }.get(kind, st.one_of(st.sampled_from(TEXTS), paths, st.sampled_from(("mini-6", "sd35-6", "sd3", "a-b"))))
    if get_origin(kind) is Literal:
        mostly = st.sampled_from([str(choice) for choice in get_args(kind)])
    return st.one_of(mostly, mostly, mostly, mostly, st.sampled_from(BAD))


def plain(kind: Any) -> Any:
    """A type without what marks it as positional or as absent."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return plain(next(part for part in get_args(kind) if part is not NoneType))
    return kind


def words_for(kind: Any, place: Path) -> st.SearchStrategy[list[str]]:
    """Words after the name of an option."""
    kind = plain(kind)
    if kind is bool:
        return st.just([])
    if get_origin(kind) is tuple:
        count = 3 if get_args(kind)[-1] is Ellipsis else len(get_args(kind))
        return st.lists(word_of(get_args(kind)[0], place), min_size=0 if count == 3 else count, max_size=count)
    return word_of(kind, place).map(lambda word: [word])


@st.composite
def typed(draw: st.DrawFn, command: Command, place: Path) -> tuple[list[str], dict[str, list[str]]]:
    """A command line, and the words of each option in it."""
    given = {name: [word.replace("{place}", str(place))] for name, word in command.needed.items()}
    if command.module is export:
        given["adapter"] = [draw(st.sampled_from([f"{place}/adapter", f"{place}/missing", f"{place}/pipe"]))]
    for name in draw(st.lists(st.sampled_from(sorted(command.options)), max_size=4, unique=True)):
        given[name] = draw(words_for(command.options[name], place))
    words: list[str] = []
    for name, values in given.items():
        words += values if name == "adapter" else [f"--{name.replace('_', '-')}", *values]
    return words, given


def means(kind: Any, words: Sequence[str], value: Any) -> bool:
    """Whether a value is what the words of an option say."""
    kind = plain(kind)
    if kind is bool:
        return value is True
    if get_origin(kind) is tuple:
        kinds, words = get_args(kind)[0], [word for word in words if word != "--"]  # which ends a list
        return len(words) == len(value) and all(means(kinds, [w], v) for w, v in zip(words, value, strict=True))
    (word,) = words
    if value is None:
        return word == "None"
    if kind in (int, float):
        return type(value) is kind and kind(word) == value
    home = word.startswith("~")
    return str(value) == str(Path(word).expanduser() if kind is Path or home else word)


def parsed(name: str, words: list[str]) -> dict[str, Any]:
    """What a command line gives, by the names of the options."""
    import tyro

    command = COMMANDS[name]
    if command.module is train:
        found: Any = train.parse(words)
        return {**{key: getattr(found, key) for key in get_type_hints(train.TrainCommand)}, **vars_of(found.distill)}
    kind = cache.CacheCommand if command.module is cache else export.ExportCommand
    found = tyro.cli(kind, args=words)
    return {key: getattr(found, key) for key in command.options}


def vars_of(config: Any) -> dict[str, Any]:
    return {key: getattr(config, key) for key in get_type_hints(DistillConfig)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_gets_what_was_written_or_says_why_not(name: str, place: Path) -> None:
    command = COMMANDS[name]

    @examples(40)
    @given(typed(command, place))
    def search(drawn: tuple[list[str], dict[str, list[str]]]) -> None:
        words, given = drawn
        before = below(place.parent)
        ended = run(command.module.main, words)
        check_end(ended)
        made = {path for path in below(place.parent) - before if not path.startswith("place/")}
        assert not made, made
        if ended.status == 0 and "study" not in given:
            found = parsed(name, words)
            for option, values in given.items():
                assert means(command.options[option], values, found[option]), (option, values, found[option])

    search()
