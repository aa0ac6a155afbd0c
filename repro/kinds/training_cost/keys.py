"""What the numbers of the page of training costs are called in its records.

The variant is the key of an ``Order``, or a part of one (``part``); the metric names the model.
"""


def seconds(model: str) -> str:
    """Seconds of an iteration: a series over rounds."""
    return f"seconds_{model}"


def peak_bytes(model: str) -> str:
    """Peak memory of an iteration as measured, in bytes: a record."""
    return f"peak_bytes_{model}"


def flops(model: str) -> str:
    """FLOPs of an iteration, or of a part of it, for each sample of the batch: a record."""
    return f"flops_{model}"


def counted_bytes(model: str) -> str:
    """Peak memory of an iteration as counted, in bytes: a record."""
    return f"counted_bytes_{model}"


def part(order: str, name: str) -> str:
    """Variant of what an order spends on one of its passes, or on encoding."""
    return f"{order}: {name}"


def part_name(variant: str, order: str) -> str | None:
    """Which part of an order a variant is; None if it is none."""
    name = variant.removeprefix(part(order, ""))
    return None if name == variant else name
