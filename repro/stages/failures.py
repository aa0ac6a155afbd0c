"""What ends a measurement, as one error that says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path

from safetensors import SafetensorError

from repro.harness.experiment import ExperimentError
from repro.metrics import WeightsError
from repro.metrics.external import ScorerError
from repro.stages.image_sets import ImageSetError
from swd.errors import CacheError, NonFiniteLossError, OutputFolderError, PipelineError, StateError

KNOWN = (
    CacheError,
    ImageSetError,
    NonFiniteLossError,
    OutputFolderError,
    PipelineError,
    ScorerError,
    StateError,
    WeightsError,
)


def problem(check: Callable[[], object]) -> str:
    """What a check finds missing or broken, as a plan says it; empty where nothing is."""
    try:
        check()
    except (ExperimentError, *KNOWN) as error:
        return str(error)
    return ""


@contextmanager
def told(work: Path) -> Iterator[None]:
    """Errors of models, weights and image sets, and of a full disk, as an `ExperimentError`.

    Args:
        work: where finished stages stay.

    Raises:
        ExperimentError: what was raised inside, if it is one of these; all else passes.
    """
    try:
        yield
    except KNOWN as error:
        raise ExperimentError(str(error)) from error
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) != ENOSPC and "No space left" not in str(error):
            raise
        message = f"the disk is full; finished stages stay in {work}: free some space and run this again"
        raise ExperimentError(message) from error
