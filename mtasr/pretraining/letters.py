"""The letters of texts, which an encoder learns to spell: lower case, with one mark between words."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: As transformers' tokenizers for CTC have them: the blank, two that nothing says, any other letter, and a blank space.
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "|")
_BLANK, _UNKNOWN, _SPACE = 0, 3, 4


def spelling(text: str) -> str:
    """The words of a text in lower case, without punctuation but apostrophes within words, with one space between.

    Accents stay, as they are part of the spelling. Digits stay too.
    """
    plain = unicodedata.normalize("NFC", text.casefold()).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    kept = "".join(each if each == "'" or unicodedata.category(each)[0] in "LNM" else " " for each in plain)
    return " ".join(filter(None, (word.strip("'") for word in kept.split())))


@dataclass(frozen=True, slots=True)
class Letters:
    """All tokens by their numbers: five special ones, then letters."""

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Letters:
        """Those that the texts have, in the order of their code points."""
        found = {letter for text in texts for letter in spelling(text)} - {" "}
        return cls((*_SPECIAL, *sorted(found)))

    @property
    def blank(self) -> int:
        """CTC's blank, which no frame says."""
        return _BLANK

    def numbers(self, text: str) -> list[int]:
        """A text as tokens."""
        known = {token: number for number, token in enumerate(self.tokens) if number >= len(_SPECIAL)}
        return [_SPACE if letter == " " else known.get(letter, _UNKNOWN) for letter in spelling(text)]

    def text(self, frames: Sequence[int]) -> str:
        """What the tokens of frames spell: repetitions count once, and special tokens not at all."""
        said = (number for number, _ in itertools.groupby(frames))
        letters = (" " if number == _SPACE else self.tokens[number] for number in said if number >= _SPACE)
        return " ".join("".join(letters).split())

    def frames_needed(self, numbers: Sequence[int]) -> int:
        """The fewest frames that can spell these tokens: equal neighbours need a blank between them."""
        return len(numbers) + sum(one == other for one, other in itertools.pairwise(numbers))
