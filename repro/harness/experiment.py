"""What an experiment is, as data: tables of rows, columns and claims.

A table says what is compared (students, steps, claims); ``repro.harness.profile`` says in which world. Nothing here
runs or reads anything.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

from repro.harness.sampling import SamplingPlan
from repro.harness.systems import System
from swd.training.config import DistillConfig

Better = Literal["higher", "lower"]
Role = Literal["prompt_alignment", "text_similarity", "fidelity", "distribution", "diversity", "preference", "reward"]
ROLES: dict[Role, str] = {  # what a metric is for: claims name this, for every profile has metrics of its own
    "prompt_alignment": "Prompt alignment",
    "text_similarity": "Text similarity",
    "fidelity": "Fidelity",
    "distribution": "Distribution",
    "diversity": "Diversity",
    "preference": "Human preference",
    "reward": "Human reward",
}


class ExperimentError(Exception):
    """An experiment cannot run as asked; the command line prints the message, which says what to do, and exits 1."""


class UnknownNameError(LookupError):
    """A name that is not registered; the message lists the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


@dataclass(frozen=True, slots=True)
class Variant:
    """How the command line asks for an experiment under the name of another: ``table1 --extended``.

    Args:
        of: key of the other experiment.
        option: without its dashes.
        help: what differs, for ``--help``.
    """

    of: str
    option: str
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What every kind of experiment declares.

    Args:
        key: name on the command line and of the files.
        title: of the page.
        question: one sentence that the page answers, printed under the title.
        notes: paragraphs printed under the tables, for example links to deviations from the paper.
        variant: how it is asked for, where that is not by its key.
    """

    PAGE_ONLY: ClassVar[frozenset[str]] = frozenset({"title", "question", "notes", "variant"})
    """What is declared and no number follows from: the page reads it, whenever it is rendered."""

    key: str
    title: str
    question: str
    notes: tuple[str, ...] = ()
    variant: Variant | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """Words that ask for it: the command, and the option of a variant."""
        return (self.key,) if self.variant is None else (self.variant.of, f"--{self.variant.option}")

    @property
    def is_distilled(self) -> bool:
        """Whether its own students are distilled to measure it, and none of them ships."""
        return False

    @property
    def content(self) -> dict[str, Any]:
        """All that is declared and that numbers may follow from, as plain data."""
        return {name: value for name, value in asdict(self).items() if name not in self.PAGE_ONLY}


@dataclass(frozen=True, slots=True)
class Column:
    """One metric as a table shows it.

    Args:
        key: metric key in the records, or column name in a CSV of reported numbers.
        label: header, without the arrow.
        better: direction of improvement; None for a quantity that is not a score.
        digits: decimals shown.
        unit: shown in the header.
        percent: records hold a fraction in [0, 1], the page shows it times 100.
        scale: else the page shows what the records hold times this.
        most: largest value that there is, in the unit of the records, at which intervals end; None where there is none.
        detail: shown in the table of details instead of the main one.
        of_teacher: shown as a share of the teacher's too.
        role: what it is for, in claims; None for what no claim is about.
        margin: a row that is worse by less than this, in the unit of the records, is not worse; fixed before anything
            is measured. None for what no claim is about.
        prompts: sets of prompts in which it is measured; empty for all.
        meaning: what it measures, in a few words; empty where the page says so elsewhere.
    """

    key: str
    label: str
    _: KW_ONLY
    better: Better | None = None
    role: Role | None = None
    margin: float | None = None
    digits: int = 2
    unit: str = ""
    percent: bool = False
    scale: float = 1.0
    most: float | None = None
    detail: bool = False
    of_teacher: bool = False
    prompts: tuple[str, ...] = ()
    meaning: str = ""

    @property
    def sign(self) -> float:
        """+1 where higher is better, -1 where lower is."""
        return -1.0 if self.better == "lower" else 1.0

    def is_of(self, prompts: str) -> bool:
        """Whether it is measured in that set of prompts."""
        return not self.prompts or prompts in self.prompts

    @property
    def factor(self) -> float:
        """What a recorded value is multiplied by when shown."""
        return 100.0 if self.percent else self.scale


TOKENS = Column("tokens", "Tokens \u00d7 steps", digits=0)
RELATIVE_FLOPS = Column("relative_flops", "FLOPs of teacher", digits=1, percent=True)
COMPUTE = (TOKENS, RELATIVE_FLOPS)  # records of these carry no prompt set: prompts=""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A named set of prompts; ``reported`` is the set of the paper whose numbers stand beside it."""

    key: str
    label: str
    _: KW_ONLY
    reported: str = ""


