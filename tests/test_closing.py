from __future__ import annotations

from collections.abc import Generator

import pytest

from mtasr.closing import ClosingIterator


def numbers(count: int) -> Generator[int]:
    yield from range(count)
    if count > 2:
        raise ValueError("too many")


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_closing_closes_what_was_not_begun_too(taken: int) -> None:
    closed: list[bool] = []
    items = ClosingIterator(numbers(2), lambda: closed.append(True))
    with items:
        assert [next(items) for _ in range(taken)] == list(range(taken))
        assert not closed
    assert closed == [True]
    assert list(items) == []


def test_its_end_closes_it() -> None:
    closed: list[bool] = []
    assert list(ClosingIterator(numbers(2), lambda: closed.append(True))) == [0, 1]
    assert closed == [True]
    with pytest.raises(ValueError, match="too many"):
        list(ClosingIterator(numbers(3), lambda: closed.append(True)))
    assert closed == [True, True]
