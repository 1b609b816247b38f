"""When one speaker talks: questions that assigning speakers asks of their turns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from mtasr.transcript import Turn


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


def times_of_speakers(turns: Sequence[Turn]) -> list[SpeakerTimes]:
    """The times of each speaker, in the order in which they first talk."""
    spoken: dict[str, list[Turn]] = {}
    for turn in sorted(turns, key=lambda each: (each.start, each.end, each.speaker)):
        spoken.setdefault(turn.speaker, []).append(turn)
    return [SpeakerTimes(speaker, own) for speaker, own in spoken.items()]
