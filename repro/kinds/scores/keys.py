"""What numbers beside the metrics of a profile are called in the records of a table of scores."""


def cut(metric: str) -> str:
    """Share of the captions that are longer than what a metric's text encoder reads: a record."""
    return f"{metric}_cut"


def without_group(metric: str, prompts: str, seed: int) -> str:
    """A number of a whole set without each group of captions in turn: a series over the replicates of a jackknife.

    Args:
        metric: the number.
        prompts: the set of prompts.
        seed: of the training.
    """
    return f"{metric} without one group, {prompts}, seed {seed}"
