"""Words with their phonemes, in the alphabet of misaki's American dictionaries.

The alphabet is IPA with single letters for diphthongs (A as in say, I as in my, O as in go, W as in now, Y as in boy),
and stress before the stressed vowel (ˈ and ˌ).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mtasr.errors import ModelIntegrityError
from mtasr.models.folder import DICTIONARY, DICTIONARY_RARE

_SIBILANTS = "szʃʒʧʤ"
_VOICELESS = "ptkfθ"
#: Words that are said without stress inside a sentence; dictionaries have them as they are said alone.
_WEAK = {"a": "ɐ", "an": "ɐn", "the": "ðə", "to": "tə", "i": "ˌI"}
_BEFORE_VOWEL = {"the": "ði", "to": "tʊ"}
VOWELS = frozenset("AIOWYaiuæɑɐɔəɛɜɪʊʌᵊᵻ")


class Dictionary:
    """Common words, and rarer ones whose phonemes were not checked by hand."""

    def __init__(self, common: Mapping[str, str], rare: Mapping[str, str]) -> None:
        self._common, self._rare = common, rare

    @classmethod
    def read(cls, folder: Path) -> Dictionary:
        """Raises `ModelIntegrityError` unless both files of the folder are dictionaries."""
        return cls(_words(folder / DICTIONARY), _words(folder / DICTIONARY_RARE))

    def find(self, word: str, following: str = "") -> str | None:
        """The phonemes of a word, also in its regular forms; None for a word that is in neither dictionary.

        `following` is the phonemes of the word after it, which decide how "the" and "to" are said, and whether A is a
        letter.
        """
        lower = word.lower()
        if lower in _WEAK and (word != "A" or following):
            first = following.lstrip("ˈˌ")[:1]
            return _BEFORE_VOWEL.get(lower, _WEAK[lower]) if first in VOWELS and first else _WEAK[lower]
        return self._plain(word) or self._inflected(word)

    def _plain(self, word: str) -> str | None:
        for form in dict.fromkeys((word, word.lower(), word.capitalize())):
            if found := self._common.get(form) or self._rare.get(form):
                return found
        return None

    def _inflected(self, word: str) -> str | None:
        lower = word.lower()
        if lower.endswith(("'s", "s'")):
            stem = self._plain(word[:-2]) or (self._plain(word[:-1]) if lower.endswith("s'") else None)
            return stem and with_s(stem)
        if lower.endswith("s") and not lower.endswith("ss"):
            return next((with_s(stem) for each in _singulars(word) if (stem := self._plain(each))), None)
        if lower.endswith("ed"):
            return next((_with_ed(stem) for each in _stems(word[:-2]) if (stem := self._plain(each))), None)
        if lower.endswith("ing"):
            return next((f"{stem}ɪŋ" for each in _stems(word[:-3]) if (stem := self._plain(each))), None)
        return None


def with_s(phonemes: str) -> str:
    """As in cats, dogs, horses."""
    if phonemes[-1] in _SIBILANTS:
        return f"{phonemes}ᵻz"
    return phonemes + ("s" if phonemes[-1] in _VOICELESS else "z")


def _with_ed(phonemes: str) -> str:
    """As in wanted, walked, played."""
    if phonemes[-1] in "td":
        return f"{phonemes}ᵻd"
    return phonemes + ("t" if phonemes[-1] in _VOICELESS + "sʃʧ" else "d")


def _singulars(word: str) -> list[str]:
    found = [word[:-1]]
    if word.lower().endswith("es"):
        found.append(word[:-2])
    if word.lower().endswith("ies"):
        found.append(f"{word[:-3]}y")
    return [each for each in found if len(each) > 1]


def _stems(stem: str) -> list[str]:
    """What may stand before -ed and -ing: walk, love, stop (stopped), carry (carried)."""
    found = [stem, f"{stem}e"]
    if len(stem) > 2 and stem[-1] == stem[-2]:
        found.append(stem[:-1])
    if stem.endswith("i"):
        found.append(f"{stem[:-1]}y")
    return [each for each in found if len(each) > 1]


def _words(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        # Words that are said in several ways have them by part of speech, which is not known here.
        found = {word: said if isinstance(said, str) else said["DEFAULT"] for word, said in document.items()}
        return {word: said for word, said in found.items() if said}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as exc:
        raise ModelIntegrityError(f"{path} is damaged or not a dictionary: {exc!r}") from exc
