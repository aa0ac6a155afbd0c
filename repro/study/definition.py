"""STUDY.toml: what is compared, by which questions, and by how many.

name = "scalewise-against-fullscale"
prompts = "prompts.jsonl"                 # also .csv, .tsv, .txt; paths are relative to the file
images_per_prompt = 2
pairs = [["scalewise", "fullscale"]]
criteria = ["relevance", "defects"]

[systems]
scalewise = "../images/scalewise"         # <prompt id>-<image>.png
fullscale = "../images/fullscale"

[[checks]]                                # a pair whose answer is known
use = "training"                          # or "attention"
criterion = "defects"
caption = "a red star"
first = "checks/whole.png"
second = "checks/broken.png"
answer = "first"                          # or "second", "tie"
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from repro.harness.files import input_file
from repro.harness.votes.vote import CRITERIA, Criterion
from repro.study.errors import StudyError

Answer = Literal["first", "second", "tie"]
Use = Literal["training", "attention"]
SubQuestions = Literal["asked", "shown"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A pair whose answer is known.

    Args:
        use: shown before the questions of its criterion, with feedback, or among them without.
        criterion: the question.
        caption: the prompt.
        first, second: image files, of one size.
        answer: the better one.
        why: shown after the answer of a training pair, in place of the general words.
    """

    use: Use
    criterion: Criterion
    caption: str
    first: Path
    second: Path
    answer: Answer
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study as its file says it.

    Args:
        file: STUDY.toml itself; the database and the served images lie beside it.
        name: of the study, in every vote.
        systems: key -> folder of images.
        prompts: prompt file.
        pairs: which systems are compared.
        criteria: the questions, a block of pairs each.
        images_per_prompt: how many images of a prompt are compared, each with the other system's of the same number.
        assessors: how many different people answer each question about each pair.
        attention: attention checks as a share of the answers, 0 to below 1; each check is shown to an assessor once.
        sub_questions: whether the parts of a question are answered one by one, or only shown as what to look at.
        checks: pairs with known answers.
        language: a shipped language, such as "de", or a file of texts.
        claim_minutes: how long a pair waits for the answer of who sees it before another may have it.
        seed: of order and sides.
    """

    file: Path
    name: str
    systems: Mapping[str, Path]
    prompts: Path
    pairs: tuple[tuple[str, str], ...]
    criteria: tuple[Criterion, ...] = CRITERIA
    images_per_prompt: int = 2
    assessors: int = 3
    attention: float = 0.1
    sub_questions: SubQuestions = "asked"
    checks: tuple[Check, ...] = ()
    language: str = "en"
    claim_minutes: int = 30
    seed: int = field(default=0)

    @property
    def folder(self) -> Path:
        """Where the study lies."""
        return self.file.parent

    @property
    def database(self) -> Path:
        """Votes and assessors."""
        return self.folder / "votes.sqlite3"


def load_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        StudyError: no such file, no TOML, or a key that is missing, unknown, or not as expected.
    """
    try:
        text = input_file(path).read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(f"cannot read the study {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not TOML: {error}") from error
    return parse_study(path, text)


