"""Where cues and lines end: the cheapest way through the units, by dynamic programming.

A broken rule costs more than all else together, so a rule is only broken where the speech leaves no other division.
Widths, line counts and words in a line are always kept: only a single unit may be wider than a line.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mtasr.subtitles.layout import Limits
from mtasr.subtitles.units import Unit, goes_with_next

#: What one broken rule costs; other costs of a cue add up to some dozens.
_BROKEN = 10_000.0
_CUE = 5.0
_SECOND_LINE = 1.5
#: Costs of the end of a cue, by what precedes it; a pause lowers them, the more the longer it is (full at 600 ms).
_AFTER_SENTENCE, _AFTER_CLAUSE, _AFTER_SEGMENT, _AFTER_WORD, _AFTER_SHORT_WORD = 0.0, 4.0, 7.0, 12.0, 18.0
_PAUSE_BONUS, _FULL_PAUSE = 6.0, 600
#: The same for the end of a line within a cue, as a fraction.
_LINE_END = 0.4
#: Costs of a sentence that begins within a cue, and of each second of silence within it beyond the small (ms).
_INNER_SENTENCE, _INNER_SILENCE, _SMALL_SILENCE = 5.0, 12.0, 300
#: Cost of lines of unequal length: an empty line beside a full one.
_UNEVEN = 8.0


@dataclass(frozen=True, slots=True)
class Lines:
    """A cue of the units from `begin` to before `end`; `breaks` are the first units of its lines after the first."""

    begin: int
    end: int
    breaks: tuple[int, ...]
    #: Characters to read, as if on one line: a line break replaces a space, or nothing.
    characters: int
    #: Whether a single word, which is no sentence, is a cue or a line of its own.
    orphan: bool


def divide(units: Sequence[Unit], limits: Limits, following: int | None, latest: int) -> list[Lines]:
    """Divide units of one voice and one kind of text into cues.

    `following` is the start of the next cue, of this voice or of another one that takes over, in milliseconds, or None;
    `latest` is the end of the recording.
    """
    return _Division(units, limits, following, latest).best()


class _Division:
    def __init__(self, units: Sequence[Unit], limits: Limits, following: int | None, latest: int) -> None:
        self.units, self.limits = units, limits
        self.starts = [unit.start for unit in units]
        self.rooms = [start - limits.gap for start in self.starts]
        self.rooms.append(latest if following is None else following - limits.gap)
        # On one endless line, unit i occupies the characters from self.left[i] to before self.right[i].
        self.left, self.right, place = [], [], 0
        for unit in units:
            place += unit.spaced
            self.left.append(place)
            place += len(unit.text)
            self.right.append(place)
        self.penalties = [self._end_penalty(index) for index in range(len(units))]
        self.sentence_ends = [unit.ends_sentence for unit in units]
        self.counts_orphans = limits.words is None or limits.words > 2
        self.known: dict[tuple[int, int, int], tuple[float, tuple[int, ...]]] = {}

    def _end_penalty(self, index: int) -> float:
        unit = self.units[index]
        if index + 1 == len(self.units):
            return 0.0
        if unit.ends_sentence:
            penalty = _AFTER_SENTENCE
        elif unit.ends_clause:
            penalty = _AFTER_CLAUSE
        elif unit.last:
            penalty = _AFTER_SEGMENT
        else:
            penalty = _AFTER_SHORT_WORD if goes_with_next(self.units, index) else _AFTER_WORD
        pause = self.starts[index + 1] - unit.end
        return max(penalty - _PAUSE_BONUS * min(pause / _FULL_PAUSE, 1.0), 0.0)

    def best(self) -> list[Lines]:
        count = len(self.units)
        costs = [0.0] + [math.inf] * count
        choices: list[Lines | None] = [None] * (count + 1)
        for begin in range(count):
            for end, cost, breaks in self._cues_from(begin):
                if costs[begin] + cost < costs[end]:
                    costs[end] = costs[begin] + cost
                    choices[end] = self._choice(begin, end, breaks)
            self.known.clear()
        found: list[Lines] = []
        end = count
        while end:
            choice = choices[end]
            assert choice is not None  # noqa: S101 - a single unit is always a cue
            found.append(choice)
            end = choice.begin
        return found[::-1]

    def _choice(self, begin: int, end: int, breaks: tuple[int, ...]) -> Lines:
        edges = (begin, *breaks, end)
        alone = any(after - before == 1 for before, after in itertools.pairwise(edges))
        orphan = self._is_orphan(begin) if end - begin == 1 else alone and self.counts_orphans
        return Lines(begin, end, breaks, self._length(begin, end), orphan)

    def _cues_from(self, begin: int) -> Iterator[tuple[int, float, tuple[int, ...]]]:
        """Every cue that may begin with that unit: its end, cost and line breaks."""
        limits, start = self.limits, self.starts[begin]
        most = limits.width * limits.lines + limits.lines
        inner = 0.0
        too_wide = 0  # by how much single units are wider than a line
        for end in range(begin + 1, len(self.units) + 1):
            too_wide += max(len(self.units[end - 1].text) - limits.width, 0)
            if end > begin + 1:
                before = end - 2
                silence = self.starts[end - 1] - self.units[before].end - _SMALL_SILENCE
                inner += _INNER_SILENCE * max(silence, 0) / 1000 + _INNER_SENTENCE * self.sentence_ends[before]
                if self._length(begin, end) - too_wide > most or self._spoken(begin, end) > limits.longest:
                    return
            lines = self._lines(begin, end)
            if lines is None:
                continue
            yield end, _CUE + inner + lines[0] + self.penalties[end - 1] + self._timing(start, begin, end), lines[1]

    def _length(self, begin: int, end: int) -> int:
        """Characters of units on one line."""
        return self.right[end - 1] - self.left[begin]

    def _spoken(self, begin: int, end: int) -> int:
        return min(self.units[end - 1].end, self.rooms[end]) - self.starts[begin]

    def _timing(self, start: int, begin: int, end: int) -> float:
        """The cost of showing a cue for too short a time, or of a word alone."""
        limits = self.limits
        room = self.rooms[end] - start
        shown = max(min(room, limits.longest), 1)
        needed = limits.reading_time(self._length(begin, end))
        cost = 0.0
        if room < shown:  # shown for a moment all the same, without the gap
            cost += _BROKEN
        if shown < needed:
            cost += _BROKEN + 20.0 * min(needed / shown - 1, 10.0)
        if shown < limits.shortest:
            cost += _BROKEN
        if end - begin == 1 and self._is_orphan(begin):
            cost += _BROKEN
        return cost

    def _is_orphan(self, index: int) -> bool:
        """Whether the unit should not stand alone: it is neither a sentence nor a clause between pauses."""
        whole = self.penalties[index] == 0.0 and (index == 0 or self.penalties[index - 1] == 0.0)
        return self.counts_orphans and not whole

    def _lines(self, begin: int, end: int) -> tuple[float, tuple[int, ...]] | None:
        """Cost and breaks of the best lines for a cue, as few as possible; None if it does not fit."""
        for count in range(1, self.limits.lines + 1):
            cost, breaks = self._split(begin, end, count)
            if cost < math.inf:
                total = self._length(begin, end) / self.limits.width
                return cost - _UNEVEN * total * total / count + (count - 1) * _SECOND_LINE, breaks
        return None

    def _split(self, begin: int, end: int, count: int) -> tuple[float, tuple[int, ...]]:
        """Cost and breaks of exactly `count` lines; the squares of their widths make even lines cheaper."""
        if count == 1:
            return self._line(begin, end), ()
        key = (begin, end, count)
        if key not in self.known:
            best: tuple[float, tuple[int, ...]] = (math.inf, ())
            for cut in range(end - 1, begin + count - 2, -1):
                last = self._line(cut, end)
                if last == math.inf:
                    break
                head, breaks = self._split(begin, cut, count - 1)
                cost = head + last + _LINE_END * self.penalties[cut - 1] + self._lonely(begin, cut, end, count)
                if self.sentence_ends[cut - 1]:
                    cost -= _INNER_SENTENCE / 2
                if cost < best[0]:
                    best = (cost, (*breaks, cut))
            self.known[key] = best
        return self.known[key]

    def _line(self, begin: int, end: int) -> float:
        width = self._length(begin, end)
        too_many = self.limits.words is not None and end - begin > self.limits.words
        if too_many or (width > self.limits.width and end - begin > 1):
            return math.inf
        part = width / self.limits.width
        return _UNEVEN * part * part

    def _lonely(self, begin: int, cut: int, end: int, count: int) -> float:
        """The cost of words alone on a line."""
        if not self.counts_orphans:
            return 0.0
        alone = (end - cut == 1) + (count == 2 and cut - begin == 1)
        return alone * _BROKEN
