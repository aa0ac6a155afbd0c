"""What the numbers of the page of a GPU are called in its records.

The variant says what was measured; it begins with the part. Where an item failed, its part's first metric has a record
without a value, whose note is the error.
"""

SECONDS = "seconds"  # series over rounds: of a call
BASELINE = "baseline"  # series over the same rounds: of diffusers, which took turns
ONCE = "once"  # record: seconds of the first two calls beyond later ones: compiling, and recording of CUDA graphs
CALLS = "calls"  # record: calls between two marks of the clock, of which `seconds` are the mean
FLOPS = "flops"  # record: of a call at batch size 1, or of a whole call where the variant has no batch size
BYTES = "bytes"  # record: read and written by a call at least, where that bounds it
PEAK_BYTES = "peak_bytes"  # record: most memory beyond what was there before; of training, with its order's networks
RATE = "rate"  # record: FLOP/s of the fastest matrix product, or bytes per second of a copy
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"  # records: tests of a file; a note names those that failed
PARTS = "parts"  # series over parts: seconds of text, of every step, and of decoding; medians

METRICS = frozenset({SECONDS, BASELINE, ONCE, CALLS, FLOPS, BYTES, PEAK_BYTES, RATE, PASSED, FAILED, SKIPPED, PARTS})


def tests(file: str) -> str:
    """A file of GPU tests."""
    return f"tests: {file}"


def matmul(dtype: str) -> str:
    """The fastest matrix product in a dtype."""
    return f"peaks: matrix product, {dtype}"


COPY = "peaks: copy"


def sampling(model: str, preset: str, batch: int, provider: str) -> str:
    """The transformer's steps of a batch, by a provider."""
    return f"sampling: {model}, {preset}, batch {batch}, {provider}"


def family(model: str, preset: str, batch: int, provider: str) -> str:
    """The same of another family."""
    return f"families: {model}, {preset}, batch {batch}, {provider}"


def work(part: str, model: str, preset: str) -> str:
    """What the steps of one image compute."""
    return f"{part}: {model}, {preset}, work"


def kernel(case: str, provider: str) -> str:
    """A computation of `swd.kernels`, by a provider."""
    return f"kernels: {case}, {provider}"


def training(order: str) -> str:
    """A training iteration in an order of passes."""
    return f"training: {order}"


def table(model: str, row: str) -> str:
    """A row of Table 3 in the paper's protocol."""
    return f"table3: {model}, {row}"


def of_part(variant: str, part: str) -> bool:
    """Whether a variant belongs to a part."""
    return variant.startswith(f"{part}: ")
