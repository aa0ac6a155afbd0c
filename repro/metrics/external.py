"""Scores of a program in an environment of its own, through two JSONL files.

A scorer whose package asks for other versions (HPSv3, the official ImageReward) never meets ours. It is a command that
reads requests, one line per image,

    {"id": "12", "image": "/abs/path/12.png", "caption": "a red star"}

and adds a line per image to its results, in any order,

    {"id": "12", "score": 1.25}

In the command `{requests}` and `{results}` stand for the two paths; it runs without a shell. Results of a run that was
killed stay in place, and a scorer may leave out ids that it finds there. They count as scores only once every id has
exactly one finite number. Without a command, results that were made elsewhere are read.

`hpsv3` and `official_image_reward` are ready declarations; their programs are in `repro/metrics/runners`.
"""

import json
import math
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from repro.harness.files import digest_json
from repro.metrics.base import Estimate, Measured, Prompt, mean_estimate

RUNNERS = Path(__file__).parent / "runners"
REQUESTS, RESULTS, FINISHED = "requests.jsonl", "results.part.jsonl", "results.jsonl"


class ScorerError(RuntimeError):
    """An external scorer failed, has not run, or left results that are not one number per image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """An external scorer: `--scorer KEY="command with {requests} and {results}"`.

    Attributes:
        key: record key of its scores.
        command: words of the command, the two placeholders among them; None reads results that are already there.
    """

    key: str
    command: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.key.isidentifier():
            raise ValueError(f"the key of a scorer is a name of letters, digits and underscores, got {self.key!r}")
        words = " ".join(self.command or ())
        missing = [name for name in ("{requests}", "{results}") if self.command is not None and name not in words]
        if missing:
            raise ValueError(f"the command of scorer {self.key} has no {' and no '.join(missing)}: {words!r}")

    @classmethod
    def parse(cls, text: str) -> "Scorer":
        """From ``key=command``; ``key`` or ``key=`` alone reads results that are already there.

        Raises:
            ValueError: the key is no name, a quote is open, or a placeholder is missing.
        """
        key, _, command = text.partition("=")
        return cls(key=key.strip(), command=tuple(shlex.split(command)) or None)

    def inputs(self) -> dict[str, Any]:
        """Key and command; what the other environment holds is not known here."""
        return {"scorer": self.key, "command": list(self.command) if self.command else None}


def hpsv3(python: str, *, device: str = "cuda") -> Scorer:
    """HPSv3 (Ma et al., 2025), which v2 of SwD reports: a Qwen2-VL reward model of 7B parameters.

    Args:
        python: interpreter of an environment with the package ``hpsv3`` (`pip install hpsv3==1.0.0`; it asks for
            transformers 4.45.2).
        device: where the model runs.
    """
    runner = str(RUNNERS / "hpsv3_official.py")
    return Scorer(key="hpsv3", command=(python, runner, "{requests}", "{results}", "--device", device))


def official_image_reward(python: str, weights: Path, *, tokenizer: Path | None = None, device: str = "cpu") -> Scorer:
    """ImageReward by its own package, the oracle of `repro.metrics.image_reward`; it writes the same key.

    Args:
        python: interpreter of the environment that `nox -s imagereward` makes.
        weights: folder with ImageReward.pt and med_config.json.
        tokenizer: folder of bert-base-uncased; None asks the hub's cache, or the hub.
        device: where the model runs.
    """
    runner = str(RUNNERS / "image_reward_official.py")
    options = ["--weights", str(weights.resolve()), "--device", device]
    options += ["--tokenizer", str(tokenizer.resolve())] if tokenizer else []
    return Scorer(key="image_reward", command=(python, runner, "{requests}", "{results}", *options))


@dataclass(frozen=True, slots=True)
class Request:
    """One image to score."""

    id: str
    image: Path
    caption: str


class ExternalScore:
    """What an external scorer said, as a metric: the value of an image is looked up by the id of its prompt.

    Args:
        scorer: whose scores they are.
        scores: by prompt id, from `scores_of`.
    """

    def __init__(self, scorer: Scorer, scores: Mapping[str, float]) -> None:
        self.key = scorer.key
        self._scorer = scorer
        self._scores = scores

    def inputs(self) -> dict[str, Any]:
        """The scorer, and a hash of its scores: they are files of somebody else's."""
        return {**self._scorer.inputs(), "scores": digest_json(dict(self._scores)), "version": 1}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Mapping[str, np.ndarray]:
        """Scores (B,); the pixels play no part.

        Raises:
            ScorerError: a prompt has no score.
        """
        ids = [str(prompt["id"]) for prompt in prompts]
        if missing := [name for name in ids if name not in self._scores]:
            raise ScorerError(f"{self.key} has no score for prompt {missing[0]!r}")
        return {self.key: np.array([self._scores[name] for name in ids])}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """Mean score."""
        return {self.key: mean_estimate(measured.column(self.key))}


