"""Subtitles that people can read: the text of a transcript in cues that keep the rules of a layout.

A cue is a `Segment` whose text has line breaks, so every output format of transcripts writes subtitles too.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from mtasr.subtitles.breaks import Lines, divide
from mtasr.subtitles.layout import STYLES, Layout, Limits
from mtasr.subtitles.units import Unit, units_of
from mtasr.transcript import Segment, Transcript, Word

__all__ = ["STYLES", "Broken", "Layout", "Rule", "Subtitles", "lay_out"]

Rule = Literal["line width", "reading speed", "minimum duration", "minimum gap", "single word"]

_REASONS: dict[Rule, str] = {
    "line width": "a word is longer than a line",
    "reading speed": "more speech follows, the recording ends, or the maximum duration is reached",
    "minimum duration": "more speech follows too soon, or the recording ends",
    "minimum gap": "several people speak at once",
    "single word": "its neighbours leave no room for it",
}

#: Silence after which a new cue begins in any case, in milliseconds.
_LONG_SILENCE = 2000
#: A shorter gap (ms) is closed: a screen that is empty for a moment flickers.
_FLICKER = 500


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that the speech does not let a cue keep; cues are counted from 0."""

    cue: int
    rule: Rule

    @property
    def reason(self) -> str:
        return _REASONS[self.rule]


@dataclass(frozen=True, slots=True)
class Subtitles:
    """A transcript whose segments are cues, and the rules that some of them break."""

    transcript: Transcript
    broken: tuple[Broken, ...]


def lay_out(transcript: Transcript, layout: Layout) -> Subtitles:
    """Divide the text of a transcript into cues.

    Cues follow words with times; a segment without them is taken to be spoken evenly. Cues are in the order of their
    starts, those of one voice do not overlap, and joined they hold the text of the segments. A cue has no tokens, and
    its other fields are those of the segment in which it begins.
    """
    voices: dict[str | None, list[Segment]] = {}
    for segment in transcript:
        voices.setdefault(segment.speaker, []).append(segment)
    width = layout.limits(cjk=True).width
    spoken = [units_of(segments, transcript.language, width=width) for segments in voices.values()]
    latest = max(math.floor(transcript.duration * 1000 + 1e-6), *(units[-1].start + 1 for units in spoken if units), 0)
    blocks = [_blocks(units, _starts(other for other in spoken if other is not units)) for units in spoken]
    drafts: list[_Draft] = []
    for own in blocks:
        others = _starts([block[0] for block in other] for other in blocks if other is not own)
        drafts += _drafts(own, others, layout, latest)
    drafts = list(_parted(sorted(drafts, key=lambda draft: draft.start)))
    cues = tuple(_cue(number, draft) for number, draft in enumerate(drafts))
    broken = tuple(Broken(number, rule) for number, draft in enumerate(drafts) for rule in _broken(draft))
    return Subtitles(replace(transcript, segments=cues), broken)


class _Draft(NamedTuple):
    """A cue in the making. Times are milliseconds."""

    start: int
    end: int
    #: The earliest end that another voice may force: by then the cue can be read, and all but a gap of it is spoken.
    least: int
    units: Sequence[Unit]
    lines: Lines
    limits: Limits
    #: Whether another cue begins while it is shown, or too soon after it.
    crowded: bool = False


def _starts(voices: Iterable[Sequence[Unit]]) -> list[int]:
    return sorted(unit.start for units in voices for unit in units)


def _drafts(blocks: Sequence[Sequence[Unit]], others: Sequence[int], layout: Layout, latest: int) -> Iterator[_Draft]:
    """The cues of one voice; `others` are the times at which blocks of other voices begin."""
    clock = 0
    starts = [block[0].start for block in blocks]
    for block, own_next in itertools.zip_longest(blocks, starts[1:]):
        limits, last = layout.limits(cjk=block[0].cjk), block[-1]
        # A voice that speaks at the same time has its own cues; the voice that speaks next ends this one's last cue.
        # Within a block no other voice speaks next, or it would end there.
        next_other = bisect_left(others, max(last.end, last.start + 1))
        following = _first([own_next, *others[next_other : next_other + 1]])
        division = divide(block, limits, following, latest)
        nexts = [*(block[lines.begin].start for lines in division[1:]), following]
        for lines, after in zip(division, nexts, strict=True):
            start, spoken = max(block[lines.begin].start, clock), block[lines.end - 1].end
            end = _end(start, spoken, lines.characters, limits, after, latest)
            least = max(spoken - limits.gap, start + limits.needed(lines.characters))
            yield _Draft(start, end, least, block, lines, limits)
            clock = end


