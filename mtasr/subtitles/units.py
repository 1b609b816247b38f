"""Segments -> units: the pieces of text between which a line may end, each with its times.

A unit is a word with its punctuation or, in writing systems without spaces, a phrase.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from mtasr.transcript import Segment, Word
from mtasr.writing_systems import HAN, KANA, THAI, UNSPACED, without_space

if TYPE_CHECKING:
    from budoux.parser import Parser

_HANGUL = r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
_CJK = re.compile(f"[{HAN}{KANA}{_HANGUL}]")
_OTHER_UNSPACED = re.compile(rf"[{THAI}]")
_CJK_LANGUAGES = frozenset({"zh", "yue", "ja", "ko"})

#: Marks that do not begin a line, and marks that do not end one.
_CLOSING = frozenset(
    "!%),.:;?]}»’”…‰、。〉》」』】〕〗〙〛！％），．：；？］｝～ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ々・"
)
_OPENING = frozenset("([{«‘“¿¡〈《「『【〔〖〘〚（［｛#$€£")
_QUOTES = "\"'»’”)]}」』】）］"
_SENTENCE = frozenset(".!?…。！？．؟।۔")
_CLAUSE = frozenset(",;:，；：、،؛–—")
#: Abbreviations, whose final point ends no sentence.
_SHORT_FORMS = frozenset({
    "ca.", "dott.", "dr.", "dra.", "e.g.", "etc.", "fr.", "hr.", "i.e.", "ing.", "jr.", "m.", "mm.", "mme.", "mr.",
    "mrs.", "ms.", "prof.", "sig.", "sr.", "sra.", "st.", "vs.",
})  # fmt: skip
#: A word in katakana; the middle dot separates two.
_KATAKANA = re.compile(r"[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f]+")
_TOKEN = re.compile(r"\S+")
_SPACES = re.compile(r"\s+")
#: Letters of a word so short that it leans on the next one: articles, prepositions, conjunctions.
_SHORT_WORD = 3
#: English pronouns that lean on the verb before them if one of these words follows: "thank you / for coming".
_OBJECTS = frozenset({"her", "him", "it", "me", "them", "us", "you"})
_LINKS = frozenset({
    "about", "after", "and", "at", "because", "before", "but", "by", "for", "from", "in", "into", "of", "on", "or",
    "to", "when", "while", "with", "without",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Text in which no line may break. Times are milliseconds of the file.

    `source` is the segment it comes from and `words` its words, if they have times. If `spaced`, a space precedes it on
    a line.
    """

    text: str
    start: int
    end: int
    spaced: bool
    source: Segment
    words: tuple[Word, ...] | None
    cjk: bool
    #: Whether it is the last of its segment, so that the model itself divided the text here.
    last: bool = False

    @property
    def ends_sentence(self) -> bool:
        bare = self.text.rstrip(_QUOTES)
        return bare[-1:] in _SENTENCE and self.text.lower() not in _SHORT_FORMS

    @property
    def ends_clause(self) -> bool:
        bare = self.text.rstrip(_QUOTES)
        return bare[-1:] in _CLAUSE

    @property
    def leans_on_next(self) -> bool:
        """Whether a line should not end after it."""
        return not self.cjk and len(self.text) <= _SHORT_WORD and self.text.isalpha()


def goes_with_next(units: Sequence[Unit], index: int) -> bool:
    """Whether a line should not end after that unit, by it and those behind it."""
    if _ends_phrase(units, index):
        return False
    return units[index].leans_on_next or _ends_phrase(units, index + 1)


def _ends_phrase(units: Sequence[Unit], index: int) -> bool:
    """Whether the unit is a pronoun in the role of an object."""
    pair = [unit.text.lower() for unit in units[index : index + 2]]
    return len(pair) == 2 and pair[0] in _OBJECTS and pair[1] in _LINKS


