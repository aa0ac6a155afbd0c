"""From records to the text of a cell: values, intervals, dashes with their footnotes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, variance

import pandas as pd
from scipy.special import stdtrit

from repro.harness.effects import captions_of, effects_of_images, effects_of_sets
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.published import published_value
from repro.harness.reported import Reported
from repro.harness.schema import Record, RecordSet

MINUS, DASH, TIMES = "\u2212", "\u2014", "\u00d7"
TRIED = "What the columns measure; how well each does stands on [the page of metrics](validity.md)."
ARROWS = {"higher": " \u2191", "lower": " \u2193", None: ""}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over training seeds with its 95 % interval, in the unit of the records."""

    value: float
    low: float | None
    high: float | None


@dataclass(slots=True)
class Footnotes:
    """Reasons, lettered in the order in which the cells of one table ask for them."""

    reasons: list[str] = field(default_factory=list)

    def dash(self, reason: str) -> str:
        """An em dash that points to its reason."""
        return self.mark(DASH, reason)

    def mark(self, text: str, remark: str) -> str:
        """A text that points to a remark; the text alone where there is none."""
        if not remark:
            return text
        if remark not in self.reasons:
            self.reasons.append(remark)
        return f"{text} ({_letter(self.reasons.index(remark))})"

    def text(self) -> str:
        """The footnotes, one per line; empty without any."""
        return "\n".join(f"- ({_letter(i)}) {sentence(reason)}" for i, reason in enumerate(self.reasons))


def measured(records: RecordSet, variant: str, prompts: str, metric: str) -> Estimate | None:
    """The number of a cell, with the interval of its values per image or replicates where it has them.

    Images of one caption belong together and several training seeds see the same captions: `repro.harness.inference`.
    Where neither is recorded, or the number is no mean of its values per image, the records' own intervals serve.
    """
    found = estimate(records.find(variant, prompts, metric))
    if found is None or captions_of(records, prompts) is None:
        return found
    effects = effects_of_images(records, variant, prompts, metric) or effects_of_sets(records, variant, prompts, metric)
    if effects is None or not math.isclose(effects.value, found.value, rel_tol=1e-4, abs_tol=1e-9):
        return found
    half = effects.spread().half()
    return Estimate(found.value, found.value - half, found.value + half) if half else found


def estimate(records: Sequence[Record]) -> Estimate | None:
    """One number from the records of a cell; None if none of them has a value.

    Several training seeds: their spread gives a half-width by Student's t, for the seeds are few, and the prompts,
    which all seeds share, one by the mean variance within a seed. The two add in quadrature.
    """
    found = [record for record in records if record.value is not None]
    if not found:
        return None
    values = [record.value for record in found if record.value is not None]
    widths = [
        (record.ci_high - record.ci_low) / 2
        for record in found
        if record.ci_low is not None and record.ci_high is not None
    ]
    if len(found) == 1:
        return Estimate(values[0], found[0].ci_low, found[0].ci_high)
    between = float(stdtrit(len(values) - 1, 0.975)) * math.sqrt(variance(values) / len(values))
    within = math.sqrt(fmean(width**2 for width in widths)) if widths else 0.0
    half = math.hypot(between, within)
    return Estimate(fmean(values), fmean(values) - half, fmean(values) + half)


def number(value: float, digits: int) -> str:
    """Fixed decimals, thousands separated, a real minus sign and no negative zero."""
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    """As ``number``, with a plus sign."""
    text = number(value, digits)
    return text if text.startswith(MINUS) else f"+{text}"


def with_interval(shown: Estimate, column: Column) -> str:
    """A value as the column shows it, and its interval in brackets where there is one, cut at what is possible."""
    text = number(shown.value * column.factor, column.digits)
    if shown.low is None or shown.high is None:
        return text
    bounds = (shown.low, shown.high if column.most is None else min(shown.high, column.most))
    low, high = (number(bound * column.factor, column.digits) for bound in bounds)
    return f"{text} [{low}, {high}]"


def header(column: Column, group: str = "") -> str:
    """Column title: label, unit, group, and an arrow towards better."""
    unit = column.unit or ("%" if column.percent else "")
    return column.label + (f", {unit}" if unit else "") + (f" ({group})" if group else "") + ARROWS[column.better]


def glossary(columns: Iterable[Column]) -> str:
    """What columns measure, a line for each that says so; empty where none does."""
    lines = [f"- *{column.label}*: {column.meaning}." for column in columns if column.meaning]
    return "\n".join([TRIED, "", *lines]) if lines else ""


def paper(reported: Reported, row: Row, prompts: PromptSet, column: Column, notes: Footnotes) -> str:
    """A published cell, or a dash with the reason why there is none."""
    value = published_value(reported, row, prompts, column.key)
    return notes.dash(reported.missing) if value is None else number(value * column.factor, column.digits)


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table of ready-made cells; all but the first ``left`` columns are aligned to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    align = ["left"] * left + ["right"] * (len(headers) - left)
    # Without disable_numparse tabulate would read "0.230" as a number and drop the zero.
    text: str = pd.DataFrame(cells, columns=list(headers)).to_markdown(
        index=False, colalign=align, disable_numparse=True
    )
    return text


def sentence(text: str) -> str:
    """With a large first letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _letter(index: int) -> str:
    """One of a to z, then of aa to zz."""
    before = _letter(index // 26 - 1) if index >= 26 else ""
    return before + chr(ord("a") + index % 26)
