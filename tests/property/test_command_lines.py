"""Whatever is typed to `python -m repro`: a plan, a result or one line, and what arrives is what was written."""

import argparse
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from asked import examples
from command_lines import Ended, arrived, below, check_end, leaves, places, reaching, run, words_of
from hypothesis import given
from study_world import tiny_study

from repro import __main__ as cli
from repro.harness.files import ROOT

WORK = ("device", "images", "work")  # tried where their own rules are tested
ELSEWHERE = {  # options that arrive under another name, or in something that is made of them
    "num_prompts": "images_per_set",
    "data": "folder",
    "experiment": "key",
    "profile": "name",
}
OF_STUDENTS = ("seeds", "retrain")  # nothing changes for what has none, as --help says
MADE_OF = {  # options that arrive as something made of them
    "backend": "a scorer by a program of its own",
    "vae": "tiny is another part of the weights, full what is there",
}
MAY_GROW = ("place/", "checkout", "study/", "here/")
FAKED = (
    "repro.__main__._measure_and_print",
    "repro.stages.queue.watch",
    "repro.kinds.gallery.measure.write_site",
    "repro.study.serving.listen",
)


def parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command of a parser, those of a command by both names."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                nested = parsers(one)
                found |= {f"{name} {inner}": two for inner, two in nested.items()} or {name: one}
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with everything that a command may be pointed at, and no work behind any of them."""
    root = tmp_path_factory.mktemp("commands")
    places(root)
    (root / "study").mkdir()
    study = tiny_study(root / "study", prompts=2, criteria=["defects"], side=8)
    shutil.copytree(study.folder, root / "place" / "good")
    (root / "place" / "good" / "records").mkdir()
    shutil.copy(ROOT / "paper_tables" / "records" / "figure3.jsonl", root / "place" / "good" / "records")
    (root / "here").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_root", lambda: root / "checkout")
        patch.setattr(cli, "_parser", lru_cache(cli._parser))
        for name in FAKED:
            patch.setattr(name, reaching)
        patch.chdir(root / "here")
        yield root


def check_written(command: str, typed: list[str], ended: Ended) -> None:
    """What was typed stands in what the work would have been given; a plan or a page reached no work."""
    if not ended.reached:
        return
    parsed = COMMANDS[command].parse_args(typed)
    for action in COMMANDS[command]._actions:
        value = getattr(parsed, action.dest, None)
        written = any(word in action.option_strings for word in typed)
        if written and action.dest not in (*WORK, *MADE_OF):
            names = {action.dest, ELSEWHERE.get(action.dest, action.dest)}
            of_students = action.dest in OF_STUDENTS and not named(action.dest, ended.reached[-1])
            fine = of_students or any(arrived(name, value, ended.reached) for name in names)
            assert fine, (action.dest, value, [named(name, ended.reached) for name in names])


def named(name: str, reached: Any) -> list[Any]:
    """All values of that name."""
    return [leaf for found, leaf in leaves(reached) if found == name]


COMMANDS = parsers(cli._parser())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_in_what_was_written_or_in_one_line(command: str, world: Path) -> None:
    place = world / "place"

    @examples(6)
    @given(words_of(COMMANDS[command], place, without=WORK))
    def search(typed: list[str]) -> None:
        before = below(world)
        ended = run(cli.main, [*command.split(), *typed])
        check_end(ended)
        check_written(command, typed, ended)
        made = {path for path in below(world) - before if not path.startswith(MAY_GROW)}
        assert not made, made

    search()


MEASURING = [name for name, parser in COMMANDS.items() if parser.get_default("experiment")]


@pytest.mark.parametrize("command", MEASURING)
def test_a_command_as_it_stands_reaches_its_work_with_what_is_written(command: str, world: Path) -> None:
    """Or nothing would ever be compared with what was typed."""
    typed = ["--out", str(world / "place" / "measured"), "--replace"]
    ended = run(cli.main, [command, *typed])
    assert ended.reached, ended
    check_written(command, typed, ended)
    options = ended.reached[-1]
    assert options.replace
    assert options.out == world / "place" / "measured"
