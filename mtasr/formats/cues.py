"""A transcript as cues, which every subtitle format needs: in whole milliseconds, in order, none empty."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mtasr.formats.cue_text import harmless, lines_of
from mtasr.transcript import Segment, Transcript, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How subtitles look, and what the recording is called."""

    #: Underline each word while it is spoken; only in SubRip and WebVTT, and where the times of words are known.
    highlight_words: bool = False
    #: Name of the recording, without the ending of its file, for formats that say it.
    recording: str = ""


#: The style of writers that are given none.
PLAIN = Style()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """A subtitle: start and end in whole milliseconds, and text of one or more lines, none of them blank.

    `underlined` is the part of the text that is underlined: its first character and the one behind its last, counted
    without spaces. `words` are those of its segment, with times in seconds; None if the times are not known.
    """

    start: int
    end: int
    text: str
    speaker: str | None = None
    underlined: tuple[int, int] | None = None
    words: tuple[Word, ...] | None = None


def cues(transcript: Transcript, style: Style = PLAIN) -> Iterator[Cue]:
    """The segments with text as cues with 0 <= start < end <= duration, in the order of their starts.

    Cues of one speaker do not overlap, nor do cues without a speaker. With highlighted words, a segment becomes several
    cues, one after the other.
    """
    spoken: dict[str | None, list[tuple[Segment, str]]] = {}
    for segment in transcript:
        if text := lines_of(segment.text):
            spoken.setdefault(segment.speaker, []).append((segment, text))
    found: list[Cue] = []
    for speaker, said in spoken.items():
        # Floor, not round: a cue must not outlast the file. With more cues than milliseconds, order comes first.
        limit = max(math.floor(transcript.duration * 1000 + 1e-6), len(said))
        times = apart([(segment.start * 1000, segment.end * 1000) for segment, _ in said], 0, limit)
        for (segment, text), (start, end) in zip(said, times, strict=True):
            cue = Cue(start=start, end=end, text=text, speaker=speaker, words=segment.words)
            found += _highlighted(cue, segment.words or ()) if style.highlight_words else [cue]
    yield from sorted(found, key=lambda cue: cue.start)


def apart(times: Sequence[tuple[float, float]], least: int, most: int) -> list[tuple[int, int]]:
    """Starts and ends as whole numbers of the same unit from `least` to `most`: in order, none empty, no overlap.

    Rounding may break any of these, and so may a caller's own segments and words. So starts are pushed apart first,
    each to a number of its own; then each stretch ends at the latest where the next one starts. Needs as many numbers
    as there are stretches.
    """
    starts = _increasing([round(start) for start, _ in times], least, most)
    return [
        (start, min(max(round(end), start + 1), following))
        for (_, end), start, following in zip(times, starts, [*starts, most][1:], strict=True)
    ]


def _increasing(times: list[int], least: int, most: int) -> list[int]:
    """The nearest strictly increasing times from `least` to `most` - 1; needs len(times) <= most - least."""
    for i, time in enumerate(times):
        times[i] = max(time, least)
        least = times[i] + 1
    for i in reversed(range(len(times))):
        times[i] = min(times[i], most - 1)
        most = times[i]
    return times


def _highlighted(cue: Cue, words: Sequence[Word]) -> Iterator[Cue]:
    """A cue for each word, underlined while it is spoken, and the cue unchanged for the time between words."""
    seen = [(word, count) for word in words if (count := _visible(lines_of(word.word)))]
    # Other words than those of the text cannot be found in it.
    if sum(count for _, count in seen) != _visible(cue.text) or len(seen) > cue.end - cue.start:
        seen = []
    at, place = cue.start, 0
    times = apart([(word.start * 1000, word.end * 1000) for word, _ in seen], cue.start, cue.end)
    for (_, count), (start, end) in zip(seen, times, strict=True):
        if at < start:
            yield replace(cue, start=at, end=start)
        yield replace(cue, start=start, end=end, underlined=(place, place + count))
        at, place = end, place + count
    if at < cue.end:
        yield replace(cue, start=at)


def _visible(text: str) -> int:
    """The number of characters other than spaces."""
    return sum(not char.isspace() for char in text)


def timestamp(milliseconds: int, mark: str) -> str:
    """Hours, minutes, seconds and, after `mark`, milliseconds: 01:02:03.456."""
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{milliseconds:03}"


def marked(cue: Cue, before: str, escape: Callable[[str], str]) -> str:
    """The escaped text of a cue, its underlined part between tags, after `before`, which is escaped already."""
    text = cue.text
    if cue.underlined is None:
        return harmless(before + escape(text))
    visible = [place for place, char in enumerate(text) if not char.isspace()]
    first, last = visible[cue.underlined[0]], visible[cue.underlined[1] - 1] + 1
    return harmless(f"{before}{escape(text[:first])}<u>{escape(text[first:last])}</u>{escape(text[last:])}")


def cues_in_centiseconds(transcript: Transcript) -> list[Cue]:
    """The cues with times in centiseconds, still in order and none empty."""
    voices: dict[str | None, list[Cue]] = {}
    for cue in cues(transcript):
        voices.setdefault(cue.speaker, []).append(cue)
    found: list[Cue] = []
    for own in voices.values():
        most = max(round(transcript.duration * 100), len(own)) + 1
        times = apart([(cue.start / 10, cue.end / 10) for cue in own], 0, most)
        found += [replace(cue, start=start, end=end) for cue, (start, end) in zip(own, times, strict=True)]
    return sorted(found, key=lambda cue: cue.start)
