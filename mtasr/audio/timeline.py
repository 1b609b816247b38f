"""Decoded samples placed at the times that the container states.

Containers give each piece of sound a timestamp. Where those jump ahead, sound is missing, and silence takes its place.
Where they jump back, as between two joined recordings, time goes on. Where they run faster or slower than the sound, as
with a recorder whose clock is off, the sound is stretched or squeezed a little. Timestamps that wander, as those of
packets that come over a network, move nothing. No sample is ever dropped.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.stretch import HALF, Stretch
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Repair

#: Seconds that timestamps may be off before anything is done.
TOLERANCE = 0.1
#: Seconds of sound for which timestamps have to stay off; late packets catch up sooner.
_HOLD = 1.0
#: Seconds back from which timestamps start again; less is made up for by squeezing.
_RESTART = 1.0
#: Seconds off from which the last timestamps are believed although the recording ends before `_HOLD`.
_BELIEVED_AT_END = 1.0
#: The most that sound is stretched or squeezed, as a share.
_MOST_STRETCH = 0.05
#: Seconds over which wandering timestamps are averaged, in which their mean is followed, and how near is near enough.
_AVERAGED, _FOLLOWED, _NEAR = 1.0, 2.0, 0.01


def silent(samples: int) -> Iterator[Float32Array]:
    """So many samples of silence, in blocks of up to a second."""
    for start in range(0, samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, samples - start), np.float32)


class Stamp(NamedTuple):
    """Samples that were decoded together, and the time of the first of them in seconds, None if it has none."""

    samples: int
    time: float | None


class _Piece(NamedTuple):
    """Samples from `start` on, and how far their timestamp is ahead of them, in seconds."""

    start: int
    samples: int
    offset: float

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


class Timeline:
    """Give it all samples and stamps in order; what it gives back is in the order and at the times of the recording.

    `lead` is the time of the first sample. A hole is filled if it has at most `longest` seconds and ends before the
    time `latest`; other jumps come from damage or from another clock. `repairs` tells what was done.
    """

    def __init__(self, *, lead: float = 0.0, longest: float = math.inf, latest: float = math.inf) -> None:
        self._lead, self._longest, self._latest = lead, longest, latest
        self._holes_and_restarts: list[Repair] = []
        self._drifts: list[Repair] = []
        self._samples = np.zeros(0, np.float32)
        #: Numbers of samples: before `_samples`, before the next stamp, placed, and given back.
        self._base = self._stamped = self._placed = self._given = 0
        #: The last samples given back from the recording, for `Stretch`.
        self._last = np.zeros(0, np.float32)
        self._stamps: deque[Stamp] = deque()
        self._held: deque[_Piece] = deque()
        #: Offset of the timestamp of the last piece placed; None before the first.
        self._offset: float | None = None
        #: The offset at which samples are placed, and how far, in the mean, timestamps are off from it.
        self._level = self._bias = 0.0
        #: Jumps that `_level` followed and time did not.
        self._unfilled = 0.0
        self._stretch: Stretch | None = None
        self.finished = False

    @property
    def repairs(self) -> tuple[Repair, ...]:
        return tuple(sorted([*self._holes_and_restarts, *self._drifts], key=lambda repair: repair.start))

    def push(self, samples: Float32Array, stamps: Iterable[Stamp]) -> Iterator[Float32Array]:
        """What can be given back: all of it, unless the last timestamps are off."""
        self._samples = np.concatenate([self._samples, samples])
        self._stamps.extend(stamps)
        there = self._base + len(self._samples)
        while self._stamps and self._stamped + self._stamps[0].samples <= there:
            self._hold(self._stamps.popleft())
            yield from self._place(final=False)
        yield from self._pass_on()

    def finish(self) -> Iterator[Float32Array]:
        """The rest, at the end of the recording."""
        self.finished = True
        if rest := self._base + len(self._samples) - self._stamped:
            self._hold(Stamp(rest, None))
        yield from self._place(final=True)
        yield from self._pass_on()
        yield from self._keep_up()

    def _hold(self, stamp: Stamp) -> None:
        offset = self._held[-1].offset if self._held else self._offset
        if stamp.time is not None:
            offset = stamp.time - self._stamped / SAMPLE_RATE
        if self._offset is None and offset is not None:
            self._offset = self._level = offset
        self._held.append(_Piece(self._stamped, stamp.samples, offset or 0.0))
        self._stamped += stamp.samples

    def _place(self, *, final: bool) -> Iterator[Float32Array]:
        """Place the pieces of which it is known where they belong."""
        while self._held:
            piece = self._held[0]
            if abs(self._off(piece)) > TOLERANCE:
                stays = self._least_off()
                if stays is None and not final:
                    return
                if stays is None:
                    stays = min((self._off(each) for each in self._held), key=abs)
                    stays = stays if abs(stays) > _BELIEVED_AT_END else 0.0
                if stays:
                    yield from self._jump(piece, stays)
            self._held.popleft()
            yield from self._take(piece)

    def _off(self, piece: _Piece) -> float:
        return piece.offset - self._level - self._bias

    def _least_off(self) -> float | None:
        """By how much the next pieces are off, at least; 0 if one is not, None if there are too few to tell."""
        first, seconds = self._off(self._held[0]), 0.0
        least = first
        for piece in self._held:
            off = self._off(piece)
            if off * first < 0 or abs(off) <= TOLERANCE:
                return 0.0
            least = min(least, off, key=abs)
            seconds += piece.seconds
            if seconds >= _HOLD:
                return least
        return None

    def _jump(self, piece: _Piece, stays: float) -> Iterator[Float32Array]:
        """Follow timestamps that stay off by `stays` seconds from this piece on."""
        sudden = (piece.offset - (self._offset or 0.0)) * math.copysign(1.0, stays) >= abs(stays) / 2
        if not sudden or -_RESTART < stays < 0:
            self._bias += stays
            return
        yield from self._pass_on()
        yield from self._keep_up()
        time = self._lead + self._given / SAMPLE_RATE
        length = round(stays * SAMPLE_RATE)
        self._level += length / SAMPLE_RATE
        returns = self._unfilled != 0 and abs(self._unfilled + stays) <= TOLERANCE
        end = piece.start / SAMPLE_RATE + piece.offset
        if returns or not 0 < stays <= self._longest or end > self._latest:
            self._unfilled = 0.0 if returns else self._unfilled + stays
            self._holes_and_restarts.append(Repair(kind="restart", start=time, seconds=length / SAMPLE_RATE))
            return
        self._holes_and_restarts.append(Repair(kind="hole", start=time, seconds=length / SAMPLE_RATE))
        yield from map(self._give, silent(length))

    def _take(self, piece: _Piece) -> Iterator[Float32Array]:
        """Place a piece after the last one, stretched while timestamps run away."""
        off = min(max(self._off(piece), -TOLERANCE), TOLERANCE)
        self._bias += off * (1 - math.exp(-piece.seconds / _AVERAGED))
        self._offset = piece.offset
        if self._stretch is None and abs(self._bias) > TOLERANCE:
            yield from self._pass_on()
            self._stretch = Stretch(self._last)
            self._drifts.append(Repair(kind="drift", start=self._lead + self._given / SAMPLE_RATE, seconds=0.0))
        elif self._stretch is not None and abs(self._bias) < _NEAR:
            yield from self._keep_up()
        self._placed = piece.start + piece.samples
        if self._stretch is not None:
            share = min(max(self._bias / _FOLLOWED, -_MOST_STRETCH), _MOST_STRETCH)
            longer = share * piece.seconds
            self._level += longer
            self._bias -= longer
            drift = self._drifts[-1]
            self._drifts[-1] = replace(drift, seconds=drift.seconds + longer)
            samples = self._cut()
            self._last = samples[-HALF:]
            yield self._give(self._stretch.push(samples, 1 / (1 + share)))

    def _pass_on(self) -> Iterator[Float32Array]:
        """What has been placed and not given back."""
        if (piece := self._cut()).size:
            self._last = piece[-HALF:]
            yield self._give(piece)

    def _keep_up(self) -> Iterator[Float32Array]:
        """Stop stretching."""
        if self._stretch is not None:
            yield self._give(self._stretch.flush(self._samples))
            self._stretch = None

    def _cut(self) -> Float32Array:
        count = self._placed - self._base
        piece, self._samples = self._samples[:count], self._samples[count:]
        self._base = self._placed
        return piece

    def _give(self, samples: Float32Array) -> Float32Array:
        self._given += len(samples)
        return samples
