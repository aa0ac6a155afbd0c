"""What the numbers of the page of benchmarks are called in its records. The variant is the name of a benchmark.

Where providers take turns in a benchmark, each has numbers of its own; without a provider they are those of the
benchmark as pytest-benchmark timed it.
"""


def seconds(provider: str = "") -> str:
    """Seconds of a call: a series over rounds; or a record without a value, whose note says why it was skipped."""
    return _of("seconds", provider)


def share_of_roofline(provider: str = "") -> str:
    """Least time that FLOPs and bytes allow by the time taken, a fraction: a record."""
    return _of("share_of_roofline", provider)


def peak_bytes(provider: str = "") -> str:
    """Peak memory of a call in bytes: a record."""
    return _of("peak_bytes", provider)


def _of(metric: str, provider: str) -> str:
    return f"{metric}_{provider}" if provider else metric
