"""A recording elsewhere that has to be searched, and so is copied before it is decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import BinaryIO, Self

from mtasr.arrays import Float32Array
from mtasr.audio.joined import JoinedStreams
from mtasr.audio.stream import AudioStream
from mtasr.closing import Closing
from mtasr.errors import InputError
from mtasr.remote.file import RemoteFile, WholeObject
from mtasr.transcript import Repair


class CopiedStream(Closing):
    """Iterates over a recording as `AudioStream` does, and copies it when it is first read.

    What is wrong with the copy, iterating raises: `InputError`, also once `abort` or `close` is called meanwhile.
    """

    def __init__(
        self, found: RemoteFile | WholeObject, start: Callable[[BinaryIO], AudioStream | JoinedStreams]
    ) -> None:
        self._found, self._start = found, start
        self._copying = threading.Lock()
        self._stream: AudioStream | JoinedStreams | None = None
        self._error: InputError | None = None
        self._ended = False

    def copied(self) -> AudioStream | JoinedStreams:
        """What reads the copy. Waits for it, and raises `InputError` if there is none."""
        with self._copying:
            if self._error is not None:
                raise self._error
            if self._stream is None:
                try:
                    self._stream = self._start(self._found.copied())
                except InputError as error:
                    self._error = error
                    raise
                finally:
                    self._found.close()
                if self._ended:
                    self._stream.abort()
            return self._stream

    @property
    def warnings(self) -> tuple[str, ...]:
        return () if self._stream is None else self._stream.warnings

    @property
    def repairs(self) -> tuple[Repair, ...]:
        return () if self._stream is None else self._stream.repairs

    @property
    def samples_read(self) -> int:
        return 0 if self._stream is None else self._stream.samples_read

    @property
    def duration(self) -> float | None:
        """Length in seconds as stated by the container, None if it states none or is not copied yet."""
        return None if self._stream is None else self._stream.duration

    @property
    def channels(self) -> int:
        """As that of `AudioStream`. Waits for the copy, and raises what is wrong with it."""
        return self.copied().channels

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Float32Array:
        return next(self.copied())

    def abort(self) -> bool:
        """Stop the copy, or ffmpeg, so that iterating, in any thread, soon ends."""
        self._ended = True
        self._found.close()
        return True if self._stream is None else self._stream.abort()

    def close(self) -> None:
        """Stop, and release all resources. Does nothing the second time."""
        self.abort()
        with self._copying:
            if self._stream is not None:
                self._stream.close()
            elif self._error is None:
                self._error = InputError(f"{self._found.name}: was closed")
