"""Whose results may lie in a folder: those of a profile as it is in the committed one, of one command in any other."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.harness import records
from repro.harness.files import digest_json
from repro.harness.kind import UsageError
from repro.harness.options import COMMITTED, RunOptions

CHANGING: Mapping[str, Any] = {  # options, and what they are where nothing was typed
    "rows": None,
    "adapters": [],
    "images": [],
    "pipeline": None,
    "num_prompts": None,
    "prompts": [],
    "dtype": None,
    "vae": None,
    "scorer": [],
    "external": [],
    "backend": "own",
    "recipe": None,
    "without": [],
}
NAMED = 5  # differences in a message
LONG = 40  # characters of a value that is no longer shown


def changing(typed: Namespace) -> list[str]:
    """Names of the options that were typed and change what is measured."""
    return [name for name, plain in CHANGING.items() if getattr(typed, name, plain) not in (plain, None)]


def check_committed(typed: Namespace, common: RunOptions) -> None:
    """Refuse for the committed folder what is a part of a table, or measured with other models than the profile names.

    Raises:
        UsageError: names the options.
    """
    changed = changing(typed)
    if changed and common.committed and not typed.dry_run:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise UsageError(
            f"with {shown} this is a part of a table, or another one than profile {typed.profile} stands for: it does "
            f"not belong into {COMMITTED}; choose another --out"
        )


def check_replaced(path: Path, config: Mapping[str, Any], options: RunOptions) -> None:
    """Refuse to replace the records of other settings, but where the newest ones are what is wanted.

    The same settings go on or measure again. In the committed folder records follow code and weights.

    Args:
        path: of the records file.
        config: all that its numbers would follow from.
        options: of the command.

    Raises:
        UsageError: names what differs.
        RecordError: the file is damaged.
    """
    if options.committed or options.replace or not path.exists():
        return
    for run in records.load(path).runs:
        if run.config_hash != digest_json(config):
            found = list(differences(run.config, config))
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            raise UsageError(
                f"{path} was measured with other settings and would be lost; different: {'; '.join(found[:NAMED])}"
                f"{more}. Choose another --out, or --replace it"
            )


def differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """What differs between two values of plain data, each by its dotted name."""
    there, here = _plain(there), _plain(here)
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted({*there, *here}):
            place = f"{name}.{key}" if name else str(key)
            if key in there and key in here:
                yield from differences(there[key], here[key], place)
            else:
                yield f"{place} (only {'there' if key in there else 'here'})"
    elif there != here:
        values = f"{there!r}, now {here!r}"
        yield name if len(values) > LONG else f"{name} {values}"


def _plain(value: Any) -> Any:
    """Lists of one length, whatever their class, as mappings by place; what JSON makes of tuples is no difference."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {f"[{place}]": part for place, part in enumerate(value)}
    return value
