"""Which words of a draft are committed: those well before the end of the audio that were drafted twice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from mtasr.transcript import Word


@dataclass(frozen=True, slots=True)
class DraftedWord:
    """A word of a draft with its text tokens."""

    word: Word
    tokens: tuple[int, ...]

    @property
    def key(self) -> str:
        """The word without marks and case; empty for marks alone. Drafts differ in these that agree otherwise."""
        return "".join(filter(str.isalnum, self.word.word.casefold()))


def count_committable(
    pieces: Sequence[DraftedWord], before: Sequence[DraftedWord], *, until: float, complete: bool
) -> int:
    """How many words of a draft can be committed: the first ones that were drafted twice and end by `until` seconds.

    `pieces` and `before` are the uncommitted words of this draft and of the last one. The last word may grow, so it is
    kept back unless the draft is `complete`: silence follows.
    """
    last = max((place for place, piece in enumerate(pieces) if piece.key), default=-1)
    earlier, count = iter([piece.key for piece in before if piece.key]), 0
    for place, piece in enumerate(pieces):
        is_whole = complete or (place < last and piece.word.end <= until)
        if not is_whole or (piece.key and next(earlier, None) != piece.key):
            break
        count = place + 1
    return count


def best_cut(pieces: Sequence[DraftedWord], count: int, earliest: float, latest: float) -> int | None:
    """After which of the first `count` words audio is best cut between two times: at a long gap or after a sentence.

    None if no such word ends there.
    """
    ends = [
        (
            following.word.start - piece.word.end + 0.3 * piece.word.word.rstrip().endswith((".", "!", "?", "。")),
            place + 1,
        )
        for place, (piece, following) in enumerate(itertools.pairwise(pieces))
        if place < count and earliest <= piece.word.end <= latest
    ]
    return max(ends)[1] if ends else None
