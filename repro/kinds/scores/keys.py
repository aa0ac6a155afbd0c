"""What numbers beside the metrics of a profile are called in the records of a table of scores."""


def cut(metric: str) -> str:
    """Share of the captions that are longer than what a metric's text encoder reads: a record."""
    return f"{metric}_cut"


TRAINING_SECONDS = "training_seconds"
"""Seconds that the distillation of a row took: a record of every training seed."""


def loss_at(term: str, side: int) -> str:
    """A term of the student's loss in the steps at a latent side, against iterations: a curve."""
    return f"{term} at side {side}"
