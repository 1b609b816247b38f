"""Texts of records: how targets spell them, how they are compared, and how errors in them are counted."""

from __future__ import annotations

import unicodedata

from mtasr.edit_distance import ErrorCount, count_errors
from mtasr.tokenizer.languages import UNSPACED


def spaced(text: str, language: str | None) -> str:
    """The text on one line as a decoder writes it: with a leading blank, unless the language has no blanks."""
    line = " ".join(text.split())
    return line if language in UNSPACED else f" {line}"


def normalised(text: str) -> str:
    """The words in lower case, without accents and punctuation, so that two spellings of a text compare equal."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    # Vowel signs of Indic scripts are marks too, but not accents: their combining class is 0.
    spelled = (each if unicodedata.category(each)[0] in "LNM" else " " for each in decomposed)
    return unicodedata.normalize("NFC", " ".join("".join(e for e in spelled if not unicodedata.combining(e)).split()))


def word_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Substituted, deleted and inserted words, ignoring case, accents and punctuation."""
    return count_errors(normalised(reference).split(), normalised(hypothesis).split())


def character_errors(reference: str, hypothesis: str) -> ErrorCount:
    """The same for characters, ignoring blanks too."""
    return count_errors(normalised(reference).replace(" ", ""), normalised(hypothesis).replace(" ", ""))