def units_of(segments: Sequence[Segment], language: str, *, width: int = 16) -> list[Unit]:
    """The units of all segments in order; their times never run backwards.

    `width` is the most characters of Chinese, Japanese or Korean in a line: what a katakana word may need.
    """
    units: list[Unit] = []
    for segment in segments:
        found = list(_segment_units(segment, segment.language or language, width))
        if not found:
            continue
        if units and not found[0].spaced and not without_space(units[-1].text, found[0].text):
            found[0] = replace(found[0], spaced=True)
        found[-1] = replace(found[-1], last=True)
        units += found
    return _in_order(units)


def _in_order(units: list[Unit]) -> list[Unit]:
    ordered: list[Unit] = []
    clock = 0
    for unit in units:
        clock = max(clock, unit.start)
        ordered.append(replace(unit, start=clock, end=max(unit.end, clock)))
    for place, (unit, following) in enumerate(itertools.pairwise(ordered)):
        ordered[place] = replace(unit, end=min(unit.end, following.start))
    return ordered


def is_cjk(text: str, language: str) -> bool:
    """Whether Chinese, Japanese or Korean limits suit the text; a translation is not in the language spoken."""
    wide = len(_CJK.findall(text))
    letters = sum(map(str.isalpha, text))
    return wide > 0 if language in _CJK_LANGUAGES else 2 * wide > letters


class _Range(NamedTuple):
    start: int
    end: int


def _segment_units(segment: Segment, language: str, width: int) -> Iterator[Unit]:
    text = segment.text
    clock = _Clock(segment)
    cjk = is_cjk(text, language)
    tokens = [token.span() for token in _TOKEN.finditer(text)]
    spans = _join_marks(text, [span for token in tokens for span in _cut(text, token, language, width)])
    for span in spans:
        yield Unit(
            text=_SPACES.sub(_one_space, text[span.start : span.end]),
            start=clock.at(span.start, span.start),
            end=clock.at(span.end - 1, span.end),
            spaced=span.start > 0 and text[span.start - 1].isspace(),
            source=segment,
            words=clock.words(span),
            cjk=cjk,
        )


def _one_space(found: re.Match[str]) -> str:
    """One space, but the no-break spaces before punctuation in French stay."""
    return found[0] if found[0] in ("\u00a0", "\u202f") else " "


def _join_marks(text: str, spans: Sequence[_Range]) -> list[_Range]:
    """The ranges, each mark that stands alone joined to the word it belongs to."""
    joined: list[_Range] = []
    held: int | None = None
    for span in spans:
        piece = text[span.start : span.end]
        start = span.start if held is None else held
        held = None
        if any(map(str.isalnum, piece)):
            joined.append(_Range(start, span.end))
        elif joined and start == span.start and not set(piece) <= _OPENING:
            joined[-1] = _Range(joined[-1].start, span.end)
        else:
            held = start
    if held is not None:
        end = spans[-1].end
        joined[-1:] = [_Range(joined[-1].start, end)] if joined else [_Range(held, end)]
    return joined


# --- writing systems without spaces ---

#: Characters of a phrase; longer ones would make lines too uneven and are cut.
_LONGEST_PHRASE = 8


def _cut(text: str, span: tuple[int, int], language: str, width: int) -> Iterator[_Range]:
    """A run of characters without spaces, as phrases if its writing system has no spaces between words."""
    start, end = span
    run = text[start:end]
    parser = _parser_for(run, language)
    if parser is None:
        yield _Range(start, end)
        return
    inside = {place for word in _words_in_katakana(run, width) for place in range(word.start + 1, word.end)}
    begin = 0
    for edge in itertools.accumulate(map(len, parser.parse(run))):
        if edge in inside:
            continue
        for piece in _pieces(run, _Range(begin, edge), inside, width):
            yield _Range(start + piece.start, start + piece.end)
        begin = edge


def _words_in_katakana(run: str, width: int) -> list[_Range]:
    """Those that fit a line."""
    found = [_Range(*word.span()) for word in _KATAKANA.finditer(run)]
    return [word for word in found if word.end - word.start <= width]


def _parser_for(run: str, language: str) -> Parser | None:
    if re.search(f"[{KANA}]", run) or (language == "ja" and UNSPACED.search(run)):
        return _parser("japanese")
    if re.search(f"[{HAN}]", run):
        return _parser("traditional_chinese" if language == "yue" else "simplified_chinese")
    return _parser("thai") if _OTHER_UNSPACED.search(run) else None


