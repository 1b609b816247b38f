"""When one speaker talks: questions that assigning speakers asks of their turns."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

from mtasr.spans import Interval
from mtasr.transcript import Turn

#: See `AllSpeakerTimes.near`.
REACH = 1.0


class SpeakerTimes:
    """The turns of one speaker, overlapping ones joined."""

    def __init__(self, speaker: str, turns: Sequence[Turn]) -> None:
        self.speaker = speaker
        joined: list[tuple[float, float, float]] = []
        for turn in sorted(turns, key=lambda each: (each.start, each.end)):
            if joined and turn.start < joined[-1][1]:
                start, end, sure = joined[-1]
                joined[-1] = start, max(end, turn.end), min(sure, turn.confidence)
            else:
                joined.append((turn.start, turn.end, turn.confidence))
        self._turns = joined
        self._starts = [start for start, _, _ in joined]

    def spans(self) -> Iterator[Interval]:
        """The turns, from start to end in seconds, in order."""
        return ((start, end) for start, end, _ in self._turns)

    def _near(self, start: float, end: float) -> Iterator[tuple[float, float, float]]:
        """The turns that overlap with the interval, and one before them."""
        place = max(bisect_right(self._starts, start) - 1, 0)
        while place < len(self._turns) and self._turns[place][0] < end:
            yield self._turns[place]
            place += 1

    def seconds(self, start: float, end: float) -> float:
        """How long the speaker talks in the interval."""
        return sum(max(0.0, min(to, end) - max(begin, start)) for begin, to, _ in self._near(start, end))

    def sure_seconds(self, start: float, end: float) -> float:
        """The same, each second multiplied by the confidence of its turn."""
        return sum(sure * max(0.0, min(to, end) - max(begin, start)) for begin, to, sure in self._near(start, end))

    def distance(self, start: float, end: float) -> float:
        """Seconds from the interval to the nearest turn, 0 if it touches one."""
        place = bisect_right(self._starts, start)
        before = start - self._turns[place - 1][1] if place else float("inf")
        after = self._turns[place][0] - end if place < len(self._turns) else float("inf")
        return max(0.0, min(before, after))


class AllSpeakerTimes:
    """The times of all speakers, in the order in which they first talk."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        spoken: dict[str, list[Turn]] = {}
        for turn in sorted(turns, key=lambda each: (each.start, each.end, each.speaker)):
            spoken.setdefault(turn.speaker, []).append(turn)
        self._all = [SpeakerTimes(speaker, own) for speaker, own in spoken.items()]
        self._anybody = SpeakerTimes("", turns)
        changes = sorted(
            change
            for place, each in enumerate(self._all)
            for start, end in each.spans()
            for change in ((start, 1, place), (max(end, math.nextafter(start, math.inf)), -1, place))
        )
        #: The times at which somebody begins or ends, and who talks from each until the next.
        self._times: list[float] = []
        self._talking: list[tuple[int, ...]] = []
        now: Counter[int] = Counter()
        for time, those in itertools.groupby(changes, key=lambda change: change[0]):
            for _, change, place in those:
                now[place] += change
                if not now[place]:
                    del now[place]
            self._times.append(time)
            self._talking.append(tuple(now))

    def __len__(self) -> int:
        return len(self._all)

    def near(self, *intervals: Interval) -> list[SpeakerTimes]:
        """Who talks in one of the intervals, or at most `REACH` seconds farther from it than whoever is nearest."""
        places: set[int] = set()
        for start, end in intervals:
            reach = self._anybody.distance(start, end) + REACH
            index = max(bisect_right(self._times, start - reach) - 1, 0)
            while index < len(self._times) and self._times[index] <= end + reach:
                places.update(self._talking[index])
                index += 1
        return [self._all[place] for place in sorted(places)]
