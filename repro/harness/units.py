"""Work of an experiment that a queue hands out: each unit is done as a whole, by one process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Spent(NamedTuple):
    """What a unit took where all of it was done at once: by this the time of others is estimated."""

    flops: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A student with its images and scores, or the images and scores of another row.

    Attributes:
        name: of files; the same unit of two tables has the same.
        label: for a reader.
        flops: of the networks that draw its images.
        training_flops: of the training in it.
        student: name of that training, which other units may share; empty where nothing is trained.
        done: whether nothing is left to do, by what lies on disk.
        do: does what is left, and may be killed at any time.
        spent: what it took; None where it is not done, or was not done in one go.
    """

    name: str
    label: str
    flops: float
    training_flops: float = 0.0
    student: str = ""
    done: Callable[[], bool]
    do: Callable[[], None]
    spent: Callable[[], Spent | None] = lambda: None
