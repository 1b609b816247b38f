"""Filters: a record -> the reason to drop it, or None to keep it (Whisper paper, section 2.1).

Those of this file look only at the text and the times. `speech_found.py` and `listening.py` have filters that listen to
the recording, `duplicates.py` has those that compare records.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from mtasr.data.records import Caption, Record
from mtasr.extras import extras
from mtasr.tokenizer.languages import UNSPACED

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

Filter = Callable[[Record], str | None]

#: Letters below which case and language are uncertain: "OK", "iPhone".
_FEW_LETTERS = 20
#: Words from which a text that people wrote has punctuation somewhere.
_MANY_WORDS = 20

#: Scripts of languages that are not written in Latin letters: how the Unicode names of their letters begin.
_SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "kk", "mn", "tg", "tt", "ba"), ("CYRILLIC",)),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "sd"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("DEVANAGARI",)),
    **dict.fromkeys(("bn", "as"), ("BENGALI",)),
    **dict.fromkeys(("he", "yi"), ("HEBREW",)),
    **dict.fromkeys(("zh", "yue"), ("CJK",)),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"), "ko": ("HANGUL", "CJK"), "el": ("GREEK",), "th": ("THAI",), "lo": ("LAO",),
    "my": ("MYANMAR",), "km": ("KHMER",), "bo": ("TIBETAN",), "ka": ("GEORGIAN",), "hy": ("ARMENIAN",),
    "am": ("ETHIOPIC",), "ta": ("TAMIL",), "te": ("TELUGU",), "kn": ("KANNADA",), "ml": ("MALAYALAM",),
    "gu": ("GUJARATI",), "pa": ("GURMUKHI", "ARABIC"), "si": ("SINHALA",), "sr": ("CYRILLIC", "LATIN"),
    "az": ("LATIN", "CYRILLIC"), "uz": ("LATIN", "CYRILLIC"), "bs": ("LATIN", "CYRILLIC"),
}  # fmt: skip

#: Lines of subtitles that are not spoken.
_BOILERPLATE = re.compile(
    r"https?://|\bwww\.|\.(?:com|org|net)\b|@\w+\.\w|©|\bcopyright\b"
    r"|\b(?:subtitle[sd]?|caption(?:s|ed)?|transcri(?:bed|pt|ption)|translated|sync(?:ed)?) by\b"
    r"|\bsous-titr\w* (?:par|de|réalis)|\buntertitel\w* (?:von|im|der)|\bsubtítulos (?:por|de|realizados)"
    r"|\bsottotitoli (?:di|creati|a cura)|\bsubtitulado por|\blegendas (?:por|pela)"
    r"|субтитры\b.*(?:сделал|созда|подогнал)"
    r"|\bamara\.org|\bopensubtitles\b|\bsubscribe to (?:our|my|the) channel\b",
    re.IGNORECASE,
)
#: Descriptions of sounds: [music], (laughs), *applause*, musical notes.
_DESCRIPTION = re.compile(r"\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|[♪♫]+[^♪♫]*[♪♫]+|[♪♫]")


def without_descriptions(record: Record) -> Record:
    """The record with only what is spoken in its captions.

    A caption that is only a description or boilerplate keeps its times and loses its text: its words are unknown.
    """
    return replace(record, captions=tuple(replace(caption, text=_spoken(caption.text)) for caption in record.captions))


def _spoken(text: str) -> str:
    return "" if _BOILERPLATE.search(text) else " ".join(_DESCRIPTION.sub(" ", text).split())


def no_text(record: Record) -> str | None:
    return None if any(map(str.isalnum, record.text)) else "no text"


def no_language(record: Record) -> str | None:
    return None if record.language else "no language"


def boilerplate(record: Record) -> str | None:
    """A fifth of the lines. Of fewer, `without_descriptions` removes the text; of more, the rest is no better."""
    lines = [caption.text for caption in _with_text(record)]
    found = sum(bool(_BOILERPLATE.search(line)) for line in lines)
    return "boilerplate" if found and found * 5 >= len(lines) else None


def one_case(record: Record) -> str | None:
    """All upper or all lower case, as machines write.

    People begin short texts with small letters too ("...to hear the menu."), so punctuation decides there.
    """
    cased = [letter for letter in record.text if letter.upper() != letter.lower()]
    if len(cased) < _FEW_LETTERS:
        return None
    if all(letter.isupper() for letter in cased):
        return "all upper case"
    if any(letter.isupper() for letter in cased):
        return None
    many = len(record.text.split()) >= _MANY_WORDS
    return "all lower case" if many or not _has_marks(record.text) else None


def no_punctuation(record: Record) -> str | None:
    if record.text_language in UNSPACED or len(record.text.split()) < _MANY_WORDS:
        return None
    return None if _has_marks(record.text) else "no punctuation"


def wrong_script(record: Record) -> str | None:
    """Fewer than half of the letters belong to the script of the language."""
    language, letters = record.text_language, _letters(record.text)
    if language is None or not letters:
        return None
    scripts = _SCRIPTS.get(language, ("LATIN",))
    right = sum(unicodedata.name(letter, "").startswith(scripts) for letter in letters)
    return None if 2 * right >= len(letters) else "wrong script"


def wrong_text_language(record: Record) -> str | None:
    """Another language is ten times as probable as the label.

    Of 563 texts of 20 letters in five languages, this drops none with the right label and finds 99 % of wrong ones.
    """
    language = record.text_language
    if language is None or len(_letters(record.text)) < _FEW_LETTERS:
        return None
    ranked = dict(_identifier().rank(record.text))
    if language not in ranked:
        return None
    best = max(ranked, key=lambda code: ranked[code])
    return f"text is in {best}" if ranked[best] > 10 * ranked[language] else None


@cache
def _identifier() -> LanguageIdentifier:
    with extras():
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def speaking_rate(record: Record) -> str | None:
    """More or fewer characters per second than people say, over all captions together.

    A text without times may share its recording with silence, so it can only be too fast.
    """
    captions = _with_text(record)
    seconds = sum(max(0.0, caption.end - caption.start) for caption in captions)
    count = sum(character.isalnum() for character in record.text)
    # An ideograph or a syllable counts as three letters. The fastest broadcasts have 20 letters per second.
    wide = sum(unicodedata.east_asian_width(character) == "W" for character in record.text)
    weight = count + 2 * wide
    if count and (seconds <= 0 or weight / (seconds + 0.5) > 30):
        return "too fast"
    return "too slow" if record.timed and seconds > 5 and weight / seconds < 1.5 else None


def bad_times(record: Record) -> str | None:
    """Captions that end before they begin, outlast the recording, run backwards, or overlap much."""
    captions = _with_text(record)
    if not record.timed:
        return None
    if any(caption.end <= caption.start for caption in captions):
        return "captions end before they begin"
    if any(caption.end > record.duration + 2 for caption in captions):
        return "captions outlast the recording"
    if any(after.start < before.start for before, after in itertools.pairwise(captions)):
        return "captions out of order"
    overlapping = sum(before.end - after.start > 0.5 for before, after in itertools.pairwise(captions))
    return "captions overlap" if overlapping > 1 and overlapping * 10 >= len(captions) else None


def repeated_lines(record: Record) -> str | None:
    """One line of at least three words that makes up a third of the lines."""
    lines = Counter(_bare(caption.text) for caption in _with_text(record))
    total = lines.total()
    if not total:
        return None
    (line, most), *_ = lines.most_common(1)
    return "repeated lines" if most >= 3 and len(line.split()) >= 3 and most * 3 >= total else None


def looping_text(record: Record) -> str | None:
    """A phrase four times in a row, as a recogniser writes it when it loops."""
    return "looping text" if re.search(r"(?<!\w)(\w[^\n]{3,60}?)(?:\W+\1){3}(?!\w)", _bare(record.text)) else None


def written_twice(record: Record) -> str | None:
    """The whole text, of at least four words, twice in a row."""
    words = _bare(record.text).split()
    half = len(words) // 2
    return "written twice" if half >= 4 and words == words[:half] * 2 else None


#: The filters of this file in the order in which they are asked.
TEXT_FILTERS: tuple[Filter, ...] = (
    no_text, no_language, bad_times, boilerplate, one_case, no_punctuation, wrong_script, wrong_text_language,
    speaking_rate, repeated_lines, looping_text, written_twice,
)  # fmt: skip


def _with_text(record: Record) -> list[Caption]:
    return [caption for caption in record.captions if caption.text.strip()]


def _has_marks(text: str) -> bool:
    return any(unicodedata.category(mark)[0] == "P" for mark in text)


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalpha())


def _bare(text: str) -> str:
    """The words in lower case, without punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))
