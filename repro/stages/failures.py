"""What ends a measurement, as one error that says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from repro.harness.experiment import ExperimentError
from repro.harness.failures import MACHINE, in_words
from repro.metrics import WeightsError
from repro.metrics.base import EstimateError
from repro.metrics.external import ScorerError
from repro.stages.image_sets import ImageSetError
from swd.errors import USER_ERRORS

KNOWN = (*USER_ERRORS, EstimateError, ImageSetError, ScorerError, WeightsError)


def problem(check: Callable[[], object]) -> str:
    """What a check finds missing or broken, as a plan says it; empty where nothing is."""
    try:
        check()
    except (ExperimentError, *KNOWN) as error:
        return str(error)
    return ""


@contextmanager
def told(work: Path) -> Iterator[None]:
    """Errors of models, weights and image sets, and what the machine refuses, as an `ExperimentError`.

    Args:
        work: where finished stages stay.

    Raises:
        ExperimentError: what was raised inside, if it is one of these; all else passes.
    """
    try:
        yield
    except KNOWN as error:
        raise ExperimentError(str(error)) from error
    except BrokenPipeError:  # whoever reads what is printed has read enough
        raise
    except (*MACHINE, SafetensorError) as error:
        raise ExperimentError(in_words(error, work)) from error
