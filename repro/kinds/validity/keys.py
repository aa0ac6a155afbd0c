"""What the numbers of the page of metrics are called in its records. The variant is the key of a ``Condition``.

The number itself has the key of its candidate's column.
"""


def without_group(metric: str) -> str:
    """A number without each group of captions in turn: a series over the replicates of a jackknife."""
    return f"{metric}_without_group"
