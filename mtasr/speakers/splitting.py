"""Voices that are alike: whether pieces that clustering took for one voice are several.

A threshold of similarity cannot tell: two voices of one synthesiser are more alike than one person is in two languages
or rooms. So two parts of a voice are compared with how much each of them differs within itself.

In shapes: N pieces, D dimensions of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtasr.arrays import FloatArray, IntArray
from mtasr.speakers.clustering import agglomerate, condensed, unit

#: Pieces of a part that can be a voice of its own: fewer say too little of how much it differs within itself.
_LEAST_PIECES = 6
#: Pieces of a voice lead if they are more alike to the others of their part than to the other part. Of a voice the mean
#: lead is at least so many standard deviations. Measured: 3.0 or more between voices of espeak-ng, up to 2.6 between
#: parts of one voice.
_LEAST_DEVIATIONS = 2.8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """Pieces that are one cluster, and the voices among them; none if they are one voice."""

    pieces: IntArray
    voices: tuple[IntArray, ...] = ()


def split(vectors: FloatArray, seconds: FloatArray, lead: float) -> list[IntArray]:
    """The voices among pieces with vectors (N, D) of length 1 and these durations (N,): the places of their pieces.

    There is one of them, with all pieces, unless some lead clearly, by `lead` at least. Pieces that no voice has enough
    of are left out. Voices are in order of their first pieces.
    """
    means, weights, labels = condensed(vectors, seconds)
    nodes = {label: _Node(pieces=np.flatnonzero(labels == label)) for label in range(len(means))}
    for merge in agglomerate(means, weights):
        nodes[merge.kept] = _joined(nodes[merge.kept], nodes.pop(merge.gone), vectors, seconds, lead)
    (root,) = nodes.values()
    return sorted(root.voices or [root.pieces], key=lambda pieces: int(pieces.min()))


def _joined(one: _Node, two: _Node, vectors: FloatArray, seconds: FloatArray, lead: float) -> _Node:
    pieces = np.concatenate([one.pieces, two.pieces])
    larger, smaller = (one, two) if len(one.pieces) >= len(two.pieces) else (two, one)
    if len(smaller.pieces) < _LEAST_PIECES:
        return _Node(pieces=pieces, voices=larger.voices)
    if one.voices or two.voices or _differ(one.pieces, two.pieces, vectors, seconds, lead):
        return _Node(pieces=pieces, voices=(*(one.voices or [one.pieces]), *(two.voices or [two.pieces])))
    return _Node(pieces=pieces)


def _differ(one: IntArray, two: IntArray, vectors: FloatArray, seconds: FloatArray, lead: float) -> bool:
    """Whether two parts of the pieces are two voices."""
    for part, rest in ((one, two), (two, one)):
        total: FloatArray = seconds[part] @ vectors[part]
        # A piece is compared with the others of its part, without itself.
        others: FloatArray = total - seconds[part, None] * vectors[part]
        other: FloatArray = seconds[rest] @ vectors[rest]
        leads = np.einsum("nd,nd->n", vectors[part], unit(others)) - vectors[part] @ unit(other)
        if leads.mean() < max(lead, _LEAST_DEVIATIONS * leads.std()):
            return False
    return True
