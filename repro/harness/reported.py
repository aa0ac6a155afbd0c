"""What the paper reports of a table, as data: where its numbers are, and how far ours may be from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from repro.harness.experiment import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far a number that was measured again may be from a published one. Fixed in the declaration.

    Args:
        metric: ours, as in the records.
        tolerance: in the unit of the records: other seeds, and what the published recipe leaves open.
        scale: the published number is the recorded one times this.
        relative: this share of the published number is tolerated, where that is more.
    """

    metric: str
    tolerance: float
    scale: float = 1.0
    relative: float = 0.0

    def allowed(self, published: float) -> float:
        """The tolerance of a published number in the unit of the records."""
        return max(self.tolerance, self.relative * published)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Where the paper's numbers of a table are.

    Args:
        csv: file in ``repro/reported``.
        label: model and source, as the caption names them.
        match: cells that every row shares.
        columns: metrics shown, by CSV column.
        costs: columns of no set of prompts, what a row costs, where a row of the CSV has all sets.
        prompts_column: CSV column that ``PromptSet.reported`` picks from.
        prefixes: ``PromptSet.reported`` -> how the columns of that set begin, where a row of the CSV has all sets.
        profiles: those with the model and the data of these numbers: there values are compared, not only their order.
        agreement: CSV column -> what is measured for it.
        cost_agreement: the same of ``costs``.
        images: behind each distance of distributions, which falls with their number; None where it does not say.
        missing: footnote for rows that the paper's table does not have.
        lost: a version of the paper whose numbers of this table were not recovered: it gets a column that says so.
    """

    csv: str
    label: str
    match: Mapping[str, str]
    columns: tuple[Column, ...]
    costs: tuple[Column, ...] = ()
    prompts_column: str = "prompts"
    prefixes: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    cost_agreement: Mapping[str, Agreement] = field(default_factory=dict)
    images: int | None = None
    missing: str = "not published"
    lost: str = ""
