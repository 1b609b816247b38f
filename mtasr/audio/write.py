"""Samples -> compressed sound; `video.py` writes videos."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from mtasr.arrays import Float32Array
from mtasr.audio.ffmpeg import start_ffmpeg
from mtasr.errors import FfmpegError
from mtasr.spans import SAMPLE_RATE

#: Bits per second of compressed speech: 14 MB an hour.
MP3_BITRATE = 32_000


class Mp3Writer:
    """Writes mono samples at 16 kHz to an MP3 file, which every browser plays; its times are those of the samples.

    Use it as a context manager; leaving it raises `FfmpegError` if ffmpeg cannot write MP3.
    """

    def __init__(self, target: Path) -> None:
        arguments = ["-loglevel", "error", "-y", "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0"]
        # A constant rate lets a browser find any second without reading all before it.
        arguments += ["-c:a", "libmp3lame", "-b:a", str(MP3_BITRATE), "-f", "mp3", f"file:{target.absolute()}"]
        self._process = start_ffmpeg(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def write(self, samples: Float32Array) -> None:
        # A broken pipe means that ffmpeg has ended: its message follows at the end.
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], self._process.stdin).write(samples.tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        _, said = self._process.communicate()
        if error is None and self._process.returncode:
            lines = said.decode("utf-8", "replace").splitlines()
            raise FfmpegError(f"ffmpeg cannot write MP3: {lines[0] if lines else 'it gave no reason'}", tuple(lines))
