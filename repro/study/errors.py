"""What goes wrong in a study, in words for who runs it and, at the server, a status and a key of the texts."""

from repro.harness.experiment import ExperimentError


class StudyError(ExperimentError):
    """A study cannot be made, served or read as asked; the message names the value and what was expected."""


class RefusedError(Exception):
    """A request is refused; nothing was changed.

    Args:
        status: of HTTP.
        key: of the text that says so, below ``refused``.
    """

    def __init__(self, status: int, key: str) -> None:
        super().__init__(f"{status} {key}")
        self.status = status
        self.key = key


class FullDiskError(RefusedError):
    """The database cannot be written: the disk is full, or damaged. What was answered before is on it."""

    def __init__(self) -> None:
        super().__init__(507, "full_disk")


class BusyError(RefusedError):
    """Another process kept the database from being written for as long as one waits."""

    def __init__(self) -> None:
        super().__init__(503, "busy")
