"""From cross-attention to the times of tokens: dynamic time warping over smoothed attention.

The steps are those of CTranslate2's `Whisper.align` and of openai-whisper's word timestamps. NumPy only.

Letters in shapes:

    H  alignment heads      T  tokens given to the decoder      S  encoder frames of 20 ms
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]

#: Frames over which attention is smoothed.
FILTER_WIDTH = 7

_DIAGONAL, _DOWN, _RIGHT = 0, 1, 2


def attention_matrix(attention: FloatArray, frames: int) -> FloatArray:
    """How much each token attends to each of the first `frames` encoder frames, (T, frames), comparable over tokens.

    `attention` (H, T, S) are weights over all frames; those of the frames kept are made to sum to 1 again.
    Each frame is standardised over tokens, so that what every token attends to counts for none of them.
    """
    weights = attention[:, :, :frames].astype(np.float32)
    weights /= np.maximum(weights.sum(axis=2, keepdims=True), np.finfo(np.float32).tiny)
    deviation = weights.std(axis=1, keepdims=True)
    standard = (weights - weights.mean(axis=1, keepdims=True)) / np.maximum(deviation, np.finfo(np.float32).tiny)
    smoothed: FloatArray = median_filter(standard, FILTER_WIDTH).mean(axis=0)
    return smoothed


def median_filter(x: FloatArray, width: int) -> FloatArray:
    """The median of `width` (odd) neighbours along the last axis, the ends mirrored; a shorter axis stays as it is."""
    reach = width // 2
    if x.shape[-1] <= reach:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(reach, reach)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    middle: FloatArray = np.partition(windows, reach, axis=-1)[..., reach]
    return middle


def best_path(gain: FloatArray) -> tuple[IntArray, IntArray]:
    """The monotonic path through `gain` (N, M), from its first corner to its last, that collects the most.

    Returns the rows and the columns of its cells. Each step goes down, right or both (dynamic time warping, Sakoe and
    Chiba 1978); among equals it goes right.
    """
    rows, columns = gain.shape
    steps = _steps(-gain.astype(np.float32))
    path, i, j = [], rows - 1, columns - 1
    while i >= 0 and j >= 0:
        path.append((i, j))
        step = steps[i, j]
        i -= step != _RIGHT
        j -= step != _DOWN
    pairs = np.array(path[::-1], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _steps(cost: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """(N, M) the step that reaches each cell at the least total cost.

    Cells of one antidiagonal depend on the two before it alone, so each is computed at once. Totals are float32, as
    CTranslate2's are, and shifted by one row and column, whose cost is infinite: there is no way from outside.
    """
    rows, columns = cost.shape
    totals = np.full((rows + 1, columns + 1), np.inf, dtype=np.float32)
    totals[0, 0] = 0
    steps = np.empty((rows, columns), dtype=np.int8)
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        both, down, right = totals[i, j], totals[i, j + 1], totals[i + 1, j]
        is_both = (both < down) & (both < right)
        is_down = (down < both) & (down < right)
        steps[i, j] = np.where(is_both, _DIAGONAL, np.where(is_down, _DOWN, _RIGHT))
        totals[i + 1, j + 1] = cost[i, j] + np.where(is_both, both, np.where(is_down, down, right))
    return steps
