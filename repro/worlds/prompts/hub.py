"""Rows of a Hugging Face data set: a folder of parquet files, one that `save_to_disk` left, or a name on the hub.

Only the columns that are asked for are read, so that no image is decoded. The libraries are the extra `datasets`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from repro.worlds.prompts.entry import PromptFileError

EXTRA = "pip install -e '.[datasets]' -c constraints.txt"


def read_dataset(
    source: Path | str, aliases: Mapping[str, Sequence[str]], *, required: Sequence[str]
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Rows by our names of columns, counted from 0.

    Args:
        source: a folder, a parquet file, or a name such as "sayakpaul/coco-30-val-2014", also with a split:
            "owner/name:validation".
        aliases: our name of a column -> names it has in data sets.
        required: of our names, those without which nothing can be read.

    Raises:
        PromptFileError: the extra is not installed, there is no such data set, or a column is missing.
    """
    table = _load(source)
    there = table.column_names
    columns = {ours: next((name for name in theirs if name in there), "") for ours, theirs in aliases.items()}
    for ours in required:
        if not columns[ours]:
            wanted = " or ".join(map(repr, aliases[ours]))
            raise PromptFileError(f"{source}: no column {wanted} in {', '.join(there)}")
    columns = {ours: theirs for ours, theirs in columns.items() if theirs}
    for number, row in enumerate(table.rows(list(columns.values()))):
        yield number, {ours: _text(source, number, row[theirs]) for ours, theirs in columns.items()}


@dataclass(frozen=True, slots=True)
class _Table:
    column_names: list[str]
    rows: Callable[[list[str]], Iterable[Mapping[str, Any]]]


def _text(source: Path | str, number: int, value: Any) -> str:
    if isinstance(value, list) and value:  # all captions of an image: the first
        value = value[0]
    if not isinstance(value, str | int):
        raise PromptFileError(
            f"{source}, row {number}: {value!r} is a {type(value).__name__}; expected text or a number"
        )
    return str(value)


def _load(source: Path | str) -> _Table:
    datasets, parquet = _library(source, "datasets"), _library(source, "pyarrow.dataset")
    path = Path(source)
    try:
        if files := _parquet(path):  # not through datasets, which would copy every column, images too, into its cache
            found = parquet.dataset([str(file) for file in files], format="parquet")
            return _Table(found.schema.names, lambda columns: found.to_table(columns=columns).to_pylist())
        table = _saved(datasets, path) if path.exists() else _of_hub(datasets, str(source))
        return _Table(table.column_names, table.select_columns)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise PromptFileError(f"cannot load the data set {source}: {error}") from error


def _saved(datasets: Any, path: Path) -> Any:
    if not (path / "state.json").is_file():
        raise PromptFileError(f"{path} is no data set; expected .parquet files, or a folder that save_to_disk left")
    return datasets.load_from_disk(str(path))


def _of_hub(datasets: Any, source: str) -> Any:
    name, _, split = source.partition(":")
    found = datasets.load_dataset(name, split=split or None)
    if split:
        return found
    if len(found) > 1:
        raise PromptFileError(f"{source} has splits {', '.join(found)}: name one, as {source}:{next(iter(found))}")
    return next(iter(found.values()))


def _parquet(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))


def _library(source: Path | str, name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise PromptFileError(
            f"{source} is read by the package datasets, of the extra of that name: {EXTRA}"
        ) from error
