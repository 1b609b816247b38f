"""Samples on their way into a session: put in order by their positions, and held until they are heard."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.errors import InputError
from mtasr.live.events import Repeated, Skipped
from mtasr.spans import SAMPLE_RATE

#: Silence stands for what is missing, in blocks of so many samples.
_SILENCE = np.zeros(SAMPLE_RATE, np.float32)
#: Seconds that positions may jump.
_MOST_SKIPPED = 3600.0
#: The reader of the whole recording gets blocks of so many samples, like those of an array (`audio.sources`).
_BLOCK = 10 * SAMPLE_RATE
#: It may be this many times further behind than the captions: its windows are of a lower priority.
_PATIENCE = 10


class Block(NamedTuple):
    """Samples, and the time at which they came; `is_cut` asks for the end of the stretch after them."""

    samples: Float32Array
    arrived: float
    is_cut: bool = False


class Intake:
    """Takes samples from any thread for two readers: the captions, and the transcript of the whole if it is wanted.

    `most_waiting` is the seconds of audio that may wait for the captions.
    """

    def __init__(self, most_waiting: float, *, whole: bool) -> None:
        self._most, self._is_whole = most_waiting * SAMPLE_RATE, whole
        self._adding = threading.Lock()
        self._changed = threading.Condition()
        self._blocks: deque[Block] = deque()
        self._held: deque[Float32Array] = deque()
        self._unheard = self._unread = 0
        self._position: int | None = None
        self._is_ended = self._is_closed = False
        #: Samples taken.
        self.taken = 0

    def add(self, samples: Float32Array, arrived: float, position: int | None = None) -> Skipped | Repeated | None:
        """Take samples (n,); wait while too many wait. Tells what was wrong with their position.

        Raises `ValueError` after the end, `InputError` for a position that makes no sense.
        """
        with self._adding:
            self._require_open()
            at = self.taken / SAMPLE_RATE
            notice: Skipped | Repeated | None = None
            missing = 0 if position is None or self._position is None else position - self._position
            if missing > _MOST_SKIPPED * SAMPLE_RATE or (position is not None and position < 0):
                raise InputError(f"the position of the samples, {position}, is not near the last one")
            if missing > 0:
                notice = Skipped(at=at, seconds=missing / SAMPLE_RATE)
                for start in range(0, missing, len(_SILENCE)):
                    self._put(Block(_SILENCE[: missing - start], arrived))
            elif missing < 0:
                repeated = min(-missing, len(samples))
                notice = Repeated(at=at, seconds=repeated / SAMPLE_RATE) if repeated else None
                samples = samples[repeated:]
            if position is not None and missing >= 0:
                self._position = position
            if self._position is not None:
                self._position += len(samples)
            if len(samples):
                self._put(Block(samples, arrived))
            return notice

    def _put(self, block: Block) -> None:
        with self._changed:
            self._changed.wait_for(self._has_room)
            self._require_open()
            self._blocks.append(block)
            self._unheard += len(block.samples)
            if self._is_whole:
                self._held.append(block.samples)
                self._unread += len(block.samples)
            self.taken += len(block.samples)
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._is_closed or (self._unheard < self._most and self._unread < _PATIENCE * self._most)

    def _require_open(self) -> None:
        if self._is_ended or self._is_closed:
            raise ValueError("the session has ended")

    def cut(self, arrived: float) -> None:
        """Ask for the end of the stretch after the samples that were taken so far."""
        with self._changed:
            self._require_open()
            self._blocks.append(Block(_SILENCE[:0], arrived, is_cut=True))
            self._changed.notify_all()

    def end(self) -> None:
        """No samples follow."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what waits, and end both readers."""
        with self._changed:
            self._is_closed = True
            self._blocks.clear()
            self._held.clear()
            self._changed.notify_all()

    def blocks(self) -> Iterator[Block]:
        """For the captions: blocks as they come, until the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._blocks or self._is_ended or self._is_closed)
                if not self._blocks:
                    return
                block = self._blocks.popleft()
                self._unheard -= len(block.samples)
                self._changed.notify_all()
            yield block

    def whole(self) -> Iterator[Float32Array]:
        """For the transcript: the same samples in blocks of 10 s."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unread >= _BLOCK or self._is_ended or self._is_closed)
                if not self._held:
                    return
                size = min(_BLOCK, self._unread)
                parts, count = [], 0
                while count < size:
                    part = self._held.popleft()
                    if count + len(part) > size:
                        self._held.appendleft(part[size - count :])
                        part = part[: size - count]
                    parts.append(part)
                    count += len(part)
                self._unread -= size
                self._changed.notify_all()
            yield np.concatenate(parts)
