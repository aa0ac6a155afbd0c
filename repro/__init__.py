"""Regenerates the tables and figures of "Scale-wise Distillation of Diffusion Models" with the ``swd`` library.

``python -m repro table2 --profile mini`` measures and renders one table.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.harness.experiment import Table
    from repro.harness.figure import SpectraFigure

# Name on the command line -> module that declares TABLE or FIGURE.
EXPERIMENTS = {"table2": "repro.table2", "figure1": "repro.figure1"}


def load_experiment(name: str) -> "Table | SpectraFigure":
    """The declaration of a table or figure.

    Raises:
        UnknownNameError: no such experiment; the message lists the nearest names.
    """
    from repro.harness.experiment import UnknownNameError

    if name not in EXPERIMENTS:
        raise UnknownNameError("experiment", name, EXPERIMENTS)
    module = import_module(EXPERIMENTS[name])
    found: Table | SpectraFigure = module.TABLE if hasattr(module, "TABLE") else module.FIGURE
    return found
