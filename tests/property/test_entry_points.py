"""Whatever the arguments of a public function are: each is taken as it is, or refused in our words."""

from typing import Any

import pytest
from asked import JUNK, Entry, called, examples
from functions import LOSSES, SIZES
from hypothesis import given
from hypothesis import strategies as st
from network_functions import CACHES, COSTS, SAMPLERS, SPECTRA
from schedule_functions import OPTIONS, SCHEDULES

ENTRIES = {entry.name: entry for entry in (*LOSSES, *SIZES, *SCHEDULES, OPTIONS, *SAMPLERS, *SPECTRA, *COSTS, *CACHES)}


@st.composite
def asked(draw: st.DrawFn, entry: Entry) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Arguments of which up to two are anything at all, and which those are."""
    arguments = {name: draw(may.good) for name, may in entry.arguments.items()}
    changed = draw(st.lists(st.sampled_from(sorted(arguments)), max_size=2, unique=True))
    return arguments | {name: draw(JUNK) for name in changed}, tuple(changed)


@pytest.mark.parametrize("name", ENTRIES)
def test_arguments_are_taken_as_they_are_or_refused_in_our_words(name: str) -> None:
    entry = ENTRIES[name]

    @examples(12)
    @given(asked(entry))
    def search(drawn: tuple[dict[str, Any], tuple[str, ...]]) -> None:
        called(entry, *drawn)

    search()
