"""The page of metrics, from the records alone."""

import math
from collections.abc import Sequence
from pathlib import Path

from repro.harness.cells import DASH, markdown, number, sentence, signed
from repro.harness.page import footer, joined
from repro.harness.words import lower
from repro.kinds.validity.declare import Candidate
from repro.kinds.validity.result import Bar, Contrast, Held, ValidityResult

PLUS_MINUS = "\u00b1"
SIGNS = "Positive: better than those; larger, where a metric has no better side."
MARGINS = (
    "A margin of claims is a tenth of what a known fault cost on this page when the margin was fixed, which was before "
    "the records of claims, and never changes with the numbers ([when](../docs/decisions/verdicts.md))."
)
NOT_TRIED = "not measured"
HUGE = 999  # standard errors; more are not worth telling apart


def page(result: ValidityResult, folder: Path) -> str:
    """The Markdown page; the picture is linked if it is in ``folder``."""
    name = f"figures/{result.stem}_samples.png"
    picture = f"![Samples]({name})\n\n*The same captions in every row.*"
    return joined(
        [
            f"# {result.title}",
            result.experiment.question,
            f"> {result.profile.caption}",
            "## Which metrics may be used in claims",
            _verdicts(result),
            "## Values",
            _values(result),
            "## Standard errors from real images through the VAE",
            SIGNS,
            _separations(result),
            "## Bars",
            _bars(result),
            *_margins(result),
            *result.experiment.notes,
            picture if (folder / name).exists() else "",
            *footer(result),
        ]
    )


def _verdicts(result: ValidityResult) -> str:
    heads = ["Metric", "Fit for claims", "Ordered as it must be", "Nearest pair", "Why not"]
    rows = []
    for candidate in result.experiment.candidates:
        faults, found = result.faults(candidate), result.orders(candidate)
        held = sum(contrast.errors >= result.experiment.separation for contrast in found)
        nearest = min(found, key=lambda contrast: contrast.errors, default=None)
        cells = [candidate.column.label, "no" if faults else "**yes**", f"{held} of {len(candidate.orders)}"]
        rows.append([*cells, _pair(result, nearest), sentence("; ".join(faults)) if faults else ""])
    return markdown(heads, rows, left=5)


def _pair(result: ValidityResult, found: Contrast | None) -> str:
    if found is None:
        return DASH
    better, worse = (result.experiment.condition(key).label for key in (found.better, found.worse))
    return f"{better} over {worse}: {_errors(found.errors)}"


def _values(result: ValidityResult) -> str:
    conditions = result.experiment.conditions
    rows = [
        [_head(candidate), *(_value(result, candidate, condition.key) for condition in conditions)]
        for candidate in result.experiment.candidates
    ]
    return markdown(["Metric", *(condition.label for condition in conditions)], rows)


def _head(candidate: Candidate) -> str:
    column = candidate.column
    unit = column.unit or ("%" if column.percent else "")
    arrow = {"higher": " \u2191", "lower": " \u2193", None: ""}[column.better]
    return column.label + (f", {unit}" if unit else "") + arrow


def _value(result: ValidityResult, candidate: Candidate, condition: str) -> str:
    column, found = candidate.column, result.number(condition, candidate.column.key)
    if found is None:
        return DASH
    shown = [number(value * column.factor, column.digits) for value in (found.value, found.half)]
    return f" {PLUS_MINUS} ".join(shown)


def _separations(result: ValidityResult) -> str:
    """How much better than real images through the VAE each condition is called."""
    decoded = result.experiment.decoded
    others = [condition for condition in result.experiment.conditions if condition.key != decoded]
    rows = []
    for candidate in result.experiment.candidates:
        found = (result.contrast(candidate, condition.key, decoded) for condition in others)
        rows.append([candidate.column.label, *(DASH if one is None else _errors(one.errors) for one in found)])
    return markdown(["Metric", *(condition.label for condition in others)], rows)


def _errors(errors: float) -> str:
    if abs(errors) > HUGE or not math.isfinite(errors):
        return ("> " if errors > 0 else "< ") + signed(math.copysign(HUGE, errors), 0)
    return signed(errors, 1)


def _margins(result: ValidityResult) -> list[str]:
    """Margins of claims beside what they would be by the numbers of today."""
    margins = {column.key: column.margin for column in result.profile.columns if column.margin is not None}
    rows = []
    for candidate in result.experiment.candidates:
        margin, column = margins.get(candidate.column.key), candidate.column
        found = result.contrast(candidate, *candidate.cost) if candidate.cost else None
        if margin is None or found is None:
            continue
        best, worse = (lower(result.experiment.condition(key).label) for key in (found.better, found.worse))
        shown = (number(value * column.factor, column.digits + 1) for value in (margin, found.difference / 10))
        rows.append([_head(candidate), f"{worse} against {best}", *shown])
    heads = ["Metric", "What costs ten margins", "Margin", "A tenth now"]
    return ["## Margins", MARGINS, markdown(heads, rows, left=2)] if rows else []


def _bars(result: ValidityResult) -> str:
    table = result.experiment
    distance, power = (table.candidate(key).column.label for key in (table.floor_of, table.kept_of))
    rows = [
        [f"{distance}, real through the VAE by real", f"at most {number(table.floor, 1)}", *_bar(result.distance_bar)],
        [f"{power}, real through the VAE by real", f"at least {number(table.kept, 2)}", *_bar(result.power_bar)],
    ]
    return markdown(["What", "Bar", "Measured", ""], [_fit(result), *rows, _apart(result), _room(result)], left=2)


def _fit(result: ValidityResult) -> list[str]:
    """Whether claims rest on metrics that are fit for them."""
    primary, unfit = result.experiment.primary, _labels(result, result.unfit)
    found = f"{len(primary) - len(unfit)} of {len(primary)}" + (f"; not {', '.join(unfit)}" if unfit else "")
    return ["Metrics that claims rest on and that are fit for it", "all", found, _held(not unfit)]


def _apart(result: ValidityResult) -> list[str]:
    """Whether the world tells students apart that must differ."""
    table, apart = result.experiment, result.told_apart
    better, worse = (table.condition(key).label for key in table.worse)
    what = (
        f"Of these, those that call {lower(worse)} worse than {lower(better)} by {table.separation:g} standard errors"
    )
    found = [NOT_TRIED, ""]
    if apart is not None:
        named = f" ({', '.join(_labels(result, apart))})" if apart else ""
        found = [f"{len(apart)} of {len(table.primary)}{named}", _held(len(apart) >= table.worse_in)]
    return [what, f"at least {table.worse_in}", *found]


def _room(result: ValidityResult) -> list[str]:
    """Whether metrics have room above what networks reach."""
    table, room = result.experiment, result.room
    what = "Sampled images below real ones through the VAE in these, where it is least, in standard errors"
    found = [NOT_TRIED, ""]
    if room is not None:
        nearest = f"{_labels(result, [room.metric])[0]} of {lower(table.condition(room.condition).label)}"
        found = [f"{_errors(room.errors)} ({nearest})", _held(room.errors >= table.room)]
    return [what, f"at least {number(table.room, 1)}", *found]


def _labels(result: ValidityResult, metrics: Sequence[str]) -> list[str]:
    return [lower(result.experiment.candidate(key).column.label) for key in metrics]


def _held(held: bool) -> str:
    return (Held.YES if held else Held.NO).value


def _bar(bar: Bar) -> tuple[str, str]:
    return f"{number(bar.ratio, 2)} {PLUS_MINUS} {number(bar.half, 2)}", bar.held.value
