"""Subsequence dynamic time warping: where in a recording an example is said, without any training.

Source: SUPERB (Yang et al. 2021), query by example. Distances are exp(1 - cosine) - 1 of standardised states. The path
follows the asymmetric step pattern (Sakoe and Chiba 1978): for each frame of the example, the recording advances by 0,
1 or 2 frames. It may begin and end anywhere in the recording.

Letters in shapes: Q frames of the example (query), S frames of the recording, D width of the states.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mtasr.arrays import Float32Array, FloatArray, IntArray

#: Below this a deviation or a length counts as zero.
_LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean (D,) and standard deviation (D,) of each dimension of states, to compare dimensions of any size."""

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, arrays: Iterable[FloatArray]) -> Standard:
        """That of all frames of the arrays (S, D) together; one pass, in float64. Raises `ValueError` without any."""
        moments = Moments()
        for array in arrays:
            moments.add(array)
        return moments.standard()

    def applied(self, states: FloatArray) -> Float32Array:
        """States (S, D) with mean 0 and deviation 1 in each dimension."""
        scaled: Float32Array = ((states - self.mean) / np.maximum(self.deviation, _LEAST)).astype(np.float32)
        return scaled


class Moments:
    """Sums over frames that come bit by bit, for a `Standard`."""

    def __init__(self) -> None:
        self._count = 0
        self._total, self._squares = np.zeros(()), np.zeros(())
        #: The first frame: squares of numbers far from 0 would lose their digits.
        self._origin: FloatArray | None = None

    def add(self, array: FloatArray) -> None:
        """Count the frames of an array (S, D)."""
        if not len(array):
            return
        frames = array.astype(np.float64)
        if self._origin is None:
            self._origin = frames[0].copy()
        frames -= self._origin
        self._count += len(frames)
        self._total = self._total + frames.sum(axis=0)
        self._squares = self._squares + np.square(frames).sum(axis=0)

    def standard(self) -> Standard:
        """That of all frames so far. Raises `ValueError` if there were none."""
        if self._origin is None:
            raise ValueError("no frames")
        mean = self._total / self._count
        return Standard(mean + self._origin, np.sqrt(np.maximum(self._squares / self._count - mean**2, 0.0)))


@dataclass(frozen=True, slots=True)
class Match:
    """Frames `start` up to, not including, `end` of a recording; `cost`, 0 to 1, is the mean distance on the path."""

    cost: float
    start: int
    end: int


def distances(query: FloatArray, document: FloatArray) -> Float32Array:
    """exp(1 - cosine) - 1 of all pairs of frames: (Q, D) and (S, D) -> (Q, S)."""
    cosine = _of_length_1(query) @ _of_length_1(document).T
    found: Float32Array = np.expm1(1.0 - cosine, dtype=np.float32)
    return np.maximum(found, 0.0, out=found)  # rounding may leave -1e-7


def scaled(found: FloatArray, begins: IntArray | None = None) -> Float32Array:
    """Distances (Q, S) in which each frame of the query has its nearest frame at 0 and its furthest at 1.

    That makes the frames of a query count alike. But a cost then says how much nearer a place is than others of the
    same recording, not how near it is. `begins` are the first columns of recordings that are scaled each by itself.
    """
    begins = np.zeros(1, np.int64) if begins is None else begins
    lengths = np.diff(np.append(begins, found.shape[1]))
    low = np.repeat(np.minimum.reduceat(found, begins, axis=1), lengths, axis=1)
    high = np.repeat(np.maximum.reduceat(found, begins, axis=1), lengths, axis=1)
    result: Float32Array = ((found - low) / np.maximum(high - low, _LEAST)).astype(np.float32)
    return result


def _of_length_1(states: FloatArray) -> Float32Array:
    length = np.sqrt(np.square(states.astype(np.float32)).sum(axis=1, keepdims=True))
    unit: Float32Array = (states / np.maximum(length, _LEAST)).astype(np.float32)
    return unit


def align(found: FloatArray, begins: IntArray | None = None) -> tuple[FloatArray, IntArray]:
    """The best path that ends in each column of distances (Q, S): its cost (S,) and the column (S,) where it begins.

    A cost is the mean over the frames of the query; Q and S are at least 1. No path crosses the columns `begins`, with
    which other recordings begin: many are aligned faster together.
    """
    rows, columns = found.shape
    begins = np.zeros(1, np.int64) if begins is None else begins
    # Where no path arrives by 1 or 2 steps.
    barred = {1: begins, 2: np.concatenate([begins, (begins + 1)[begins + 1 < columns]])}
    costs, starts = found[0].astype(np.float64), np.arange(columns)
    for row in range(1, rows):
        best, begun = costs, starts
        for steps, walls in barred.items():
            before = np.concatenate([np.full(min(steps, columns), np.inf), costs[:-steps]])
            before[walls] = np.inf
            start = np.concatenate([np.zeros(min(steps, columns), np.int64), starts[:-steps]])
            better = before < best
            best, begun = np.where(better, before, best), np.where(better, start, begun)
        costs, starts = best + found[row], begun
    return costs / rows, starts


def best_matches(query: FloatArray, documents: Sequence[FloatArray]) -> list[Match]:
    """Where each of the documents (S, D) is nearest to the query (Q, D), with scaled distances as in SUPERB.

    Starts and ends are frames of their document. Raises `ValueError` if the query or a document has no frames.
    """
    lengths = [len(document) for document in documents]
    if not (len(query) and lengths and all(lengths)):
        raise ValueError("no frames")
    begins = np.cumsum([0, *lengths[:-1]])
    found = distances(query, np.concatenate(documents))
    costs, starts = align(scaled(found, begins), begins)
    matched = []
    for begin, length in zip(begins.tolist(), lengths, strict=True):
        end = begin + int(np.argmin(costs[begin : begin + length]))
        matched.append(Match(float(costs[end]), int(starts[end]) - begin, end + 1 - begin))
    return matched


def spread(scores: FloatArray) -> FloatArray:
    """The scores of one query over all recordings with mean 0 and deviation 1, so that queries share a threshold."""
    found: FloatArray = (scores - scores.mean()) / max(float(scores.std()), _LEAST)
    return found
