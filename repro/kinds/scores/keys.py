"""What numbers beside the metrics of a profile are called in the records of a table of scores."""


def cut(metric: str) -> str:
    """Share of the captions that are longer than what a metric's text encoder reads: a record."""
    return f"{metric}_cut"
