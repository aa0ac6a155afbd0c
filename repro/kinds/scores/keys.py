"""What numbers beside the metrics of a profile are called in the records of a table of scores."""

from repro.harness.effects import without_group

__all__ = ["cut", "without_group"]


def cut(metric: str) -> str:
    """Share of the captions that are longer than what a metric's text encoder reads: a record."""
    return f"{metric}_cut"
