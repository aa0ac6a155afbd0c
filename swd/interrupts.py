"""One end for every command that is stopped by Ctrl-C."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from swd.errors import INTERRUPTED


@contextmanager
def ended_by_ctrl_c(words: str = "interrupted: nothing was finished") -> Iterator[None]:
    """Ctrl-C in the block ends the process with one line and status 130.

    Args:
        words: what is left, and what goes on from it.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(words, file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
