"""Speech without text and text without speech: voice activity compared with the transcript."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mtasr.spans import Interval, merged
from mtasr.transcript import Coverage, Segment

#: Seconds that the end of a segment and that of speech may be apart.
_SLACK = 0.3
#: Stretches of speech without text that are closer than this are one gap, ...
_JOINED = 0.6
#: ... which counts from this much speech on: about three words.
_LEAST = 0.8
#: A segment whose text is this many times sparser than usual in the recording has lost some of it, ...
_SPARSE = 4.0
#: ... from this much speech on. The usual rate comes from segments with at least `_TELLING` seconds of speech: text in
#: almost no time would look faster than anybody speaks.
_LONG, _TELLING = 3.0, 0.5


def coverage(speech: Mapping[str | None, Sequence[Interval]], segments: Sequence[Segment]) -> Coverage:
    """Compare speech, by speaker, with the segments of a transcript.

    A segment covers what the model heard, whatever the times of its words: they may stretch over speech without text.
    Intervals are in seconds of the file and ascend; segments are in file order. With several speakers each one's
    speech is compared with that speaker's segments, and `Coverage.speech` is the sum.
    """
    if len(speech) == 1:
        return _coverage(next(iter(speech.values())), segments)
    found = [_coverage(spoken, [each for each in segments if each.speaker == who]) for who, spoken in speech.items()]
    return Coverage(
        speech=round(sum(each.speech for each in found), 3),
        speech_without_text=merged(place for each in found for place in each.speech_without_text),
        text_without_speech=merged(place for each in found for place in each.text_without_speech),
    )


def _coverage(speech: Sequence[Interval], segments: Sequence[Segment]) -> Coverage:
    clock = _SpeechClock(speech)
    segments = [
        each if each.heard is None else replace(each, start=each.heard[0], end=each.heard[1]) for each in segments
    ]
    sparse = _sparse(clock, segments)
    covered = [(each.start - _SLACK, each.end + _SLACK) for each in segments if each.id not in sparse]
    return Coverage(
        speech=round(clock.between(-math.inf, math.inf), 3),
        speech_without_text=tuple(_gaps(list(_outside(speech, covered)))),
        text_without_speech=tuple(
            (each.start, each.end) for each in segments if not clock.between(each.start - _SLACK, each.end + _SLACK)
        ),
    )


class _SpeechClock:
    """Counts seconds of speech alone."""

    def __init__(self, speech: Sequence[Interval]) -> None:
        self._times = np.asarray(speech, np.float64).reshape(-1)
        self._spoken = np.cumsum([0.0, *(np.diff(self._times) * (np.arange(len(self._times) - 1) % 2 == 0))])

    def between(self, start: float, end: float) -> float:
        if not len(self._times):
            return 0.0
        before, after = np.interp([start, end], self._times, self._spoken)
        return float(after - before)


def _sparse(clock: _SpeechClock, segments: Sequence[Segment]) -> set[int]:
    """Ids of segments with far less text for their speech than the others."""
    rates = []
    for segment in segments:
        seconds = clock.between(segment.start, segment.end)
        if seconds > _TELLING:
            rates.append((segment.id, seconds, sum(map(str.isalnum, segment.text)) / seconds))
    if not rates:
        return set()
    usual = statistics.median(rate for _, _, rate in rates)
    return {number for number, seconds, rate in rates if seconds >= _LONG and rate * _SPARSE < usual}


def _outside(speech: Sequence[Interval], covered: Sequence[Interval]) -> Iterator[Interval]:
    """What of the speech is not covered. Both ascend; what covers may overlap."""
    waiting = 0
    for begin, to in speech:
        while waiting < len(covered) and covered[waiting][1] <= begin:
            waiting += 1
        at, place = begin, waiting
        while place < len(covered) and covered[place][0] < to:
            if at < covered[place][0]:
                yield at, covered[place][0]
            at = max(at, covered[place][1])
            place += 1
        if at < to:
            yield at, to


def _gaps(lost: Sequence[Interval]) -> list[Interval]:
    """Neighbours joined, and those with little speech left out."""
    runs: list[list[Interval]] = []
    for stretch in lost:
        if runs and stretch[0] - runs[-1][-1][1] < _JOINED:
            runs[-1].append(stretch)
        else:
            runs.append([stretch])
    return [
        (round(run[0][0], 3), round(run[-1][1], 3)) for run in runs if sum(end - start for start, end in run) >= _LEAST
    ]
