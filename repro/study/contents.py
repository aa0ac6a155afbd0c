"""What a study consists of: its tasks, its images by their hashes, and whether these changed after votes."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from repro.harness.files import canonical_json, digest_json
from repro.harness.votes.vote import Criterion
from repro.study.database import Database
from repro.study.definition import Study
from repro.study.errors import StudyError
from repro.study.folders import Pair, check_images, listed, pair_up, read_prompts, read_source, served_image, unit_names
from repro.study.texts import Texts, shipped_languages
from repro.worlds.prompts import PromptEntry

PLAIN = ("name", "pairs", "criteria", "images_per_prompt", "assessors", "attention", "sub_questions", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question about one pair.

    Args:
        kind: study, attention or training.
        criterion: the question.
        prompt: identity of the prompt, or of the check.
        caption: what is shown.
        image: number of the image of its prompt.
        first, second: systems; of a check ``first`` and ``second``.
        first_image, second_image: SHA-256 of the files.
        answer: known answer of a check.
        why: shown after the answer to a training pair.
    """

    kind: str
    criterion: Criterion
    prompt: str
    caption: str
    image: int
    first: str
    second: str
    first_image: str
    second_image: str
    answer: str = ""
    why: str = ""

    def rank(self, seed: int) -> int:
        """Its place in a seeded order, below 2 ** 31."""
        key = f"{seed}/{self.kind}/{self.criterion}/{self.prompt}/{self.image}/{self.first}/{self.second}"
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A study with everything that it names.

    Args:
        study: as its file says it.
        tasks: every question about every pair, and the checks.
        sources: SHA-256 -> image file.
        parts: name of a part of the definition -> its digest, for comparing.
    """

    study: Study
    tasks: tuple[Task, ...]
    sources: Mapping[str, Path]
    parts: Mapping[str, str]


def read_contents(study: Study, texts: Texts) -> Contents:
    """Read prompts and images, and check that they pair up.

    Raises:
        StudyError: images that do not pair up, differ in size, cannot be read or belong to no prompt, or prompts
            without images.
        PromptFileError: the prompt file is not as expected.
    """
    prompts = read_prompts(study)
    images = pair_up(study.systems)
    names = _names(study, prompts, images)
    check_images(Pair(check.first, check.second) for check in study.checks)
    digests = {file: hashlib.sha256(read_source(file)).hexdigest() for file in _files(study, images, names)}
    tasks = tuple([*_study_tasks(study, prompts, names, images, digests), *_check_tasks(study, digests)])
    by_system = {
        f"images of {system}": digest_json({name: digests[files[name]] for each in names.values() for name in each})
        for system, files in images.items()
    }
    return Contents(
        study=study,
        tasks=tasks,
        sources={digest: file for file, digest in digests.items()},
        parts={
            **_definition_parts(study, prompts, tasks, texts),
            **by_system,
        },
    )


def serve_images(contents: Contents) -> dict[str, Path]:
    """Copies without metadata of all images, by SHA-256 of their sources; those that are there are kept."""
    return {digest: served_image(contents.study.folder, digest, source) for digest, source in contents.sources.items()}


ANSWERS = "SELECT count(*) FROM assignment WHERE choice IS NOT NULL"  # to training pairs too


def store_contents(database: Database, contents: Contents) -> None:
    """Put the tasks into the database, or see that those in it are the same.

    Raises:
        StudyError: answers exist and the study is not the one that they were given in; names what changed.
    """
    with database.transaction():
        stored = {row["key"]: row["value"] for row in database.rows("SELECT key, value FROM study")}
        if stored == contents.parts:
            return
        if answers := database.value(ANSWERS):
            raise StudyError(_changed(contents, stored, answers))
        for table in ("assignment", "task", "study"):
            database.write(f"DELETE FROM {table}")  # claims at most
        for key, value in contents.parts.items():
            database.write("INSERT INTO study (key, value) VALUES (?, ?)", key, value)
        for task in contents.tasks:
            _insert(database, task, contents.study.seed)


def check_definition(database: Database, study: Study) -> None:
    """See that the study file is the one that the votes were given under, by what it says itself; images are not read.

    Raises:
        StudyError: it is not; names what changed.
    """
    stored = {row["key"]: row["value"] for row in database.rows("SELECT key, value FROM study")}
    answers = database.value(ANSWERS)
    changed = [name for name in PLAIN if answers and stored[name] != canonical_json(getattr(study, name))]
    if changed:
        raise StudyError(f"{study.file}: changed after {answers:,} answers: {', '.join(changed)}; undo the change")


def _changed(contents: Contents, stored: Mapping[str, str], answers: int) -> str:
    parts = contents.parts
    differing = sorted(key for key in {**stored, **parts} if stored.get(key) != parts.get(key))
    language = contents.study.language
    undo = "undo the change"
    if differing == ["questions"] and language in shipped_languages():
        undo = f"the words of {language!r} ship with this version: name a file of those of then as language"
    return (
        f"{contents.study.file}: changed after {answers:,} answers were given: {', '.join(differing)}; "
        f"{undo}, or make another study with `python -m repro study new`"
    )


def _insert(database: Database, task: Task, seed: int) -> None:
    columns = (*Task.__slots__, "rank")
    marks = ", ".join("?" for _ in columns)
    values = [getattr(task, name) for name in Task.__slots__]
    database.write(f"INSERT INTO task ({', '.join(columns)}) VALUES ({marks})", *values, task.rank(seed))


def _names(study: Study, prompts: list[PromptEntry], images: Mapping[str, Mapping[str, Path]]) -> dict[str, list[str]]:
    known = next(iter(images.values()))
    names = {prompt.id: unit_names(prompt.id, study.images_per_prompt, known) for prompt in prompts}
    if missing := [name for each in names.values() for name in each if name not in known]:
        raise StudyError(
            f"{study.prompts} holds {len(prompts):,} prompts of {study.images_per_prompt} images each, but "
            f"{len(missing):,} images are missing: {listed(missing)}"
        )
    return names


def _files(study: Study, images: Mapping[str, Mapping[str, Path]], names: Mapping[str, list[str]]) -> list[Path]:
    own = [files[name] for files in images.values() for each in names.values() for name in each]
    checks = [file for check in study.checks for file in (check.first, check.second)]
    return list(dict.fromkeys([*own, *checks]))


def _study_tasks(
    study: Study,
    prompts: list[PromptEntry],
    names: Mapping[str, list[str]],
    images: Mapping[str, Mapping[str, Path]],
    digests: Mapping[Path, str],
) -> Iterator[Task]:
    for criterion in study.criteria:
        for first, second in study.pairs:
            for prompt in prompts:
                for image, name in enumerate(names[prompt.id]):
                    yield Task(
                        kind="study",
                        criterion=criterion,
                        prompt=prompt.id,
                        caption=prompt.caption,
                        image=image,
                        first=first,
                        second=second,
                        first_image=digests[images[first][name]],
                        second_image=digests[images[second][name]],
                    )


def _check_tasks(study: Study, digests: Mapping[Path, str]) -> Iterator[Task]:
    for number, check in enumerate(study.checks):
        yield Task(
            kind=check.use,
            criterion=check.criterion,
            prompt=f"check-{number}",
            caption=check.caption,
            image=0,
            first="first",
            second="second",
            first_image=digests[check.first],
            second_image=digests[check.second],
            answer=check.answer,
            why=check.why,
        )


def _definition_parts(
    study: Study, prompts: list[PromptEntry], tasks: tuple[Task, ...], texts: Texts
) -> dict[str, str]:
    return {
        **{name: canonical_json(getattr(study, name)) for name in PLAIN},
        "prompts": digest_json([[prompt.id, prompt.caption] for prompt in prompts]),
        "checks": digest_json([task for task in tasks if task.kind != "study"]),
        "questions": texts.questions,
    }