def scores_of(scorer: Scorer, requests: Iterable[Request], folder: Path) -> dict[str, float]:
    """Scores by id: read where they are finished, else asked of the scorer.

    Args:
        scorer: what to run.
        requests: every image of a row, ids distinct.
        folder: of this scorer and this row; keeps requests and results.

    Raises:
        ValueError: two requests of one id, or none.
        ScorerError: the command failed, or its results are not one finite number per request.
    """
    wanted = write_requests(requests, folder / REQUESTS)
    finished = folder / FINISHED
    if not finished.exists():
        if scorer.command is None:
            raise ScorerError(
                f"no results of scorer {scorer.key}: score the images named in {folder / REQUESTS} and write "
                f'lines {{"id": ..., "score": ...}} to {finished}, or give a command: {scorer.key}="..."'
            )
        _run(scorer, folder)
        read_results(folder / RESULTS, wanted)
        (folder / RESULTS).replace(finished)
    return read_results(finished, wanted)


def write_requests(requests: Iterable[Request], path: Path) -> list[str]:
    """Write one line per request, whole or not at all; gives their ids."""
    requests = list(requests)
    ids = [request.id for request in requests]
    if not ids:
        raise ValueError("no images to score")
    if twice := next((name for index, name in enumerate(ids) if name in set(ids[:index])), None):
        raise ValueError(f"two images have the id {twice!r}")
    lines = ({"id": r.id, "image": str(r.image.resolve()), "caption": r.caption} for r in requests)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".writing")
    part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    part.replace(path)
    return ids


def read_results(path: Path, ids: Sequence[str]) -> dict[str, float]:
    """Read results and check that they are one finite number for each id.

    Raises:
        ScorerError: names the line that is no result, or the id that is missing, unknown or there twice.
    """
    wanted, scores = set(ids), dict[str, float]()
    for number, line in _lines(path):
        name, score = _result(line, f"{path}:{number}")
        if name not in wanted:
            raise ScorerError(f"{path}:{number}: id {name!r} was not asked for")
        if name in scores:
            raise ScorerError(f"{path}:{number}: id {name!r} is there twice")
        scores[name] = score
    if missing := [name for name in ids if name not in scores]:
        raise ScorerError(f"{path}: {len(missing)} of {len(ids)} images have no score, the first is {missing[0]!r}")
    return {name: scores[name] for name in ids}


def _result(line: str, where: str) -> tuple[str, float]:
    try:
        found = json.loads(line)
        name, score = found["id"], found["score"]
    except (ValueError, TypeError, KeyError) as error:
        raise ScorerError(f'{where}: expected {{"id": ..., "score": ...}}, got {line[:80]!r}') from error
    if not isinstance(name, str):
        raise ScorerError(f"{where}: an id is a string as in the requests, got {name!r}")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ScorerError(f"{where}: the score of {name!r} must be a finite number, got {score!r}")
    return name, float(score)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ScorerError(f"the scorer wrote no {path}") from error
    except UnicodeDecodeError as error:
        raise ScorerError(f"{path} is no UTF-8 text: {error}") from error
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _run(scorer: Scorer, folder: Path) -> None:
    places = {"{requests}": str(folder / REQUESTS), "{results}": str(folder / RESULTS)}
    words = list(scorer.command or ())
    for name, path in places.items():
        words = [word.replace(name, path) for word in words]
    try:
        status = subprocess.run(words, check=False).returncode
    except OSError as error:
        raise ScorerError(f"cannot start scorer {scorer.key}: {error}; its command is {shlex.join(words)}") from error
    if status != 0:
        raise ScorerError(f"scorer {scorer.key} failed with exit status {status}: {shlex.join(words)}")
