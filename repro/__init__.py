"""Regenerates the tables and figures of "Scale-wise Distillation of Diffusion Models" with the ``swd`` library.

``python -m repro table2 --profile mini`` measures and renders one table.
"""

from importlib import import_module
from pkgutil import iter_modules

from repro.harness.experiment import Experiment, UnknownNameError


def experiments() -> dict[str, Experiment]:
    """Every table, figure and page by its key: what the modules of this folder declare.

    Raises:
        ValueError: two experiments share a key.
    """
    found: dict[str, Experiment] = {}
    for module in iter_modules(__path__):
        if module.ispkg or module.name.startswith("_"):
            continue
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, Experiment) and found.setdefault(value.key, value) is not value:
                raise ValueError(f"{module.name}: another experiment has the key {value.key!r}")
    return found


def load_experiment(name: str) -> Experiment:
    """The declaration of a table or figure.

    Raises:
        UnknownNameError: no such experiment; the message lists the nearest names.
    """
    found = experiments()
    if name not in found:
        raise UnknownNameError("experiment", name, found)
    return found[name]
