"""One folder for each kind of result: a declaration (plain data), what measures it, and its page.

A folder here whose ``__init__`` holds a ``KIND`` is found by the command line, by rendering and by nox; a kind that
lives elsewhere calls ``register``.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from repro.harness.experiment import Experiment
from repro.harness.kind import Kind

_registered: list[Kind[Any]] = []


def register(kind: Kind[Any]) -> None:
    """Make a kind from outside this folder known.

    Raises:
        ValueError: its declaration class or its name belongs to another kind.
    """
    for known in kinds():
        if known.declaration is kind.declaration or known.name == kind.name:
            raise ValueError(f"kind {kind.name!r} declares {kind.declaration.__name__}, as does kind {known.name!r}")
    _registered.append(kind)


def kinds() -> tuple[Kind[Any], ...]:
    """Every kind: the folders here in name order, then what was registered."""
    folders = (module.name for module in iter_modules(__path__) if module.ispkg)
    return (*(import_module(f"{__name__}.{folder}").KIND for folder in folders), *_registered)


def kind_of(experiment: Experiment) -> Kind[Any]:
    """The kind whose declaration an experiment is.

    Raises:
        TypeError: none declares it.
    """
    for kind in kinds():
        if isinstance(experiment, kind.declaration):
            return kind
    raise TypeError(f"{type(experiment).__name__} is no declaration of a kind of result")
