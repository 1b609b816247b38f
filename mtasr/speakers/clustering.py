"""The voices of a recording, from the embeddings of its pieces: clustering whose time and memory are bounded.

Clusters are merged, the most similar two first (average linkage). Vectors of pieces have length 1. The vector of a
cluster is their mean, weighted by duration, so the product of two such means is the mean similarity of the pieces.

In shapes: N pieces or clusters, D dimensions of an embedding, K voices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtasr.arrays import FloatArray, IntArray
from mtasr.models.speakers.published import CAMPPLUS_LIKENESS, Likeness

#: Seconds of speech alone from which a piece is sure enough to take part, and to be a voice by itself.
_SURE_PIECE = 1.0
#: The share of all speech from which a cluster is a voice: in an hour, one person laughs and coughs for some seconds.
_VOICE_SHARE = 0.002
#: Clusters compared at once, each with all others.
_AT_ONCE = 1000
#: What a piece counts that is never alone, in seconds, and at most.
_LEAST_WEIGHT, _MOST_WEIGHT = 0.15, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Clusters `kept` and `gone` become one, which has the number of `kept`."""

    kept: int
    gone: int
    similarity: float


def find_voices(
    vectors: FloatArray,
    seconds: FloatArray,
    *,
    number: int | None,
    least: int = 1,
    most: int | None = None,
    likeness: Likeness = CAMPPLUS_LIKENESS,
) -> FloatArray:
    """A vector (K, D) of length 1 for each voice in pieces with vectors (N, D), of which so many `seconds` are alone.

    K is `number`, or found and then between `least` and `most`. It is less if there are fewer pieces, or only
    pieces that are all alike.
    """
    for sure in (seconds >= _SURE_PIECE, seconds > 0, np.ones(len(seconds), bool)):
        if sure.any():
            break
    else:
        return np.zeros((0, vectors.shape[1]))
    means, weights, _ = condensed(vectors[sure], np.maximum(seconds[sure], _LEAST_WEIGHT))
    merges = agglomerate(means, weights)
    enough_speech = max(_SURE_PIECE, _VOICE_SHARE * weights.sum()) if number is None else _SURE_PIECE
    counts = _voice_counts(weights, merges, enough_speech)
    stop = _first_below(merges, likeness.same_voice)
    if number is None:
        found = max(1, counts[stop])
        wanted = max(min(found, most or found), least)
    else:
        found, wanted = 0, number
    if wanted != found:
        # The last state with enough voices, or else with the most, before clusters join that are hardly alike.
        states = range(_first_below(merges, likeness.may_differ), len(counts))
        stop = max(states, key=lambda state: (min(counts[state], wanted), state))
    means, weights = joined(means, weights, labels_after(len(means), merges[:stop]))
    kept = np.sort(np.argsort(-weights, kind="stable")[: min(wanted, max(1, int((weights >= enough_speech).sum())))])
    return _recruited(unit(means[kept]), vectors, seconds, wanted, likeness.may_differ)


def agglomerate(
    means: FloatArray, weights: FloatArray, *, least: float = -np.inf, most: int | None = None
) -> list[Merge]:
    """Merges of clusters (N, D) with these weights, in order: those more similar than `least`, and at most `most`."""
    count = len(means)
    similarity = means @ means.T
    np.fill_diagonal(similarity, -np.inf)
    weights = weights.astype(np.float64)
    nearest = similarity.argmax(axis=1) if count else np.zeros(0, np.int64)
    best = similarity[np.arange(count), nearest]
    merges: list[Merge] = []
    for _ in range(count - 1 if most is None else min(most, count - 1)):
        kept = int(best.argmax())
        gone = int(nearest[kept])
        if best[kept] <= least:
            break
        merges.append(Merge(kept=kept, gone=gone, similarity=float(best[kept])))
        shares = weights[[kept, gone]] / weights[[kept, gone]].sum()
        weights[kept] += weights[gone]
        row = shares[0] * similarity[kept] + shares[1] * similarity[gone]
        row[[kept, gone]] = -np.inf
        similarity[kept] = similarity[:, kept] = row
        similarity[gone] = similarity[:, gone] = -np.inf
        nearer = row > best
        nearest[nearer], best[nearer] = kept, row[nearer]
        stale = np.flatnonzero((nearest == kept) | (nearest == gone))
        stale = np.union1d(stale[~nearer[stale]], [kept, gone])
        nearest[stale] = similarity[stale].argmax(axis=1)
        best[stale] = similarity[stale, nearest[stale]]
    return merges