@cache
def _parser(name: str) -> Parser:
    import budoux  # only for the texts that need it

    load = getattr(budoux, f"load_default_{name}_parser")
    parser: Parser = load()
    return parser


def _pieces(run: str, phrase: _Range, inside: Set[int], width: int) -> Iterator[_Range]:
    """The phrase or, if it is too long, pieces of it that neither begin nor end with the wrong mark.

    There is no cut at the places that are `inside` words. With such a word in its middle, a phrase stays whole if it
    fits a line: a cut at the word's end would leave a particle alone.
    """
    begin, end = phrase
    while (left := end - begin) > _LONGEST_PHRASE:
        half = begin + -(-left // -(-left // _LONGEST_PHRASE))
        if half in inside and left <= width:
            break
        places = sorted(range(begin + 1, end), key=lambda place: abs(place - half))
        allowed = (place for place in places if place not in inside and _may_part(run[place - 1], run[place]))
        cut = next(allowed, None)
        if cut is None:
            break
        yield _Range(begin, cut)
        begin = cut
    yield _Range(begin, end)


def _may_part(before: str, after: str) -> bool:
    if before in _OPENING or after in _CLOSING:
        return False
    wide_before, wide_after = UNSPACED.match(before), UNSPACED.match(after)
    if wide_before and wide_after:
        return True
    # Words in other letters may begin and end a line; a number stays with what it counts.
    if wide_before:
        return after.isalnum() or after in _OPENING
    return bool(wide_after) and (before.isalpha() or before in _CLOSING)


# --- times ---


class _Clock:
    """When each character of a segment is spoken: as its words tell, or else evenly over the segment."""

    def __init__(self, segment: Segment) -> None:
        self._text = segment.text
        self._words = _located(segment)
        self._timed = bool(self._words)
        if not self._words:
            bare = segment.text.strip()
            first = segment.text.find(bare)
            whole = Word(word=bare, start=segment.start, end=segment.end, probability=0.0)
            self._words = [(_Range(first, first + len(bare)), whole)]
        self._starts = [span.start for span, _ in self._words]

    def at(self, character: int, edge: int) -> int:
        """Milliseconds at an edge of a character, which is at `character` (its start) or behind it (its end)."""
        return self._inside(max(bisect_right(self._starts, character) - 1, 0), edge)

    def _inside(self, index: int, place: int) -> int:
        span, word = self._words[index]
        part = min(max((place - span.start) / (span.end - span.start), 0.0), 1.0) if span.end > span.start else 0.0
        return round((word.start + part * (word.end - word.start)) * 1000)

    def words(self, span: _Range) -> tuple[Word, ...] | None:
        """The words in a range of the text, which joined give that text; a word across its edge is cut there."""
        if not self._timed:
            return None
        found = []
        begin = span.start
        for index in range(max(bisect_right(self._starts, span.start) - 1, 0), len(self._words)):
            own, word = self._words[index]
            if own.start >= span.end:
                break
            start, end = max(own.start, span.start), min(own.end, span.end)
            if start < end:
                whole = (start, end) == own
                found.append(
                    Word(
                        word=_SPACES.sub(_one_space, self._text[begin:end]),
                        start=word.start if whole else self._inside(index, start) / 1000,
                        end=word.end if whole else self._inside(index, end) / 1000,
                        probability=word.probability,
                    )
                )
                begin = end
        return tuple(found)


def _located(segment: Segment) -> list[tuple[_Range, Word]]:
    """The words with their ranges in the text, without spaces around them; none if they are not those of the text."""
    located, place = [], 0
    for word in segment.words or ():
        bare = word.word.strip()
        found = segment.text.find(bare, place)
        if not bare:
            continue
        if found < 0 or segment.text[place:found].strip():
            return []
        place = found + len(bare)
        located.append((_Range(found, place), word))
    return [] if segment.text[place:].strip() else located
