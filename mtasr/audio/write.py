"""Samples -> compressed sound; `video.py` writes videos."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.audio.ffmpeg import start_ffmpeg
from mtasr.errors import FfmpegError, UsageError
from mtasr.spans import SAMPLE_RATE

#: Bits per second of compressed speech: 14 MB an hour.
BITRATE = 32_000

#: Ending -> what ffmpeg is told. A constant rate of MP3, which every browser plays, lets it find any second without
#: reading all before it. FLAC keeps the samples rounded to 16 bits.
_ENCODERS = {
    "mp3": ("-c:a", "libmp3lame", "-b:a", str(BITRATE), "-f", "mp3"),
    "flac": ("-c:a", "flac", "-sample_fmt", "s16", "-f", "flac"),
    "opus": ("-c:a", "libopus", "-b:a", str(BITRATE), "-f", "ogg"),
}

Encoding = Literal["mp3", "flac", "opus"]


class SoundWriter:
    """Writes mono samples at 16 kHz to a file whose times are those of the samples. The same samples give same bytes.

    Use it as a context manager; leaving it raises `FfmpegError` if ffmpeg cannot write this encoding.
    """

    def __init__(self, target: Path, encoding: Encoding = "mp3") -> None:
        self._encoding = encoding
        arguments = ["-loglevel", "error", "-y", "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0"]
        arguments += ["-bitexact", *_ENCODERS[encoding], f"file:{target.absolute()}"]
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
            raise _failure(self._encoding, said)


#: Ending of a file's name -> what ffmpeg is told, for speech that was made here. Compressed voices sound like the
#: uncompressed ones at these rates.
SPEECH_ENDINGS = {
    ".wav": ("-c:a", "pcm_s16le", "-f", "wav"),
    ".flac": ("-c:a", "flac", "-sample_fmt", "s16", "-f", "flac"),
    ".mp3": ("-c:a", "libmp3lame", "-b:a", "96k", "-f", "mp3"),
    ".opus": ("-c:a", "libopus", "-b:a", "48k", "-f", "ogg"),
    ".ogg": ("-c:a", "libopus", "-b:a", "48k", "-f", "ogg"),
    ".m4a": ("-c:a", "aac", "-b:a", "96k", "-f", "ipod"),
    ".aac": ("-c:a", "aac", "-b:a", "96k", "-f", "adts", "-write_id3v2", "1"),
    ".mka": ("-c:a", "libopus", "-b:a", "48k", "-f", "matroska"),
}


def speech_ending(target: Path) -> str:
    """The ending of a file's name, in lower case. Raises `UsageError` unless it is one of `SPEECH_ENDINGS`."""
    ending = target.suffix.lower()
    if ending not in SPEECH_ENDINGS:
        raise UsageError(f"{target}: its name must end with one of {', '.join(SPEECH_ENDINGS)}")
    return ending


def to_16_bits(samples: Float32Array) -> npt.NDArray[np.int16]:
    """Samples (N,) in [-1, 1], clipped where they are not, as little-endian numbers of 16 bits."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")


def write_sound(samples: Float32Array, rate: int, target: Path, ending: str, tags: Mapping[str, str]) -> None:
    """Write mono samples (N,) in [-1, 1] at `rate` Hz, in the format of `ending`, with tags of the container.

    Raises `FfmpegError`; the target may then hold a part.
    """
    arguments = ["-loglevel", "error", "-y", "-f", "f32le", "-ar", str(rate), "-ac", "1", "-i", "pipe:0", "-bitexact"]
    for name, value in tags.items():
        arguments += ["-metadata", f"{name}={value}"]
    arguments += [*SPEECH_ENDINGS[ending], f"file:{target.absolute()}"]
    process = start_ffmpeg(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    _, said = process.communicate(samples.astype("<f4").tobytes())
    if process.returncode:
        raise _failure(ending.removeprefix("."), said)


def _failure(encoding: str, said: bytes) -> FfmpegError:
    lines = said.decode("utf-8", "replace").splitlines()
    reason = lines[0] if lines else "it gave no reason"
    return FfmpegError(f"ffmpeg cannot write {encoding.upper()}: {reason}", tuple(lines))
