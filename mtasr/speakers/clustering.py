"""Voices from the embeddings of many pieces of speech: agglomerative clustering whose time and memory are bounded.

In shapes: N pieces, D dimensions of an embedding, K clusters. All vectors have length 1, and the similarity of two
is their product. Two clusters are as similar as their pieces are on average, weighted by duration (average linkage).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array, FloatArray, IntArray
from mtasr.speakers.pieces import Piece

#: Clusters that are no more similar than this are different voices.
SAME_VOICE = 0.5
#: Pieces at least this similar are joined among their neighbours in time before the voices are sought.
_SURE = 0.72
#: Pieces clustered at once: a matrix of this side squared is kept.
_AT_ONCE = 1000
#: Seconds of speech alone from which a piece is sure enough to found a cluster, and a cluster to be a voice.
_FOUNDING, _VOICE = 1.0, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Clusters `kept` and `gone` become one, under the number of `kept`."""

    kept: int
    gone: int
    similarity: float


def agglomerate(vectors: FloatArray, weights: FloatArray, *, until: float = -2.0) -> list[Merge]:
    """Merges of the most similar clusters, in order, while these are more similar than `until`.

    `vectors` are means of pieces; their length says how much those agree.
    """
    count = len(vectors)
    similarity = (vectors @ vectors.T).astype(np.float64)
    np.fill_diagonal(similarity, -np.inf)
    weights = weights.astype(np.float64)
    nearest = similarity.argmax(axis=1) if count else np.zeros(0, np.int64)
    best = similarity[np.arange(count), nearest]
    merges = []
    for _ in range(count - 1):
        kept = int(best.argmax())
        gone = int(nearest[kept])
        if best[kept] <= until:
            break
        merges.append(Merge(kept=kept, gone=gone, similarity=float(best[kept])))
        total = weights[kept] + weights[gone]
        joined = (weights[kept] * similarity[kept] + weights[gone] * similarity[gone]) / total
        joined[[kept, gone]] = -np.inf
        similarity[kept] = similarity[:, kept] = joined
        similarity[gone] = similarity[:, gone] = -np.inf
        weights[kept] = total
        stale = np.flatnonzero((nearest == kept) | (nearest == gone))
        stale = np.union1d(stale, [kept, gone])
        nearest[stale] = similarity[stale].argmax(axis=1)
        best[stale] = similarity[stale, nearest[stale]]
        nearer = joined > best
        nearest[nearer], best[nearer] = kept, joined[nearer]
    return merges


def labels_after(count: int, merges: list[Merge]) -> IntArray:
    """The cluster (N,) of each of `count` things after these merges, numbered from 0 in order of their first thing."""
    roots = np.arange(count)
    for merge in merges:
        roots[roots == merge.gone] = merge.kept
    _, first, inverse = np.unique(roots, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return order[inverse]


def means(vectors: FloatArray, weights: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray]:
    """The weighted mean vector (K, D) and the weight (K,) of each cluster."""
    count = int(labels.max(initial=-1)) + 1
    sums, totals = np.zeros((count, vectors.shape[1])), np.zeros(count)
    np.add.at(sums, labels, vectors * weights[:, None])
    np.add.at(totals, labels, weights)
    return sums / np.maximum(totals, 1e-9)[:, None], totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """The speaker of each piece (N,), numbered from 0, and how sure that is (N,), 0 to 1."""

    labels: IntArray
    confidences: FloatArray


def group(
    pieces: Sequence[Piece], *, number: int | None = None, least: int | None = None, most: int | None = None
) -> Grouping:
    """Pieces by speaker: of `number` speakers if that is given, or else of as many as are found from `least` to `most`.

    There are never more speakers than pieces.
    """
    if not pieces:
        return Grouping(labels=np.zeros(0, np.int64), confidences=np.zeros(0))
    size = next((len(piece.vector) for piece in pieces if piece.vector is not None), 1)
    vectors = np.stack([np.zeros(size) if piece.vector is None else piece.vector for piece in pieces]).astype(float)
    seconds = np.array([piece.seconds for piece in pieces])
    centres = voices(vectors, seconds, number=number, least=least or 1, most=most)
    if not len(centres):
        return Grouping(labels=np.zeros(len(pieces), np.int64), confidences=np.zeros(len(pieces)))
    centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    closeness = vectors @ centres.T
    labels = closeness.argmax(axis=1)
    ordered = np.sort(closeness, axis=1)
    margin = ordered[:, -1] - (ordered[:, -2] if len(centres) > 1 else 0.0)
    return Grouping(labels=labels, confidences=1 / (1 + np.exp(-8 * margin)))


def mean_voice(pieces: Sequence[Piece], chosen: npt.NDArray[np.bool_]) -> Float32Array | None:
    """The vector (D,), of length 1, of the chosen pieces (N,) together; None if they say nothing of a voice."""
    own = [piece for piece, is_chosen in zip(pieces, chosen, strict=True) if is_chosen and piece.vector is not None]
    own = [piece for piece in own if piece.seconds] or own
    total = sum((max(piece.seconds, 0.1) * piece.vector for piece in own if piece.vector is not None), np.float32(0))
    length = float(np.linalg.norm(total))
    return np.asarray(total / length, np.float32) if length else None


def voices(
    vectors: FloatArray,
    seconds: FloatArray,
    *,
    number: int | None,
    least: int = 1,
    most: int | None = None,
) -> FloatArray:
    """The mean vector (K, D) of each voice among these pieces; `seconds` of each were spoken alone.

    K is `number` if that is given and there are so many pieces, or else found, from `least` to `most`.
    """
    founding = seconds >= _FOUNDING
    if founding.sum() < (number or least):
        founding = seconds > 0
    if founding.sum() < (number or least):
        founding = np.abs(vectors).sum(axis=1) > 0
    vectors, weights = vectors[founding].astype(np.float64), np.maximum(seconds[founding], 0.1)
    while len(vectors) > _AT_ONCE:
        labels = np.zeros(len(vectors), np.int64)
        known = 0
        for start in range(0, len(vectors), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            merges = agglomerate(vectors[part], weights[part], until=_SURE)
            labels[part] = labels_after(len(vectors[part]), merges) + known
            known = int(labels[part].max()) + 1
        if known > 0.9 * len(vectors):
            break
        vectors, weights = means(vectors, weights, labels)
    merges = agglomerate(vectors, weights)
    return _cut(vectors, weights, merges, number, least, most)


def _cut(
    vectors: FloatArray,
    weights: FloatArray,
    merges: list[Merge],
    number: int | None,
    least: int,
    most: int | None,
) -> FloatArray:
    count = len(vectors)
    if number is None:
        stop = next((i for i, m in enumerate(merges) if m.similarity <= SAME_VOICE), len(merges))
        mean, weight = means(vectors, weights, labels_after(count, merges[:stop]))
        found = int((weight >= _VOICE).sum())
        wanted = min(max(found, least), most or count)
        if wanted == found and found:
            return mean[weight >= _VOICE]
        number = max(wanted, 1)
    for enough in (_VOICE, _FOUNDING, 0.0):
        for stop in range(len(merges), -1, -1):
            mean, weight = means(vectors, weights, labels_after(count, merges[:stop]))
            if (weight >= enough).sum() >= number:
                keep = np.sort(np.argsort(-weight, kind="stable")[:number])
                return mean[keep]
    return means(vectors, weights, labels_after(count, []))[0]
