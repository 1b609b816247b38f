"""Which voice each piece of speech is.

The voices are found in passages, which are long enough to be sure, and compared with pieces, which are short enough to
hold one voice each. A piece is the voice that it is most similar to, but pieces of one strand rarely change the
voice, and two strands that speak at the same time are two voices.

In shapes: N pieces, K voices, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array, FloatArray, IntArray
from mtasr.models.speakers.published import CAMPPLUS_LIKENESS, Likeness
from mtasr.speakers.clustering import agglomerate, direction, find_voices, joined, labels_after, unit
from mtasr.speakers.pieces import VoicePiece
from mtasr.speakers.splitting import split

#: What a change of the voice within a strand costs in similarity, if the pause is shorter than so many frames (1 s).
_CHANGE, _SHORT_PAUSE = 0.2, 60
#: Seconds of speech alone from which a piece is sure enough to tell voices apart that are alike, and to say how the
#: voice sounds that it is taken for.
_SPLITS, _SAYS = 1.0, 0.8
#: Frames that two pieces overlap at least to be two voices for sure.
_TOGETHER = 10
#: Seconds beyond which a longer piece is not more certain.
_CERTAIN = 3.0
#: Of the logistic curve from the margin between the best voice and the next to the share of pieces that are right.
_SLOPE, _OFFSET = 8.0, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """The voice of each piece (N,), numbered from 0, and how sure that is (N,), 0 to 1."""

    labels: IntArray
    confidences: FloatArray


def group(
    pieces: Sequence[VoicePiece],
    passages: Sequence[VoicePiece],
    *,
    number: int | None = None,
    least: int | None = None,
    most: int | None = None,
    likeness: Likeness = CAMPPLUS_LIKENESS,
) -> Grouping:
    """Pieces by voice: of `number` voices if that is given, or else of as many as are found from `least` to `most`.

    `passages` are the same speech, in longer pieces. There are never more voices than pieces that can be compared.
    """
    heard, longer = _Heard.of(pieces), _Heard.of(passages)
    if not heard.places:
        return Grouping(labels=np.zeros(len(pieces), np.int64), confidences=np.zeros(len(pieces)))
    found = find_voices(longer.vectors, longer.seconds, number=None, least=least or 1, most=most, likeness=likeness)
    labels = _apart(pieces, _scores(pieces, heard, found))
    voices, weights = _split(heard, labels, found, likeness.lead)
    wanted = number or min(len(voices), most or len(voices))
    if len(voices) < wanted:
        voices = find_voices(longer.vectors, longer.seconds, number=number, likeness=likeness)
    elif len(voices) > wanted:
        merges = agglomerate(voices, weights, most=len(voices) - wanted)
        voices = unit(joined(voices, weights, labels_after(len(voices), merges))[0])
    if voices is not found:
        labels = _apart(pieces, _scores(pieces, heard, voices))
    voices = _mean_voices(heard, labels, voices)
    scores = _scores(pieces, heard, voices)
    labels = _apart(pieces, scores)
    return Grouping(labels=labels, confidences=_confidences(scores, labels, likeness.stranger))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """The places of the pieces that have vectors, these vectors (N, D), and how many seconds (N,) are alone."""

    places: list[int]
    vectors: FloatArray
    seconds: FloatArray

    @classmethod
    def of(cls, pieces: Sequence[VoicePiece]) -> _Heard:
        places = [place for place, piece in enumerate(pieces) if piece.vector is not None]
        return cls(
            places=places,
            vectors=np.array([pieces[place].vector for place in places], np.float64),
            seconds=np.array([pieces[place].seconds for place in places]),
        )


def _split(heard: _Heard, labels: IntArray, voices: FloatArray, lead: float) -> tuple[FloatArray, FloatArray]:
    """The voices (K, D) that the pieces of each of these `voices` are, and the seconds (K,) that they speak.

    The same array if none is several voices.
    """
    result, weights = [], []
    for label, voice in enumerate(voices):
        own = np.flatnonzero((labels[heard.places] == label) & (heard.seconds >= _SPLITS))
        parts = split(heard.vectors[own], heard.seconds[own], lead) if len(own) else []
        if len(parts) < 2:
            result.append(voice)
            weights.append(heard.seconds[own].sum() + _SPLITS)
            continue
        for part in parts:
            result.append(direction(heard.vectors[own[part]], heard.seconds[own[part]]))
            weights.append(heard.seconds[own[part]].sum())
    return voices if len(result) == len(voices) else np.array(result), np.array(weights)


def _mean_voices(heard: _Heard, labels: IntArray, voices: FloatArray) -> FloatArray:
    """The voices (K, D) once more, as the pieces sound that are taken for them; as they were if that is one piece."""
    result = voices.copy()
    for label in range(len(voices)):
        own = (labels[heard.places] == label) & (heard.seconds >= _SAYS)
        if own.sum() > 1:
            result[label] = direction(heard.vectors[own], heard.seconds[own])
    return result


def mean_voice(pieces: Sequence[VoicePiece], chosen: npt.NDArray[np.bool_]) -> Float32Array | None:
    """The vector (D,), of length 1, of the chosen pieces (N,) together; None if they say nothing of a voice."""
    own = [piece for piece, is_chosen in zip(pieces, chosen, strict=True) if is_chosen and piece.vector is not None]
    own = [piece for piece in own if piece.seconds] or own
    total = sum((max(piece.seconds, 0.1) * piece.vector for piece in own if piece.vector is not None), np.float32(0))
    length = float(np.linalg.norm(total))
    return np.asarray(total / length, np.float32) if length else None


def _scores(pieces: Sequence[VoicePiece], heard: _Heard, voices: FloatArray) -> FloatArray:
    """How much speaks for it that a piece is a voice (N, K)."""
    of_heard = heard.vectors @ voices.T
    similarity = np.zeros((len(pieces), len(voices)))
    similarity[heard.places] = of_heard
    starts = np.array([pieces[place].start for place in heard.places])
    for place, piece in enumerate(pieces):
        if piece.vector is None:  # It is like its neighbour.
            similarity[place] = 0.1 * of_heard[np.abs(starts - piece.start).argmin()]
    return _along_strands(pieces, similarity)


def _along_strands(pieces: Sequence[VoicePiece], similarity: FloatArray) -> FloatArray:
    """For each piece and voice (N, K), the best sum over its strand if the piece is that voice, less a constant."""
    scores = similarity.copy()
    strands: dict[int, list[int]] = {}
    for place in sorted(range(len(pieces)), key=lambda place: pieces[place].start):
        strands.setdefault(pieces[place].strand, []).append(place)
    for places in strands.values():
        costs = [_CHANGE * (pieces[two].start - pieces[one].end <= _SHORT_PAUSE) for one, two in pairwise(places)]
        for order, prices in ((places, costs), (places[::-1], costs[::-1])):
            reached = similarity[order[0]]
            for place, cost in zip(order[1:], prices, strict=True):
                before = np.maximum(reached - reached.max(), -cost)
                scores[place] += before
                reached = similarity[place] + before
    return scores


def _apart(pieces: Sequence[VoicePiece], scores: FloatArray) -> IntArray:
    """The voice of each piece (N,): the best that no surer piece has which overlaps it."""
    labels = np.full(len(pieces), -1)
    rivals = _overlapping(pieces)
    ranks = np.argsort(-scores, axis=1, kind="stable")
    ordered = np.sort(scores, axis=1)
    lead = ordered[:, -1] - ordered[:, -2] if scores.shape[1] > 1 else np.ones(len(pieces))
    weight = np.array([min(piece.seconds, _CERTAIN) + 0.01 for piece in pieces])
    for place in np.argsort(-lead * weight, kind="stable"):
        taken = {labels[rival] for rival in rivals[place]}
        labels[place] = next((voice for voice in ranks[place] if voice not in taken), ranks[place, 0])
    return labels


def _overlapping(pieces: Sequence[VoicePiece]) -> list[list[int]]:
    """For each piece, those of other strands that are spoken at the same time."""
    rivals: list[list[int]] = [[] for _ in pieces]
    current: list[int] = []
    for place in sorted(range(len(pieces)), key=lambda place: pieces[place].start):
        piece = pieces[place]
        current = [other for other in current if pieces[other].end > piece.start]
        for other in current:
            together = min(pieces[other].end, piece.end) - piece.start
            if pieces[other].strand != piece.strand and together >= _TOGETHER:
                rivals[place].append(other)
                rivals[other].append(place)
        current.append(place)
    return rivals


def _confidences(scores: FloatArray, labels: IntArray, stranger: float) -> FloatArray:
    """How sure it is that a piece is the voice `labels` (N,) says, from the scores (N, K)."""
    places = np.arange(len(labels))
    own = scores[places, labels]
    others = scores.copy()
    others[places, labels] = stranger
    confidences: FloatArray = 1 / (1 + np.exp(-_SLOPE * (own - others.max(axis=1)) - _OFFSET))
    return confidences
