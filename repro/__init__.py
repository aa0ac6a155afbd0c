"""Regenerates the tables and figures of "Scale-wise Distillation of Diffusion Models" with the ``swd`` library.

``python -m repro table2 --profile mini`` measures and renders one table.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.harness.experiment import Table

TABLES = {"table2": "repro.table2"}  # name on the command line -> module that declares TABLE


def load_table(name: str) -> "Table":
    """The declaration of a table.

    Raises:
        UnknownNameError: no such table; the message lists the nearest names.
    """
    from repro.harness.experiment import UnknownNameError

    if name not in TABLES:
        raise UnknownNameError("table", name, TABLES)
    table: Table = import_module(TABLES[name]).TABLE
    return table
