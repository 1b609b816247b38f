"""English text -> phonemes, in pieces that a network can say at once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mtasr.speech.phonemes.dictionary import Dictionary, with_s
from mtasr.speech.phonemes.letters import LetterNetwork
from mtasr.speech.phonemes.spoken_text import spoken_text

#: Words with their apostrophes, and the marks that phonemes have; all else separates words.
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*'?|[;:,.!?—…\"()]")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n\s*\n|\n")
_MARKS = ";:,.!?—…"


@dataclass(frozen=True, slots=True)
class Phrase:
    """What a network says at once, and whether a sentence ends with it."""

    phonemes: str
    ends_sentence: bool


class EnglishPhonemes:
    """American English."""

    def __init__(self, dictionary: Dictionary, letters: LetterNetwork) -> None:
        self._dictionary, self._letters = dictionary, letters

    @classmethod
    def read(cls, folder: Path) -> EnglishPhonemes:
        """Raises `ModelIntegrityError` if a file is damaged."""
        return cls(Dictionary.read(folder), LetterNetwork.read(folder))

    def phrases(self, text: str, most: int) -> Iterator[Phrase]:
        """The text in phrases of at most `most` phonemes: sentences, or parts of them that end where one pauses.

        A text without a letter or a digit has none.
        """
        for sentence in _SENTENCE_END.split(spoken_text(text)):
            pieces = [each for each in _cut(self.words(sentence), most) if any(c.isalpha() for c in each)]
            yield from (Phrase(each, number == len(pieces)) for number, each in enumerate(pieces, 1))

    def words(self, sentence: str) -> list[str]:
        """The phonemes of each word, with the marks that follow it. The sentence has words for its numbers."""
        tokens = _TOKEN.findall(sentence)
        said: list[str] = []
        following = ""
        for token in reversed(tokens):
            phonemes = token if not token[0].isalpha() else self.word(token, following)
            following = phonemes if token[0].isalpha() else ""
            said.append(phonemes)
        return _joined(reversed(said))

    def word(self, word: str, following: str = "") -> str:
        """The phonemes of a word; none for one of another script than Latin.

        Abbreviations of capitals are spelled, unless they are known as words.
        """
        word = word.strip("'") if word.strip("'") else word
        if found := self._dictionary.find(word, following):
            return found
        plain = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
        if plain != word and (found := self._dictionary.find(plain, following)):
            return found
        if not any(c.isascii() for c in plain):
            return ""  # of a script that an English voice cannot read
        if len(plain) > 1 and plain.isupper() and plain.isascii() and (len(plain) <= 4 or not _has_vowel(plain)):
            return self._spelled(plain)
        if plain.lower().endswith("'s"):
            return with_s(self.word(plain[:-2]))
        return self._letters.say(plain) or self._spelled(plain)

    def _spelled(self, word: str) -> str:
        """Letter by letter, the last one with the stress, as in "the BBC"."""
        letters = [self._dictionary.find(each.upper()) or "" for each in word if each.isalpha()]
        weak = "".join(each.replace("ˈ", "ˌ") for each in letters[:-1])
        return weak + (letters[-1] if letters else "")


def _has_vowel(word: str) -> bool:
    return any(c in "AEIOUYaeiouy" for c in word)


def _joined(tokens: Iterator[str]) -> list[str]:
    words: list[str] = []
    for token in tokens:
        if token in ('"', "(", ")"):
            continue
        if token in _MARKS and words:
            words[-1] += token
        elif token not in _MARKS and token:
            words.append(token)
    return words


def _cut(words: list[str], most: int) -> Iterator[str]:
    """Pieces of at most `most` characters: at the last mark of a pause that fits, else between words."""
    piece: list[str] = []
    for word in (part for each in words for part in _chopped(each, most)):
        if piece and len(" ".join([*piece, word])) > most:
            pause = max((at for at, each in enumerate(piece, 1) if each[-1] in _MARKS), default=len(piece))
            yield " ".join(piece[:pause])
            piece = piece[pause:]
            if piece and len(" ".join([*piece, word])) > most:
                yield " ".join(piece)
                piece = []
        piece.append(word)
    if piece:
        yield " ".join(piece)


def _chopped(word: str, most: int) -> Iterator[str]:
    yield from (word[at : at + most] for at in range(0, len(word), most))
