"""What can go wrong in a training run; every message says what to do next."""

import json
from pathlib import Path


class ConfigError(ValueError):
    """Options that contradict each other, or do not fit the schedule, the network or the machine."""


class CacheError(RuntimeError):
    """A latent cache is missing, torn, or was made with other weights or scales."""


class CaptionError(CacheError):
    """A caption cannot be encoded as it is.

    Attributes:
        number: of the caption, counted from 0.
        reason: what is wrong with it.
    """

    def __init__(self, number: int, reason: str) -> None:
        self.number, self.reason = number, reason
        super().__init__(f"caption {number}: {reason}")


class PromptError(ValueError):
    """A prompt says nothing, or more than the text encoders read.

    Attributes:
        number: of the prompt among those that were given, counted from 0.
    """

    def __init__(self, number: int, reason: str) -> None:
        self.number = number
        super().__init__(reason)


class PipelineError(RuntimeError):
    """A pipeline cannot be loaded."""


class AdapterError(ValueError):
    """An adapter cannot be read, holds what LoRA layers cannot represent, or does not fit a network."""


class OutputFolderError(OSError):
    """The output folder cannot be written or has no room: found before the work where possible, else on the way."""


class StateError(RuntimeError):
    """A saved state does not fit the run that wants to resume from it."""


class StudyError(ConfigError):
    """A study file cannot be read or names something that does not exist."""


class NonFiniteLossError(FloatingPointError):
    """A loss term or gradient norm became NaN or infinite, so training stopped before the optimiser moved.

    Attributes:
        term: name of the term, as in the log.
        iteration: where it happened, counted from 0.
        last_good: newest complete state folder, or None when none was written yet.
    """

    def __init__(self, term: str, iteration: int, last_good: Path | None) -> None:
        self.term, self.iteration, self.last_good = term, iteration, last_good
        super().__init__(f"{term} is not finite at iteration {iteration}: training stopped; {what_is_kept(last_good)}")


class LossScaleError(FloatingPointError):
    """Every update of late overflowed in fp16 and was skipped, so training stopped: nothing was being learned.

    Attributes:
        term: the gradient norm that is not finite, as in the log.
        iteration: of the last try, counted from 0.
        scale: of the losses, which every overflow halves.
        last_good: newest complete state folder, or None when none was written yet.
    """

    def __init__(self, term: str, iteration: int, scale: float, last_good: Path | None) -> None:
        self.term, self.iteration, self.scale, self.last_good = term, iteration, scale, last_good
        super().__init__(
            f"{term} overflowed in fp16 update after update, the last time at iteration {iteration}, although the loss "
            f"scale fell to {scale:g}: use mixed_precision bf16, or no; {what_is_kept(last_good)}"
        )


class DivergedError(FloatingPointError):
    """The student's loss grew far beyond what it was at the start, so training stopped.

    Attributes:
        iteration: where it happened, counted from 0.
        total: the student's whole loss there.
        start: the largest before it in the first cycle of the schedule.
        last_good: newest complete state folder, or None when none was written yet.
    """

    def __init__(self, iteration: int, total: float, start: float, last_good: Path | None) -> None:
        self.iteration, self.total, self.start, self.last_good = iteration, total, start, last_good
        super().__init__(
            f"the total loss is {total:.3g} at iteration {iteration} and was at most {start:.3g} at the start: "
            f"training diverged and stopped; {what_is_kept(last_good)}"
        )


class TrainingStopped(Exception):
    """A run was asked to stop, and did so after an iteration whose state is saved.

    Attributes:
        iteration: iterations done.
        state: folder of the saved state.
    """

    def __init__(self, iteration: int, state: Path) -> None:
        self.iteration, self.state = iteration, state
        super().__init__(f"stopped after {iteration} iterations, saved in {state}; the same command goes on from there")


def what_is_kept(last_good: Path | None) -> str:
    """The end of a message about a run that stopped."""
    return f"the last good state is {last_good}" if last_good else "no state had been saved yet"


def no_cache(folder: Path) -> CacheError:
    """A folder without a cache, in the words of whoever looks first."""
    return CacheError(f"{folder} holds no latent cache: make one with `python -m swd.cache`")


def reason(error: BaseException) -> str:
    """What an error of reading a file says, in words that do not need Python to be understood."""
    match error:
        case json.JSONDecodeError():
            return f"no JSON, by line {error.lineno}"
        case UnicodeDecodeError():
            return f"not UTF-8, by byte {error.start + 1}"
        case OSError():
            return error.strerror or str(error)
        case KeyError():
            return f"it lacks {error.args[0]!r}"
        case TypeError() | AttributeError() | IndexError():
            return "it is not laid out as expected"
        case _:
            return str(error)


INTERRUPTED = 130  # exit status of a command that Ctrl-C ended: 128 and the number of SIGINT
# What a command line reports as one line; anything else is a bug and keeps its traceback.
USER_ERRORS = (
    ConfigError,
    AdapterError,
    CacheError,
    PipelineError,
    OutputFolderError,
    StateError,
    NonFiniteLossError,
    DivergedError,
    LossScaleError,
)