TrainingData = Literal["world", "teacher"]
"""Images that students are distilled on: those of the world, or drawn by the teacher for the same captions."""
TRAIN_OPTIONS = frozenset({"schedule", "data"} | {field.name for field in fields(DistillConfig)} - {"preset", "seed"})
SAMPLE_OPTIONS = frozenset({"share"} | {field.name for field in fields(SamplingPlan)} - {"side"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what is trained and how it is sampled, as differences from the profile.

    ``schedule`` is a preset of ``swd.schedule`` without the profile's prefix ("6", "full-2"). ``repro.harness.plan``
    resolves a row in a profile.

    A row is one of five: the teacher, a student (``train``), a published ``system``, a folder of ``images`` that the
    command line names, or the ``real`` images behind the prompts, which show what a metric gives at best.

    Args:
        key: name in claims and records.
        label: shown in the table.
        train: ``schedule`` of the distillation, ``data`` where it is not the world's, and fields of ``DistillConfig``
            that differ from the profile's; None for the teacher itself.
        sample: fields of ``SamplingPlan`` that differ from the schedule trained with, or from the teacher's sampling;
            and ``share``, of the whole side, in (0, 1]: there a teacher's grid stays, a schedule stops after its step
            at that side, and real images are downscaled to it.
        reported: cells that pick this row in the CSV of reported numbers; None where the paper has no such row.
        reported_in: the same in other CSVs, by their names, where the cells differ.
        variant: name of the trained model, shared between rows and tables; the key if empty.
        system: what is sampled in place of the teacher or a student of the profile.
        images: whether it can only be measured from a folder of images: it was sampled elsewhere.
        real: ``real``: the real images behind the prompts; ``decoded``: the same through the profile's VAE, which all
            sampled images have passed.
        profiles: those that have this row; empty for all.
        network: name among those of the profile that takes the place of the teacher's network; empty for that.

    Raises:
        UnknownNameError: an option that does not exist; the message lists the nearest ones.
        ValueError: a training without a schedule, steps and shift of a grid beside a schedule, a share outside (0, 1],
            another network of what is not the teacher, or a row of two kinds.
    """

    key: str
    label: str
    _: KW_ONLY
    train: Mapping[str, Any] | None = None
    sample: Mapping[str, Any] = field(default_factory=dict)
    reported: Mapping[str, str] | None = None
    reported_in: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    variant: str = ""
    system: System | None = None
    images: bool = False
    real: Literal["", "real", "decoded"] = ""
    profiles: tuple[str, ...] = ()
    network: str = ""

    def __post_init__(self) -> None:
        if not self.variant:
            object.__setattr__(self, "variant", self.key)
        for kind, options, known in (("train", self.train, TRAIN_OPTIONS), ("sample", self.sample, SAMPLE_OPTIONS)):
            for name in (options or {}).keys() - known:
                raise UnknownNameError(f"{kind} option of row {self.key}", name, known)
        if self.train is not None and "schedule" not in self.train:
            raise ValueError(f"row {self.key} trains without a schedule")
        if (data := (self.train or {}).get("data", "world")) not in get_args(TrainingData):
            raise ValueError(
                f"row {self.key} trains on data {data!r}, expected one of {', '.join(get_args(TrainingData))}"
            )
        if [self.train is not None, self.system is not None, self.images, bool(self.real)].count(True) > 1:
            raise ValueError(
                f"row {self.key} is a student, a system, a folder of images or the real ones, and not two of them"
            )
        if (self.train is not None or "schedule" in self.sample) and self.sample.keys() & {"steps", "shift"}:
            raise ValueError(f"row {self.key} samples on a schedule: steps and shift belong to the teacher's grid")
        if not 0 < self.share <= 1:
            raise ValueError(f"row {self.key} samples at a share of the side in (0, 1], got {self.share}")
        if self.network and not self.is_teacher:
            raise ValueError(f"row {self.key} names network {self.network!r}, but is not the teacher")

    @property
    def is_teacher(self) -> bool:
        """Whether this row samples the teacher itself."""
        return self.train is None and self.system is None and not self.images and not self.real

    @property
    def is_whole_teacher(self) -> bool:
        """Whether this row samples the profile's own teacher at the whole side: what others are a share of."""
        return self.is_teacher and not self.network and self.share == 1

    @property
    def share(self) -> float:
        """Of the whole side, at which its images are taken."""
        return float(self.sample.get("share", 1.0))

    @property
    def is_student(self) -> bool:
        """Whether this row samples a student of the profile's teacher."""
        return self.train is not None
