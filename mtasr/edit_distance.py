"""Errors of a recognised text: how training and evaluation count them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Errors, and the words (or characters) of the reference among which they were counted.

    Counts add up; the rate of a sum is the usual rate of many texts, in which long texts weigh more.
    """

    errors: int = 0
    length: int = 0

    def __add__(self, other: ErrorCount) -> ErrorCount:
        return ErrorCount(self.errors + other.errors, self.length + other.length)

    @property
    def rate(self) -> float:
        """Errors for each word of the reference; may exceed 1. Without a reference it is the number of errors."""
        return self.errors / (self.length or 1)


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCount:
    """Substitutions, deletions and insertions of words, or of characters if both are strings."""
    return ErrorCount(edit_distance(reference, hypothesis), len(reference))


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein's distance: the fewest insertions, deletions and replacements that turn one into the other.

    A column of the usual table differs by -1, 0 or 1 from row to row. Two integers hold these differences, a bit for
    each row, so that a column takes a few operations (Myers 1999, in the form of Hyyrö 2003). This makes the
    characters of an hour's transcript comparable within seconds.
    """
    if not one:
        return len(other)
    places: dict[str, int] = {}
    for row, item in enumerate(one):
        places[item] = places.get(item, 0) | 1 << row
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    higher, lower = every, 0  # rows whose value is one more, or one less, than that of the row above
    distance = len(one)
    for item in other:
        equal = places.get(item, 0)
        diagonal = (((equal & higher) + higher) ^ higher) | equal | lower
        rises, falls = lower | (every & ~(diagonal | higher)), higher & diagonal  # from the previous column
        distance += bool(rises & last) - bool(falls & last)
        rises, falls = rises << 1 | 1, falls << 1
        vertical = equal | lower
        higher, lower = every & (falls | ~(vertical | rises)), every & rises & vertical
    return distance