def labels_after(count: int, merges: list[Merge]) -> IntArray:
    """The cluster (N,) of each of `count` things after these merges, numbered from 0 in order of their first things."""
    roots = np.arange(count)
    for merge in merges:
        roots[roots == merge.gone] = merge.kept
    _, first, places = np.unique(roots, return_index=True, return_inverse=True)
    labels: IntArray = np.argsort(np.argsort(first))[places]
    return labels


def joined(means: FloatArray, weights: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray]:
    """The means (K, D) and weights (K,) of clusters of clusters (N, D) with weights (N,)."""
    count = int(labels.max(initial=-1)) + 1
    sums, totals = np.zeros((count, means.shape[1])), np.zeros(count)
    np.add.at(sums, labels, means * weights[:, None])
    np.add.at(totals, labels, weights)
    return sums / totals[:, None], totals


def condensed(means: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """At most 1000 clusters (K, D) of clusters (N, D), their weights (K,), and to which each belongs (N,).

    Neighbours in time are merged: half of each thousand, and again.
    """
    places = np.arange(len(means))
    while len(means) > _AT_ONCE:
        labels = np.zeros(len(means), np.int64)
        known = 0
        # Of equal size: the few that were left would be merged whoever they are.
        for part in np.array_split(np.arange(len(means)), -(-len(means) // _AT_ONCE)):
            merges = agglomerate(means[part], weights[part], most=(len(part) + 1) // 2)
            labels[part] = known + labels_after(len(part), merges)
            known = int(labels[part].max()) + 1
        means, weights = joined(means, weights, labels)
        places = labels[places]
    return means, weights, places


def _voice_counts(weights: FloatArray, merges: list[Merge], enough: float) -> list[int]:
    """How many clusters have enough speech to be a voice, before the first merge and after each."""
    weights = weights.copy()
    counts = [int((weights >= enough).sum())]
    for merge in merges:
        before = int(weights[merge.kept] >= enough) + int(weights[merge.gone] >= enough)
        weights[merge.kept] += weights[merge.gone]
        weights[merge.gone] = 0.0
        counts.append(counts[-1] - before + int(weights[merge.kept] >= enough))
    return counts


def _first_below(merges: list[Merge], similarity: float) -> int:
    return next((index for index, merge in enumerate(merges) if merge.similarity < similarity), len(merges))


def _recruited(
    voices: FloatArray, vectors: FloatArray, seconds: FloatArray, wanted: int, may_differ: float
) -> FloatArray:
    """Voices (K, D), and others until they are as many as wanted: the shortest and most unlike pieces."""
    weights = np.clip(seconds, _LEAST_WEIGHT, _MOST_WEIGHT)
    free = np.ones(len(vectors), bool)
    while len(voices) < wanted:
        similarity = (vectors @ voices.T).max(axis=1)
        cost = np.where(free & ((similarity < may_differ) | (seconds == 0)), weights * similarity, np.inf)
        place = int(cost.argmin())
        if not np.isfinite(cost[place]):
            break
        free[place] = False
        voices = np.vstack([voices, vectors[place]])
    return voices


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors (..., D) of length 1 in the same directions."""
    units: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return units


def direction(vectors: FloatArray, seconds: FloatArray) -> FloatArray:
    """The vector (D,) of length 1 of pieces with vectors (N, D) together, weighted by duration (N,)."""
    return unit(seconds @ vectors)
