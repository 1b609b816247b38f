"""Spans of a recording, and the rate at which its samples are counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: Samples per second of all audio inside the program.
SAMPLE_RATE = 16_000

#: Seconds from start to end.
Interval = tuple[float, float]


class Span(NamedTuple):
    """From `start` up to, not including, `end`: frames or samples, as the context says."""

    start: int
    end: int


def merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Intervals in order of time, overlapping ones joined."""
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)
