"""Work of an experiment that a queue hands out: each unit is done as a whole, by one process."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A student with its images and scores, or the images and scores of another row.

    Attributes:
        name: of files; the same unit of two tables has the same.
        label: for a reader.
        tokens: image tokens that pass a network in all of it, by an estimate: how long it takes beside the others.
        student: name of the training in it, which other units may share; empty where nothing is trained.
        done: whether nothing is left to do, by what lies on disk.
        do: does what is left, and may be killed at any time.
    """

    name: str
    label: str
    tokens: float
    student: str
    done: Callable[[], bool]
    do: Callable[[], None]
