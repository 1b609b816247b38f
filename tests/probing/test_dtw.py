"""Subsequence dynamic time warping against a table filled cell by cell."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.probing import dtw

_Numbers = npt.NDArray[np.float64]


def slow_align(found: _Numbers) -> list[tuple[float, int]]:
    """For each column the cost of the best path that ends there, and its first column: all by the definition."""
    rows, columns = found.shape
    table = [[(math.inf, 0)] * columns for _ in range(rows)]
    for row in range(rows):
        for column in range(columns):
            if row == 0:
                table[row][column] = (found[row, column], column)
                continue
            before = [table[row - 1][column - steps] for steps in (0, 1, 2) if column >= steps]
            cost, start = min(before, key=lambda each: each[0])
            table[row][column] = (cost + found[row, column], start)
    return [(cost / rows, start) for cost, start in table[-1]]


def states(rng: np.random.Generator, frames: int, width: int = 6) -> npt.NDArray[np.float32]:
    return rng.normal(size=(frames, width)).astype(np.float32)


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 9))
def test_costs_and_starts_are_those_of_the_definition(seed: int, rows: int, columns: int) -> None:
    found = np.random.default_rng(seed).random((rows, columns))
    costs, starts = dtw.align(found)
    slow = slow_align(found)
    assert np.allclose(costs, [cost for cost, _ in slow], atol=1e-12)
    assert starts.tolist() == [start for _, start in slow]


@given(st.integers(0, 1000), st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_recordings_aligned_together_are_as_if_aligned_alone(seed: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    query, documents = states(rng, 4), [states(rng, length) for length in lengths]
    for document, match in zip(documents, dtw.best_matches(query, documents), strict=True):
        slow = slow_align(dtw.scaled(dtw.distances(query, document)).astype(np.float64))
        cost, end = min((cost, end) for end, (cost, _) in enumerate(slow))
        assert match.cost == pytest.approx(cost, abs=1e-6)
        assert (match.start, match.end) == (slow[end][1], end + 1)


def test_the_distance_is_exp_of_the_cosine_distance() -> None:
    query = np.array([[1, 0], [0, 2]], np.float32)
    document = np.array([[3, 0], [0, -1], [1, 1]], np.float32)
    half = math.exp(1 - math.sqrt(0.5)) - 1
    wanted = [[0, math.e - 1, half], [math.e - 1, math.e**2 - 1, half]]
    assert np.allclose(dtw.distances(query, document), wanted, atol=1e-6)
    assert np.allclose(
        dtw.scaled(dtw.distances(query, document))[1], [(math.e - 1 - half) / (math.e**2 - 1 - half), 1, 0]
    )


def test_silence_has_a_distance() -> None:
    silent = np.zeros((3, 4), np.float32)
    assert np.isfinite(dtw.scaled(dtw.distances(silent, silent))).all()


def test_an_example_is_found_where_it_is_said_at_half_or_double_speed() -> None:
    rng = np.random.default_rng(3)
    query = states(rng, 12, 16)
    slow, fast = np.repeat(query, 2, axis=0), query[::2]
    documents = [np.concatenate([states(rng, 30, 16), said, states(rng, 25, 16)]) for said in (slow, query, fast)]
    found = dtw.best_matches(query, documents)
    assert [(match.start, match.end) for match in found] == [(31, 53), (30, 42), (30, 36)]
    assert [match.cost < 1e-6 for match in found] == [True, True, False]  # half of the query's frames are not there


def test_a_query_without_frames_matches_nothing() -> None:
    with pytest.raises(ValueError, match="no frames"):
        dtw.best_matches(np.zeros((0, 4), np.float32), [np.zeros((3, 4), np.float32)])
    with pytest.raises(ValueError, match="no frames"):
        dtw.Standard.of([np.zeros((0, 4), np.float32)])


def test_standardised_states_have_mean_0_and_deviation_1() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(1e5, 3, (length, 4)) for length in (5, 0, 40)]
    standard = dtw.Standard.of(arrays)
    together = np.concatenate(arrays)
    assert np.allclose(standard.mean, together.mean(axis=0), rtol=1e-12)
    assert np.allclose(standard.deviation, together.std(axis=0), rtol=1e-9)
    scaled = standard.applied(together)
    assert np.allclose(scaled.std(axis=0), 1, atol=1e-5)
    assert dtw.Standard.of([np.ones((3, 2))]).applied(np.ones((1, 2))).tolist() == [[0, 0]]
