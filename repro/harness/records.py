"""Every number of the project, in one schema: JSON lines with their provenance beside them.

A records file holds six kinds of lines: ``run`` (where numbers come from), ``record`` (a number with its interval),
``per_image`` (the values behind it, in prompt order), ``series`` (many values of one thing, such as rounds of a clock),
``curve`` (a measured function) and ``votes`` (what people answered). One file belongs to one experiment and one
profile. Reading is strict: whatever is not exactly the schema is an error that names its line, and so is every other
schema, older ones included.
"""

import json
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from repro.harness.files import canonical_json, digest_json, input_file, write_atomic
from repro.harness.schema import SCHEMA, Curve, Line, PerImage, Record, RecordError, RecordSet, Run, Series, VoteLine

__all__ = [
    "SCHEMA",
    "Curve",
    "Line",
    "PerImage",
    "Record",
    "RecordError",
    "RecordSet",
    "Run",
    "Series",
    "VoteLine",
    "dumps",
    "load",
    "parse",
    "path_of",
    "save",
]

_KINDS: dict[str, type[Line]] = {
    "run": Run,
    "record": Record,
    "per_image": PerImage,
    "series": Series,
    "curve": Curve,
    "votes": VoteLine,
}
ROUNDING = 1e-9  # an interval ends at its value where a share is 1
SIX_DIGITS = 1e-5  # values per image are kept to six digits
_HINTS = {kind: get_type_hints(cls) for kind, cls in _KINDS.items()}


def path_of(out: Path, stem: str) -> Path:
    """Where the records of an experiment in a profile lie: ``records/<stem>.jsonl``."""
    return out / "records" / f"{stem}.jsonl"


def dumps(records: RecordSet) -> str:
    """The text of a records file: the same lines give the same bytes.

    Raises:
        RecordError: a number is NaN or infinite; the message names the line.
    """
    return "".join(_text(line) + "\n" for line in records.lines)


def save(path: Path, records: RecordSet) -> None:
    """Write a records file atomically, after the checks that ``load`` makes.

    Raises:
        RecordError: the lines contradict each other or the schema.
        OutputError: the file cannot be written.
    """
    text = dumps(records)
    parse(text, path)
    write_atomic(path, text)


def load(path: Path) -> RecordSet:
    """Read a records file strictly.

    Raises:
        RecordError: the first bad line, as ``file:line: reason``.
    """
    try:
        text = input_file(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot read records: {error}") from error
    return parse(text, path)


def parse(text: str, path: Path) -> RecordSet:
    """The lines of a records file; ``path`` is for messages only.

    Raises:
        RecordError: the first bad line, as ``file:line: reason``.
    """
    lines: list[Line] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        try:
            line = _line(raw)
            if (first := seen.setdefault(line.identity, number)) != number:
                raise ValueError(f"repeats line {first}: {' '.join(line.identity)}")
        except ValueError as error:
            raise RecordError(f"{path}:{number}: {error}") from None
        lines.append(line)
    records = RecordSet.of(lines)
    _one_table(records, path)
    for line, reason in contradictions(records):
        raise RecordError(f"{path}:{seen[line.identity]}: {reason}")
    return records


def contradictions(records: RecordSet) -> Iterator[tuple[Line, str]]:
    """Lines that are not what others, or their own parts, say they must be, and why: what was changed by hand.

    A config must have its hash, and a number must be the mean of its values per image, and be of as many.
    """
    for run in records.runs:
        if digest_json(run.config) != run.config_hash:
            yield run, f"config of run {run.run} does not have its config_hash"
    per_image = {line.identity[1:]: line.values for line in records.per_image}
    for record in records.records:
        values = [value for value in per_image.get(record.identity[1:], ()) if value is not None]
        if record.value is None or not values:
            continue
        what = f"{record.metric} of {record.variant}"
        if record.n != len(values):
            yield record, f"{what} has n {record.n}, but {len(values)} values per image"
        mean = math.fsum(values) / len(values)
        if not math.isclose(record.value, mean, rel_tol=SIX_DIGITS, abs_tol=SIX_DIGITS * max(map(abs, values))):
            yield record, f"{what} is {record.value}, but its values per image have the mean {mean:.6g}"


def _text(line: Line) -> str:
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(line, cls))
    try:
        text = canonical_json({"kind": kind, **asdict(line)})
        if isinstance(line, Run):
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        return text
    except UnicodeEncodeError as error:
        around = error.object[max(error.start - 30, 0) : error.end]
        raise RecordError(f"{' '.join(line.identity)} holds text that is no Unicode: {around!r}") from None
    except ValueError:
        raise RecordError(f"{' '.join(line.identity)} holds NaN or an infinity; write None and a note") from None


