"""Scores of a program in an environment of its own, through two JSONL files.

A scorer whose package asks for other versions (HPSv3, the official ImageReward) never meets ours. It is a command that
reads requests, one line per image,

    {"id": "12", "image": "/abs/path/12.png", "caption": "a red star"}

and adds a line per image to its results, in any order,

    {"id": "12", "score": 1.25}

In the command `{requests}` and `{results}` stand for the two paths; it runs without a shell. Without a command, results
that were made elsewhere are read. How it is run, killed and resumed: `repro.metrics.external_run`.

`hpsv3` and `official_image_reward` are ready declarations; their programs are in `repro/metrics/runners`.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from repro.harness.files import digest_json
from repro.metrics.base import Estimate, Measured, Prompt, mean_estimate

RUNNERS = Path(__file__).parent / "runners"
FINISHED = "results.jsonl"  # all scores, in the folder of a scorer and a row


class ScorerError(RuntimeError):
    """An external scorer failed, has not run, or left results that are not one number per image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """An external scorer: `--external KEY="command with {requests} and {results}"`.

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

    @property
    def own_files(self) -> tuple[str, ...]:
        """Files that nobody but a program of ours writes: results that were brought may be changed."""
        return () if self.command is None else (FINISHED,)

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
