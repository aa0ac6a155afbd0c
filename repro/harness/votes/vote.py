"""One vote: an assessor saw two images of one prompt side by side and answered one question about them."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Choice = Literal["left", "right", "tie"]
Criterion = Literal["relevance", "aesthetics", "complexity", "defects"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The answer of an assessor to one question about one pair.

    Args:
        study: name of the study.
        prompt: identity of the prompt, the same for all its images.
        image: which image of the prompt, from 0; both sides show the same one of their system (same seed).
        criterion: the question. Of defects the better image is the one with fewer.
        left, right: keys of the systems on either side, as this assessor saw them.
        choice: the better image, or a tie.
        assessor: pseudonym.
        seconds: from the pair's first showing to the answer.
        expected: the known answer of an attention check; empty for a pair of the study.

    Raises:
        ValueError: a choice or criterion of another name, a system against itself (but for an attention check), an
            empty name, a negative image, or seconds that are negative or not finite.
    """

    study: str
    prompt: str
    image: int
    criterion: Criterion
    left: str
    right: str
    choice: Choice
    assessor: str
    seconds: float
    expected: Choice | Literal[""] = ""

    def __post_init__(self) -> None:
        for name in ("study", "prompt", "left", "right", "assessor"):
            if not getattr(self, name):
                raise ValueError(f"a vote needs a {name}, got an empty one")
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {self.criterion!r}")
        if self.choice not in get_args(Choice):
            raise ValueError(f"choice must be one of {', '.join(get_args(Choice))}, got {self.choice!r}")
        if self.expected not in (*get_args(Choice), ""):
            raise ValueError(f"expected must be empty or one of {', '.join(get_args(Choice))}, got {self.expected!r}")
        if self.left == self.right and not self.expected:
            raise ValueError(f"a pair has two systems, got {self.left} on both sides")
        if self.image < 0:
            raise ValueError(f"image must not be negative, got {self.image}")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"seconds must be finite and not negative, got {self.seconds}")

    @property
    def identity(self) -> tuple[str, ...]:
        """What may occur once: an assessor answers a question about a pair once."""
        pair = sorted((self.left, self.right))
        return ("vote", self.study, self.prompt, f"{self.image:06d}", self.criterion, *pair, self.assessor)
