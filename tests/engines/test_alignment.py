from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest

from mtasr.engines.alignment import attention_matrix, best_path, median_filter


def every_path(rows: int, columns: int):
    """All monotonic paths from the first corner to the last."""
    if rows == columns == 1:
        yield [(0, 0)]
        return
    for i, j in {(rows - 1, columns), (rows, columns - 1), (rows - 1, columns - 1)}:
        if i and j:
            yield from ([*path, (rows - 1, columns - 1)] for path in every_path(i, j))


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (3, 5), (4, 4), (5, 3)])
def test_the_path_gains_as_much_as_any(shape: tuple[int, int]) -> None:
    for seed in range(5):
        gain = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        path = list(zip(*(part.tolist() for part in best_path(gain)), strict=True))
        best = max(sum(float(gain[cell]) for cell in other) for other in every_path(*shape))
        assert path in list(every_path(*shape))
        assert sum(float(gain[cell]) for cell in path) == pytest.approx(best, abs=1e-5)


def test_among_equals_the_last_step_goes_right() -> None:
    rows, columns = best_path(np.zeros((2, 3), dtype=np.float32))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("length", [1, 3, 4, 7, 20])
def test_the_median_of_mirrored_neighbours(length: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, length)).astype(np.float32)
    expected = x.copy()
    if length > 3:
        for row, place in itertools.product(range(2), range(length)):
            near = [abs(place + step) for step in range(-3, 4)]
            near = [at if at < length else 2 * length - 2 - at for at in near]
            expected[row, place] = statistics.median(x[row, at] for at in near)
    np.testing.assert_array_equal(median_filter(x, 7), expected)


def test_attention_is_standardised_over_tokens() -> None:
    attention = np.random.default_rng(0).dirichlet(np.ones(50), size=(1, 6)).astype(np.float32)
    matrix = attention_matrix(attention, 3)  # too short to be smoothed
    kept = attention[0, :, :3] / attention[0, :, :3].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(matrix, (kept - kept.mean(axis=0)) / kept.std(axis=0), rtol=1e-4)


def test_frames_that_all_tokens_ignore_do_no_harm() -> None:
    attention = np.zeros((2, 4, 30), dtype=np.float32)
    attention[:, :, 29] = 1
    assert np.isfinite(attention_matrix(attention, 10)).all()
