"""`study new`: a study file from folders of images and a prompt file. Images stay where they are."""

import json
import math
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from repro.harness.files import write_atomic
from repro.harness.votes.vote import CRITERIA, Criterion
from repro.study.checks import worse
from repro.study.definition import NAME, Study, Use, parse_study
from repro.study.errors import StudyError
from repro.study.folders import Pair, check_images, listed, pair_up, unit_names
from repro.study.texts import load_texts
from repro.worlds.prompts import PromptEntry, subset
from repro.worlds.prompts.parti import read_parti
from repro.worlds.prompts.plain import read_plain
from swd.images import read_image

PROMPTS = 128  # of PartiPrompts in the paper's study
TRAINING = 2  # for each criterion
MOST_CHECKS = 10  # attention checks for each criterion


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was typed.

    Args:
        systems: key -> folder.
        prompts: prompt file; one that is called ``PartiPrompts.tsv`` is read as the published one.
        out: folder of the study.
        name: of the study; None: that of the folder.
        num_prompts: how many are drawn; None: 128, or all where there are fewer.
        images: of each prompt.
        criteria: the questions.
        language: of the pages.
        seed: of the draw of prompts, checks, order and sides.
        attention: share of attention checks.
    """

    systems: Mapping[str, Path]
    prompts: Path
    out: Path
    name: str | None = None
    num_prompts: int | None = None
    images: int = 2
    criteria: Sequence[Criterion] = CRITERIA
    language: str = "en"
    seed: int = 0
    attention: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlannedCheck:
    """A pair that is to be drawn: the image of a prompt, and the same made worse by a criterion."""

    use: Use
    criterion: Criterion
    entry: PromptEntry
    stem: str

    @property
    def row(self) -> dict[str, str]:
        """What the study file says of it."""
        return {
            "use": self.use,
            "criterion": self.criterion,
            "caption": self.entry.caption,
            "first": f"checks/{self.stem}-better.png",
            "second": f"checks/{self.stem}-worse.png",
            "answer": "first",
        }


def make_study(request: Request) -> Study:
    """Check what was given and write ``STUDY.toml``, ``prompts.jsonl`` and ``checks/``.

    Raises:
        StudyError: a study is there already, or names, folders, images or prompts are not as expected.
        PromptFileError: the prompt file is not as expected.
        OutputError: the folder cannot be written.
    """
    file, name = request.out / "STUDY.toml", request.name or request.out.resolve().name
    if file.exists():
        raise StudyError(f"{file} exists; expected a folder without a study")
    _check(request, name)
    load_texts(request.language, request.out)
    images = pair_up(request.systems)
    prompts = _chosen(request, _read(request.prompts), next(iter(images.values())))
    names = {prompt.id: unit_names(prompt.id, request.images, next(iter(images.values()))) for prompt in prompts}
    pairs = list(combinations(request.systems, 2))
    check_images(Pair(images[a][name], images[b][name]) for a, b in pairs for each in names.values() for name in each)
    checks = _plan_checks(request, prompts)
    text = _toml(request, name, pairs, checks)
    study = parse_study(file, text)  # everything that a study file may not say is found before anything is written
    _draw_checks(request, checks, prompts, {key: images[pairs[0][0]][each[0]] for key, each in names.items()})
    rows = [{"id": prompt.id, "caption": prompt.caption} for prompt in prompts]
    write_atomic(request.out / "prompts.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_atomic(file, text)
    return study


def _check(request: Request, name: str) -> None:
    """Names and numbers, before any file is read."""
    for word in (name, *request.systems):
        if not NAME.fullmatch(word):
            raise StudyError(f"{word!r} is no name; expected letters, digits, dots, dashes and underscores")
    if len(request.systems) < 2:
        raise StudyError(f"systems is {list(request.systems)}; expected at least two systems")
    for key, count in (("images", request.images), ("num_prompts", request.num_prompts)):
        if count is not None and count < 1:
            raise StudyError(f"{key} is {count}; expected at least 1")
    if not 0 <= request.attention < 1:
        raise StudyError(f"attention is {request.attention}; expected a share from 0 to below 1")


def _read(path: Path) -> list[PromptEntry]:
    return read_parti(path) if path.name == "PartiPrompts.tsv" else read_plain(path)


def _chosen(request: Request, prompts: list[PromptEntry], images: Mapping[str, Path]) -> list[PromptEntry]:
    """The first by rank of those with images."""
    names = {prompt.id: unit_names(prompt.id, request.images, images) for prompt in prompts}
    known = {name for each in names.values() for name in each}
    if strange := sorted(name for name in images if name not in known and name.rpartition("-")[0] not in names):
        raise StudyError(
            f"{len(strange):,} images have no prompt in {request.prompts}: {listed(strange)}; expected names such as "
            f"{min(known)}"
        )
    complete = [prompt for prompt in prompts if all(name in images for name in names[prompt.id])]
    wanted = request.num_prompts or min(PROMPTS, len(prompts))
    if len(complete) < wanted:
        missing = sorted(known - set(images))
        raise StudyError(
            f"{len(complete):,} of {len(prompts):,} prompts of {request.prompts} have {request.images} images each; "
            f"expected {wanted:,} (--num-prompts); missing: {listed(missing) or 'further prompts'}"
        )
    return subset(complete, wanted, salt=request.seed)


def _plan_checks(request: Request, prompts: list[PromptEntry]) -> list[_PlannedCheck]:
    if len(prompts) < 2 and "relevance" in request.criteria:
        raise StudyError("one prompt gives no pair with a known answer to relevance; expected at least two prompts")
    count = min(MOST_CHECKS, math.ceil(request.attention * len(prompts) * request.images))
    training: Use = "training"
    attention: Use = "attention"
    uses = [training] * TRAINING + [attention] * count
    planned = []
    for criterion in request.criteria:
        order = random.Random(f"checks/{request.seed}/{criterion}").sample(prompts, len(prompts))
        for number, use in enumerate(uses):
            entry = order[number % len(order)]
            planned.append(_PlannedCheck(use=use, criterion=criterion, entry=entry, stem=f"{criterion}-{number}"))
    return planned


def _draw_checks(
    request: Request, checks: list[_PlannedCheck], prompts: list[PromptEntry], images: Mapping[str, Path]
) -> None:
    (request.out / "checks").mkdir(parents=True, exist_ok=True)
    for check in checks:
        rng = random.Random(f"checks/{request.seed}/{check.stem}")
        read_image(images[check.entry.id]).save(request.out / check.row["first"])
        worse(check.criterion, check.entry, prompts, images, rng).save(request.out / check.row["second"])


def _toml(request: Request, name: str, pairs: list[tuple[str, str]], checks: list[_PlannedCheck]) -> str:
    lines = [
        f"name = {_quoted(name)}",
        'prompts = "prompts.jsonl"',
        f"images_per_prompt = {request.images}",
        f"pairs = {json.dumps([list(pair) for pair in pairs])}",
        f"criteria = {json.dumps(list(request.criteria))}",
        "assessors = 3  # for each question about each pair",
        f"attention = {request.attention}  # attention checks as a share of the answers",
        'sub_questions = "asked"  # or "shown"',
        f"language = {_quoted(request.language)}",
        f"seed = {request.seed}",
        "",
        "[systems]",
        *(f"{_quoted(key)} = {_quoted(os.path.relpath(path, request.out))}" for key, path in request.systems.items()),
    ]
    for check in checks:
        lines += ["", "[[checks]]", *(f"{key} = {_quoted(value)}" for key, value in check.row.items())]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A basic string of TOML; JSON's escapes are among its own, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