def _parted(drafts: Sequence[_Draft]) -> Iterator[_Draft]:
    """The same cues, each with a gap before the later cues of all voices.

    When a voice is laid out, the cues of a voice that speaks at the same time are not known yet. A cue with time to
    spare ends before them.
    """
    for place, draft in enumerate(drafts):
        end, crowded = draft.end, False
        for later in map(drafts.__getitem__, range(place + 1, len(drafts))):
            room = later.start - draft.limits.gap
            if room >= end:
                break
            if room >= draft.least:
                end = room
                break
            crowded = True
        yield draft._replace(end=end, crowded=crowded)


def _first(times: Sequence[int | None]) -> int | None:
    return min((time for time in times if time is not None), default=None)


def _blocks(units: Sequence[Unit], others: Sequence[int]) -> list[list[Unit]]:
    """Units that may share cues; `others` are the times at which words of other voices start."""
    blocks: list[list[Unit]] = []
    for unit in units:
        if not blocks or _apart(blocks[-1][-1], unit, others):
            blocks.append([])
        blocks[-1].append(unit)
    return blocks


def _apart(before: Unit, after: Unit, others: Sequence[int]) -> bool:
    """Whether two units are of different kinds, or a long silence or another voice lies between them."""
    if before.cjk != after.cjk or before.source.language != after.source.language:
        return True
    interrupted = bisect_left(others, before.end) < bisect_left(others, after.start)
    return interrupted or after.start - before.end >= _LONG_SILENCE


def _text(units: Sequence[Unit], lines: Lines) -> str:
    return "\n".join(
        "".join(" " * (unit.spaced and place > 0) + unit.text for place, unit in enumerate(units[begin:end]))
        for begin, end in itertools.pairwise((lines.begin, *lines.breaks, lines.end))
    )


def _end(start: int, spoken: int, characters: int, limits: Limits, after: int | None, latest: int) -> int:
    """The end of the cue: once it can be read, and not shortly before the next cue."""
    room = latest if after is None else after - limits.gap
    longest = start + limits.longest
    end = min(max(spoken, start + limits.needed(characters)), room, longest)
    if after is not None and room - end < _FLICKER:
        end = min(room, longest)
    return max(end, start + 1)


def _broken(draft: _Draft) -> Iterator[Rule]:
    limits, lines, shown = draft.limits, draft.lines, draft.end - draft.start
    if any(len(line) > limits.width for line in _text(draft.units, lines).split("\n")):
        yield "line width"
    if shown < limits.reading_time(lines.characters):
        yield "reading speed"
    if shown < limits.shortest:
        yield "minimum duration"
    if draft.crowded:
        yield "minimum gap"
    if lines.orphan:
        yield "single word"


def _cue(number: int, draft: _Draft) -> Segment:
    units, lines = draft.units, draft.lines
    own = units[lines.begin : lines.end]
    timed = [_words(unit, _before(unit, place, lines)) for place, unit in enumerate(own, lines.begin)]
    words = None if any(each is None for each in timed) else tuple(word for each in timed for word in each or ())
    start, end, text = draft.start / 1000, draft.end / 1000, _text(units, lines)
    return replace(own[0].source, id=number, start=start, end=end, text=text, tokens=(), words=words)


def _before(unit: Unit, place: int, lines: Lines) -> str:
    """What separates a unit from the one before it, so that the joined words of a cue are its text."""
    if place in lines.breaks:
        return "\n"
    return " " if unit.spaced and place > lines.begin else ""


def _words(unit: Unit, before: str) -> tuple[Word, ...] | None:
    if not unit.words:
        return unit.words
    first, *rest = unit.words
    return (replace(first, word=before + first.word), *rest)
