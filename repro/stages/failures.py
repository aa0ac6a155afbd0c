"""What ends a measurement, as one error that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EDQUOT, ENOSPC, EPERM, EROFS
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
NOT_ALLOWED = (EACCES, EDQUOT, EPERM, EROFS)  # of a folder that has become another's, full or read-only


@contextmanager
def told(work: Path) -> Iterator[None]:
    """Errors of models, weights and image sets, and of a full or read-only disk, as an `ExperimentError`.

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
        if isinstance(error, OSError) and error.errno in NOT_ALLOWED:
            place = error.filename or work
            raise ExperimentError(f"{place}: {error.strerror}; finished stages stay in {work}") from error
        if getattr(error, "errno", None) != ENOSPC and "No space left" not in str(error):
            raise
        message = f"the disk is full; finished stages stay in {work}: free some space and run this again"
        raise ExperimentError(message) from error
