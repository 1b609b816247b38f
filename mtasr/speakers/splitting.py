"""Voices that are alike: whether pieces that clustering took for one voice are several.

A threshold of similarity cannot tell: two voices of one synthesiser are more alike than one person is in two languages
or rooms. So two parts of a voice are compared with how much each of them differs within itself.

In shapes: N pieces, D dimensions of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtasr.arrays import FloatArray, IntArray
from mtasr.speakers.clustering import agglomerate, condensed, direction, unit

#: Pieces of a part that can be a voice of its own, and its share of all: fewer say too little of how much it differs
#: within itself, and among very many pieces some always go together, such as those of a sentence that is repeated.
_LEAST_PIECES, _LEAST_SHARE = 6, 0.02
#: Pieces of a voice lead if they are more alike to the others of their part than to the other part. Of a voice the mean
#: lead is at least so many standard deviations. Measured: 3.0 or more between voices of espeak-ng, up to 2.9 between
#: two languages of one person, up to 2.7 between other parts of one voice.
_LEAST_DEVIATIONS = 3.0
#: Two voices take turns: so many changes at least from one to the other, and so many for each piece of the smaller
#: part. Somebody who goes on by telephone or in another room changes once or twice.
_LEAST_CHANGES, _CHANGES_PER_PIECE = 4, 0.2
#: The deviations that are enough if one of the parts is several voices already, whose pieces differ more, and the share
#: of the lead.
_FEWER_DEVIATIONS, _LESS_LEAD = 2.0, 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """Pieces that are one cluster, and the voices among them; none if they are one voice."""

    pieces: IntArray
    voices: tuple[IntArray, ...] = ()


def split(vectors: FloatArray, seconds: FloatArray, lead: float) -> list[IntArray]:
    """The voices among pieces with vectors (N, D) of length 1 and these durations (N,): the places of their pieces.

    The pieces are in order of time.

    There is one of them, with all pieces, unless some lead clearly, by `lead` at least. Pieces that no voice has enough
    of are left out. Voices are in order of their first pieces.
    """
    splitter = _Splitter(vectors=vectors, seconds=seconds, lead=lead)
    means, weights, labels = condensed(vectors, seconds)
    nodes = {label: _Node(pieces=np.flatnonzero(labels == label)) for label in range(len(means))}
    for merge in agglomerate(means, weights):
        nodes[merge.kept] = splitter.joined(nodes[merge.kept], nodes.pop(merge.gone))
    (root,) = nodes.values()
    return sorted(root.voices or [root.pieces], key=lambda pieces: int(pieces.min()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Splitter:
    """Pieces with vectors (N, D) and durations (N,), and by how much those of a voice lead."""

    vectors: FloatArray
    seconds: FloatArray
    lead: float

    def joined(self, one: _Node, two: _Node) -> _Node:
        pieces = np.concatenate([one.pieces, two.pieces])
        larger, smaller = (one, two) if len(one.pieces) >= len(two.pieces) else (two, one)
        if len(smaller.pieces) < max(_LEAST_PIECES, _LEAST_SHARE * len(self.seconds)):
            return _Node(pieces=pieces, voices=larger.voices)
        if one.voices or two.voices:
            differ = self._differ(one.pieces, two.pieces, _LESS_LEAD * self.lead, _FEWER_DEVIATIONS)
        else:
            differ = self._differ(one.pieces, two.pieces, self.lead, _LEAST_DEVIATIONS)
        voices = (*(one.voices or [one.pieces]), *(two.voices or [two.pieces]))
        return _Node(pieces=pieces, voices=voices if differ else ())

    def _differ(self, one: IntArray, two: IntArray, lead: float, deviations: float) -> bool:
        """Whether two parts of the pieces are two voices."""
        is_one = np.isin(np.sort(np.concatenate([one, two])), one)
        if np.diff(is_one).sum() < max(_LEAST_CHANGES, _CHANGES_PER_PIECE * min(len(one), len(two))):
            return False
        for part, rest in ((one, two), (two, one)):
            of_part: FloatArray = self.seconds[part] @ self.vectors[part]
            # A piece is compared with the others of its part, without itself.
            others: FloatArray = of_part - self.seconds[part, None] * self.vectors[part]
            of_rest = direction(self.vectors[rest], self.seconds[rest])
            leads = np.einsum("nd,nd->n", self.vectors[part], unit(others)) - self.vectors[part] @ of_rest
            if leads.mean() < max(lead, deviations * leads.std()):
                return False
        return True