def parse_study(path: Path, text: str) -> Study:
    """A study from the text of its file, which need not be there yet.

    Raises:
        StudyError: no TOML, or a key that is missing, unknown, or not as expected.
    """
    try:
        return _study(path.resolve(), tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(f"{path} is not TOML: {error}") from error
    except ValueError as error:
        raise StudyError(f"{path}: {error}") from error


def _study(path: Path, table: Mapping[str, Any]) -> Study:
    _check_keys("the study", table, Study, given={"file"})
    study = Study(
        file=path,
        name=_named("name", table["name"]),
        systems=_systems(path.parent, table["systems"]),
        prompts=path.parent / _text("prompts", table["prompts"]),
        pairs=_pairs(table["pairs"], table["systems"]),
        criteria=_criteria(table.get("criteria", list(CRITERIA))),
        images_per_prompt=_whole("images_per_prompt", table.get("images_per_prompt", 2), 1, 256),
        assessors=_whole("assessors", table.get("assessors", 3), 1, 1000),
        attention=_share(table.get("attention", 0.1)),
        sub_questions=_one_of("sub_questions", table.get("sub_questions", "asked"), get_args(SubQuestions)),
        checks=tuple(_check(path.parent, number, check) for number, check in enumerate(_checks(table), 1)),
        language=_text("language", table.get("language", "en")),
        claim_minutes=_whole("claim_minutes", table.get("claim_minutes", 30), 1, 24 * 60),
        seed=_whole("seed", table.get("seed", 0), 0, 2**53),
    )
    if strange := sorted({check.criterion for check in study.checks} - set(study.criteria)):
        raise ValueError(f"a check of {strange[0]}, which is not among the criteria {', '.join(study.criteria)}")
    return study


def _check_keys(what: str, table: Mapping[str, Any], kind: type, given: set[str]) -> None:
    known = [item for item in fields(kind) if item.name not in given]
    if unknown := sorted(set(table) - {item.name for item in known}):
        raise ValueError(f"unknown key {unknown[0]!r} of {what}; expected {', '.join(item.name for item in known)}")
    required = [item.name for item in known if item.default is MISSING and item.default_factory is MISSING]
    if missing := [name for name in required if name not in table]:
        raise ValueError(f"{what} lacks the key {missing[0]!r}")


def _named(key: str, value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f"{key} is {value!r}; expected letters, digits, dots, dashes and underscores, at most 64")
    return value


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} is {value!r}; expected some text")
    return value


def _whole(key: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{key} is {value!r}; expected a whole number from {low} to {high}")
    return value


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"attention is {value!r}; expected a share from 0 to below 1")
    return float(value)


def _one_of(key: str, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise ValueError(f"{key} is {value!r}; expected one of {', '.join(known)}")
    return value


def _systems(folder: Path, table: object) -> dict[str, Path]:
    if not isinstance(table, Mapping) or len(table) < 2:
        raise ValueError(f"systems is {table!r}; expected a table of at least two folders")
    return {_named("a system", key): folder / _text(f"systems.{key}", value) for key, value in table.items()}


def _pairs(value: object, systems: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"pairs is {value!r}; expected a list of pairs of systems")
    pairs = [_pair(item, systems) for item in value]
    if len({frozenset(pair) for pair in pairs}) < len(pairs):
        raise ValueError(f"pairs is {value!r}; expected each pair once")
    return tuple(pairs)


def _pair(item: object, systems: Mapping[str, Any]) -> tuple[str, str]:
    if not isinstance(item, list) or len(item) != 2 or item[0] == item[1] or not all(key in systems for key in item):
        raise ValueError(f"{item!r} is no pair; expected two different systems of {', '.join(systems)}")
    return (item[0], item[1])


def _criteria(value: object) -> tuple[Criterion, ...]:
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise ValueError(f"criteria is {value!r}; expected a list of {', '.join(CRITERIA)}, each at most once")
    return tuple(_one_of("a criterion", item, CRITERIA) for item in value)


def _checks(table: Mapping[str, Any]) -> list[Any]:
    value = table.get("checks", [])
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError(f"checks is {value!r}; expected tables [[checks]]")
    return value


def _check(folder: Path, number: int, table: Mapping[str, Any]) -> Check:
    what = f"check {number}"
    _check_keys(what, table, Check, given=set())
    if not isinstance(why := table.get("why", ""), str):
        raise ValueError(f"why of {what} is {why!r}; expected text")
    return Check(
        use=_one_of(f"use of {what}", table["use"], get_args(Use)),
        criterion=_one_of(f"criterion of {what}", table["criterion"], CRITERIA),
        caption=_text(f"caption of {what}", table["caption"]),
        first=folder / _text(f"first of {what}", table["first"]),
        second=folder / _text(f"second of {what}", table["second"]),
        answer=_one_of(f"answer of {what}", table["answer"], get_args(Answer)),
        why=why,
    )
