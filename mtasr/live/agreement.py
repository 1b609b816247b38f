"""Which words of a draft are committed: those well before the end of the audio that were drafted twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mtasr.transcript import Word

#: A row of fewer words is no repetition: people say "no, no, no".
_LEAST_ECHO = 4


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


def without_echo(pieces: Sequence[DraftedWord], first: int) -> list[DraftedWord]:
    """The words of a draft up to where it repeats, from the word number `first` on, a row of words that was said once.

    Who says something twice takes about as long for it each time. So if one of the two rows takes less than half the
    time of the other, the audio has only the longer. The words that are left have the times of that.
    """
    places = [place for place, piece in enumerate(pieces) if piece.key]
    for begun, again, length in _repeated([pieces[place].key for place in places]):
        once, twice = ([pieces[place] for place in places[start : start + length]] for start in (begun, again))
        if places[again] < first or 2 * min(_seconds(once), _seconds(twice)) >= max(_seconds(once), _seconds(twice)):
            continue
        end = begun + length if begun + length == again - 1 else again
        kept = list(pieces[: max(first, places[end - 1] + 1)])
        if _seconds(twice) > _seconds(once):
            for place, said in zip(places[begun:], twice, strict=False):
                kept[place] = replace(
                    kept[place], word=replace(kept[place].word, start=said.word.start, end=said.word.end)
                )
        return kept
    return list(pieces)


def _repeated(keys: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Where a row of keys begins, where it begins again, and its length.

    At most one key is between the two, or else the second ends with the keys.
    """
    for again in range(len(keys)):
        for begun in range(again):
            pairs = itertools.takewhile(
                lambda pair: pair[0] == pair[1], zip(keys[begun:again], keys[again:], strict=False)
            )
            length = sum(1 for _ in pairs)
            if length >= _LEAST_ECHO and (begun + length >= again - 1 or again + length == len(keys)):
                yield begun, again, length


def _seconds(row: Sequence[DraftedWord]) -> float:
    return row[-1].word.end - row[0].word.start


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