def _line(raw: str) -> Line:
    try:
        data = json.loads(raw, parse_constant=_reject, parse_float=_number, parse_int=_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}); the line may be torn") from None
    except RecursionError:
        raise ValueError("not JSON of a record: nested too deeply") from None
    if not isinstance(data, dict) or data.get("kind") not in _KINDS:
        raise ValueError(f"expected an object with kind {', '.join(_KINDS)}")
    kind = data.pop("kind")
    if data.get("schema") != SCHEMA:
        raise ValueError(
            f"schema {data.get('schema')!r}; this version reads schema {SCHEMA}: delete the file and measure again, or "
            "read it with the version that wrote it"
        )
    _check_fields(kind, data)
    for name, hint in _HINTS[kind].items():
        if get_origin(hint) is tuple and name in data:  # JSON has no tuples
            data[name] = tuple(data[name])
    line = _KINDS[kind](**data)
    if isinstance(line, Record):
        _check_record(line)
    if isinstance(line, Series):
        _check_series(line)
    if isinstance(line, Curve):
        _check_curve(line)
    if isinstance(line, VoteLine):
        _check_votes(line)
    return line


def _check_fields(kind: str, data: Mapping[str, Any]) -> None:
    known = {item.name: item for item in fields(_KINDS[kind])}
    if unknown := sorted(set(data) - set(known)):
        raise ValueError(f"unknown field {unknown[0]!r} of a {kind}")
    required = {name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING}
    if absent := sorted(required - set(data)):
        raise ValueError(f"{kind} without field {absent[0]!r}")
    for name, value in data.items():
        if not _fits(value, _HINTS[kind][name]):
            raise ValueError(f"field {name!r} of a {kind} is {value!r:.60}, expected {_spell(_HINTS[kind][name])}")


def _check_record(record: Record) -> None:
    low, high = record.ci_low, record.ci_high
    if (low is None) != (high is None) or (low is not None and high is not None and low > high):
        raise ValueError(f"interval [{low}, {high}] is not one")
    if low is not None and high is not None and record.value is not None:
        slack = ROUNDING * max(abs(record.value), 1.0)
        if not low - slack <= record.value <= high + slack:
            raise ValueError(f"value {record.value} is outside of its interval [{low}, {high}]")
    if record.value is None and not record.note:
        raise ValueError("a record without a value needs a note that says why")
    if record.n < 0:
        raise ValueError(f"n is {record.n}")


def _check_series(series: Series) -> None:
    if not series.values:
        raise ValueError("a series without values")
    if series.n < 0:
        raise ValueError(f"n is {series.n}")


def _check_curve(curve: Curve) -> None:
    if not len(curve.x) == len(curve.y) == len(curve.error):
        raise ValueError(f"curve of {len(curve.x)} places, {len(curve.y)} values and {len(curve.error)} errors")
    if any(low >= high for low, high in pairwise(curve.x)):
        raise ValueError("the places of a curve must rise")


def _check_votes(line: VoteLine) -> None:
    columns = (line.image, line.assessor, line.left, line.choice, line.seconds, line.expected)
    if not line.image or len({len(column) for column in columns}) > 1:
        raise ValueError(f"votes need columns of one length, at least 1, got {', '.join(str(len(c)) for c in columns)}")
    if not all((line.study, line.prompt, line.first, line.second, *line.assessor)):
        raise ValueError("votes need names of study, prompt, systems and assessors, got an empty one")
    if line.first > line.second or (line.first == line.second and not all(line.expected)):
        raise ValueError(f"first is {line.first!r} and second {line.second!r}, expected two in the order of names")
    if line.first == line.second and "second" in line.left:
        raise ValueError(f"left is second where both systems are {line.first!r}, expected first")
    if any(low >= high for low, high in pairwise(zip(line.image, line.assessor, strict=True))):
        raise ValueError("votes must rise by image, then assessor, each once")
    if min(line.image) < 0 or not all(math.isfinite(value) and value >= 0 for value in line.seconds):
        raise ValueError("images and seconds of votes must be finite and not negative")


def _one_table(records: RecordSet, path: Path) -> None:
    runs = {run.run for run in records.runs}
    for record in records.records:
        if record.run not in runs:
            where = " ".join(record.identity[1:])
            raise RecordError(f"{path}: record {where} names run {record.run!r}, which is not in the file")
    pairs = {(run.table, run.profile) for run in records.runs} | {(r.table, r.profile) for r in records.records}
    if len(pairs) > 1:
        raise RecordError(f"{path}: holds more than one table or profile: {sorted(pairs)}")


def _fits(value: object, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    origin = get_origin(hint)
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if origin is Mapping:
        _, inner = get_args(hint)
        return isinstance(value, dict) and (inner is Any or all(_fits(item, inner) for item in value.values()))
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float) if hint is float else isinstance(value, hint)


def _spell(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("collections.abc.", "")


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _number(text: str) -> int | float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text:.20} is no number that a float can hold")
    return value if set(text) & set(".eE") else int(text)
