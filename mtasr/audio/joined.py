"""Several recordings in one file, or one whose header states too little: all of it, one after the other."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Self

from mtasr.arrays import Float32Array
from mtasr.audio.parts import FilePart
from mtasr.audio.repairs import repair_lines
from mtasr.audio.stream import AudioStream
from mtasr.closing import Closing
from mtasr.errors import AudioDecodeError
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Repair


class JoinedStreams(Closing):
    """Iterates over the parts of a file as over one `AudioStream`. `opened` is closed with it.

    Iterating raises what the first part raises. Of others that cannot be read `warnings` tells.
    """

    def __init__(
        self, name: str, parts: Iterable[tuple[FilePart, Callable[[], AudioStream]]], opened: contextlib.ExitStack
    ) -> None:
        self.samples_read = 0
        self.warnings: tuple[str, ...] = ()
        self.repairs: tuple[Repair, ...] = ()
        #: Unknown: the header tells the length of the first part alone.
        self.duration: float | None = None
        self._name, self._opened = name, opened
        self._parts = deque(parts)
        #: Where the part that is being read begins, in samples, and the samples of the one before.
        self._start = self._before = 0
        self._aborted = False
        self._part, start = self._parts.popleft()
        self._stream = start()

    @property
    def channels(self) -> int:
        """Channels of the track in the part that is being read."""
        return self._stream.channels

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Float32Array:
        try:
            while (block := self._next_block()) is None:
                self._end_part()
                if not self._parts:
                    self.warnings += tuple(f"{self._name}: {line}" for line in repair_lines(self.repairs))
                    raise StopIteration
                self._open_next()
        except BaseException:
            self.close()
            raise
        self.samples_read += block.size
        return block

    def _next_block(self) -> Float32Array | None:
        try:
            return next(self._stream, None)
        except AudioDecodeError as exc:
            if not self._start or self._aborted:
                raise
            self.warnings += (f"{exc} (of the part from {self._start / SAMPLE_RATE:.1f} s on)",)
            return None

    def _end_part(self) -> None:
        """Keep what was wrong with the part; one line names its repairs together with those of the others."""
        stream, begins = self._stream, self._start / SAMPLE_RATE
        own = {f"{self._name}: {line}" for line in repair_lines(stream.repairs)}
        self.warnings += tuple(line for line in stream.warnings if line not in own)
        if self._start:
            self.repairs += (Repair(kind="restart", start=begins, seconds=-self._before / SAMPLE_RATE),)
        self.repairs += tuple(replace(repair, start=repair.start + begins) for repair in stream.repairs)
        if self._part.stated is not None:
            more = stream.samples_read / SAMPLE_RATE - self._part.stated
            self.repairs += (Repair(kind="resumed", start=begins + self._part.stated, seconds=more),)
        self._start, self._before = self.samples_read, stream.samples_read
        stream.close()

    def _open_next(self) -> None:
        self._part, start = self._parts.popleft()
        self._stream = start()
        if self._aborted:
            self._stream.abort()

    def abort(self) -> bool:
        """As that of `AudioStream`."""
        self._aborted = True
        return self._stream.abort()

    def close(self) -> None:
        """Stop reading, and release all resources. Does nothing the second time."""
        self._parts.clear()
        self._stream.close()
        self._opened.close()
