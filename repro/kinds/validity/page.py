"""The page of metrics, from the records alone."""

import math
from pathlib import Path

from repro.harness.cells import DASH, markdown, number, sentence, signed
from repro.harness.page import footer, joined
from repro.kinds.validity.declare import Candidate
from repro.kinds.validity.result import Bar, Contrast, ValidityResult

PLUS_MINUS = "\u00b1"
SIGNS = "Positive: better than those; larger, where a metric has no better side."
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
            "## Bars of the VAE",
            _bars(result),
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


def _bars(result: ValidityResult) -> str:
    table = result.experiment
    distance, power = (table.candidate(key).column.label for key in (table.floor_of, table.kept_of))
    rows = [
        [f"{distance}, real through the VAE by real", f"at most {number(table.floor, 1)}", *_bar(result.distance_bar)],
        [f"{power}, real through the VAE by real", f"at least {number(table.kept, 2)}", *_bar(result.power_bar)],
    ]
    return markdown(["Ratio", "Bar", "Measured", ""], rows, left=2)


def _bar(bar: Bar) -> tuple[str, str]:
    return f"{number(bar.ratio, 2)} {PLUS_MINUS} {number(bar.half, 2)}", bar.held.value
