"""What a figure of the interface is, as data: which question, and whose images it is asked about."""

from collections.abc import Mapping
from dataclasses import dataclass

from repro.harness.experiment import Experiment, Row
from repro.harness.votes.vote import Criterion

NOTES = (
    "The study is a real one, of the first prompts of the set and one image of each, made by `python -m repro study "
    "new` and served for these pictures alone; the pair is the first that its first assessor sees. Which system is on "
    "which side is drawn for every assessor and pair, and no page, address or image file says it.",
    "The parts of relevance, defects and aesthetics are those that the paper's figures show, in our words. Those of "
    "complexity were not recovered and are ours. How a study is made, run and read: [docs/study.md](../docs/study.md).",
)
PICTURES: Mapping[str, str] = {
    "desktop": "a window of a desktop, light",
    "phone": "a window of a phone, dark",
}
"""Kinds of the two pictures, and what they show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceFigure(Experiment):
    """The page of one question.

    Args:
        criterion: the question.
        systems: two rows that are compared.
        prompts: set of prompts, where the profile has it; its last set otherwise.
        num_prompts: of the study.
    """

    criterion: Criterion
    systems: tuple[Row, Row] = (
        Row("scalewise_6", "Scale-wise, 6 steps", train={"schedule": "6"}),
        Row("fullscale_6", "Full-scale, 6 steps", train={"schedule": "full-6"}),
    )
    prompts: str = "compositional"
    num_prompts: int = 4
    notes: tuple[str, ...] = NOTES
