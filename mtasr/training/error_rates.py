"""Word and character error rates."""

from __future__ import annotations

from mtasr.data.duplicates import normalised
from mtasr.edit_distance import ErrorCount, count_errors


def word_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Substitutions, deletions and insertions of words; case, accents and marks do not count."""
    return count_errors(normalised(reference).split(), normalised(hypothesis).split())


def character_errors(reference: str, hypothesis: str) -> ErrorCount:
    """The same of characters, blanks left out."""
    return count_errors(normalised(reference).replace(" ", ""), normalised(hypothesis).replace(" ", ""))
