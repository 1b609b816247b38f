"""Word and character error rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtasr.data.duplicates import normalised


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors among so many words (or characters) of the reference. Add them up, then ask for the rate."""

    errors: int = 0
    length: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(self.errors + other.errors, self.length + other.length)

    @property
    def rate(self) -> float:
        """Errors for each word of the reference; may exceed 1. Without a reference every error counts as one word."""
        return self.errors / (self.length or 1)


def word_errors(reference: str, hypothesis: str) -> Errors:
    """Substitutions, deletions and insertions of words; case, accents and marks do not count."""
    return _errors(normalised(reference).split(), normalised(hypothesis).split())


def character_errors(reference: str, hypothesis: str) -> Errors:
    """The same of characters, blanks left out."""
    return _errors(normalised(reference).replace(" ", ""), normalised(hypothesis).replace(" ", ""))


def _errors(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    return Errors(edit_distance(reference, hypothesis), len(reference))


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein's: the fewest insertions, deletions and replacements that turn one into the other."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            best = min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
            diagonal, row[j] = row[j], best
    return row[-1]
