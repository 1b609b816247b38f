from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.decoding.sample_buffer import SampleBuffer


@given(
    st.lists(st.integers(0, 50), max_size=8), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), max_size=8)
)
def test_windows_are_slices_of_the_stream(sizes: list[int], steps: list[tuple[int, int]]) -> None:
    stream = np.arange(sum(sizes), dtype=np.float32)
    cuts = np.cumsum([0, *sizes])
    buffer = SampleBuffer(stream[a:b] for a, b in itertools.pairwise(cuts))
    start = 0
    for step, length in steps:
        start += step
        np.testing.assert_array_equal(buffer.window(start, length), stream[start : start + length])
        if buffer.total is not None:
            assert buffer.total == len(stream)


def test_holds_no_more_than_a_window_and_a_block() -> None:
    taken = 0

    def blocks():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield np.ones(100, dtype=np.float32)

    buffer = SampleBuffer(blocks())
    for start in range(0, 50_000, 250):
        assert len(buffer.window(start, 300)) == 300
        assert taken * 100 <= start + 300 + 100
        assert len(buffer._held) <= 300 + 100


def test_does_not_go_back() -> None:
    buffer = SampleBuffer(iter([np.zeros(10, dtype=np.float32)]))
    buffer.window(5, 2)
    with pytest.raises(ValueError, match="dropped"):
        buffer.window(4, 2)


def test_past_the_end() -> None:
    buffer = SampleBuffer(iter([np.zeros(10, dtype=np.float32)]))
    assert len(buffer.window(20, 5)) == 0
    assert buffer.total == 10
    assert len(buffer.window(25, 5)) == 0


def test_what_is_left_out_is_not_held() -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def blocks():
        nonlocal most
        for number in range(1000):
            block = np.full(100, number, dtype=np.float32)
            alive.append(weakref.ref(block))
            most = max(most, sum(each() is not None for each in alive))
            yield block

    buffer = SampleBuffer(blocks())
    assert buffer.window(0, 50)[0] == 0
    np.testing.assert_array_equal(buffer.window(90_050, 100), [900.0] * 50 + [901.0] * 50)
    assert most <= 4
