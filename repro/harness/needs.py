"""What has to be on this machine before a measurement, and what gets it."""

from dataclasses import dataclass

BYTES_PER_PIXEL = {"png": 1.6, "webp": 1.25}  # of photographs, measured (docs/log.md): an estimate of one's images
TFLOPS = 125.0  # of an A100, for plans: 40 % of its 312 in half precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A file, folder or model.

    Args:
        name: as a user knows it.
        why: rows, sets or metrics that need it.
        command: what gets it.
        terms: licence, in words; empty where it is not known.
        missing: whether it is not there.
    """

    name: str
    why: str
    command: str
    terms: str = ""
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPlan:
    """A set of prompts before it is read.

    Args:
        key: of the set.
        images: of a row; an expectation where the file is missing.
        source: file that it is read from.
        reference: what images are compared with.
    """

    key: str
    images: int
    source: str
    reference: str
