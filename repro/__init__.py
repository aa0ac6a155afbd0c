"""Regenerates the tables and figures of "Scale-wise Distillation of Diffusion Models" with the ``swd`` library.

``python -m repro table2 --profile mini`` measures and renders one table.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.harness.render import Experiment

EXPERIMENTS = {  # name on the command line -> where it is declared
    "table1": "repro.table1:TABLE",
    "table1_extended": "repro.table1:EXTENDED",
    "table2": "repro.table2:TABLE",
    "table3": "repro.table3:TABLE",
    "benchmarks": "repro.benchmarks:PAGE",
    "training_cost": "repro.training_cost:PAGE",
    "figure1": "repro.figure1:FIGURE",
}


def load_experiment(name: str) -> "Experiment":
    """The declaration of a table or figure.

    Raises:
        UnknownNameError: no such experiment; the message lists the nearest names.
    """
    from repro.harness.experiment import UnknownNameError

    if name not in EXPERIMENTS:
        raise UnknownNameError("experiment", name, EXPERIMENTS)
    module, _, attribute = EXPERIMENTS[name].partition(":")
    found: Experiment = getattr(import_module(module), attribute)
    return found
