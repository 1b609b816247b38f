"""Figures against their definitions, step by step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.probing.figures import best_weighted_value, equal_error_rate, slot_figures


def slow_rates(scores: npt.NDArray[np.float64], same: npt.NDArray[np.bool_], threshold: float) -> tuple[float, float]:
    missed = np.mean([score < threshold for score in scores[same]])
    alarms = np.mean([score >= threshold for score in scores[~same]])
    return float(missed), float(alarms)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=20))
def test_the_equal_error_rate_is_where_both_rates_meet(trials: list[tuple[int, bool]]) -> None:
    scores, same = np.array([score for score, _ in trials], float), np.array([is_same for _, is_same in trials])
    if same.all() or not same.any():
        with pytest.raises(ValueError, match="trials of one voice and of two"):
            equal_error_rate(scores, same)
        return
    found = equal_error_rate(scores, same)
    rates = [slow_rates(scores, same, threshold) for threshold in np.append(np.unique(scores), np.inf)]
    # Along the thresholds one rate rises and the other falls: the crossing lies between its neighbours.
    assert max(min(each) for each in rates) <= found + 1e-12
    assert found <= min(max(each) for each in rates) + 1e-12


def test_equal_error_rates_of_plain_cases() -> None:
    same = np.array([True, True, False, False])
    assert equal_error_rate(np.array([0.9, 0.8, 0.2, 0.1]), same) == 0
    assert equal_error_rate(np.array([0.1, 0.2, 0.8, 0.9]), same) == 1
    assert equal_error_rate(np.array([0.5, 0.5, 0.5, 0.5]), same) == 0.5
    assert equal_error_rate(np.array([0.9, 0.3, 0.6, 0.1]), same) == 0.5


def slow_value(scores: npt.NDArray[np.float64], contained: npt.NDArray[np.bool_]) -> float:
    beta = (1 / 100) * (1 / 0.0008 - 1)
    best = 0.0
    for threshold in np.unique(scores):
        losses = []
        for row, truth in zip(scores, contained, strict=True):
            if not truth.any():
                continue
            missed = np.mean(row[truth] < threshold)
            alarms = np.mean(row[~truth] >= threshold) if (~truth).any() else 0.0
            losses.append(missed + beta * alarms)
        best = max(best, 1 - float(np.mean(losses)))
    return best


@given(st.integers(0, 2000), st.integers(1, 4), st.integers(1, 5))
def test_the_weighted_value_is_the_best_over_all_thresholds(seed: int, queries: int, recordings: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (queries, recordings)).astype(float)
    contained = rng.random((queries, recordings)) < 0.5
    if not contained.any():
        with pytest.raises(ValueError, match="no query is contained"):
            best_weighted_value(scores, contained)
        return
    assert best_weighted_value(scores, contained) == pytest.approx(slow_value(scores, contained), abs=1e-9)


def test_slots_are_compared_by_name_and_by_nearest_value() -> None:
    pairs = [
        ([("artist", "bach"), ("year", "1720")], [("artist", "bath"), ("artist", "ba")]),
        ([], []),
        ([("city", "rome")], []),
    ]
    found = slot_figures(pairs)
    # F1: 2 * 1 / (2 + 1), 1 and 0. Characters wrong: 1 of 4, 4 of 4, 4 of 4.
    assert found["F1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["CER"] == pytest.approx((1 + 4 + 4) / 12)
