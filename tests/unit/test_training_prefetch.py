import threading

import pytest

from swd.training.prefetch import ReadAhead


@pytest.mark.parametrize("active", [True, False])
def test_every_value_is_read_once_and_in_order(active: bool) -> None:
    calls: list[int] = []
    with ReadAhead(lambda n: calls.append(n) or n * n, 5, active=active) as read:
        assert [read(n) for n in range(2, 5)] == [4, 9, 16]
    assert calls == [2, 3, 4]


def test_the_next_value_is_read_while_the_caller_works() -> None:
    started = threading.Event()

    def value(n: int) -> int:
        if n == 1:
            started.set()
        return n

    with ReadAhead(value, 2) as read:
        assert read(0) == 0
        assert started.wait(timeout=10)


def test_nothing_is_read_past_the_end() -> None:
    calls: list[int] = []
    with ReadAhead(lambda n: calls.append(n) or n, 1) as read:
        read(0)
    assert calls == [0]


def test_an_error_is_raised_where_its_value_is_asked_for() -> None:
    def value(n: int) -> int:
        if n == 1:
            raise OSError("torn shard")
        return n

    with ReadAhead(value, 3) as read:
        assert read(0) == 0
        with pytest.raises(OSError, match="torn shard"):
            read(1)
