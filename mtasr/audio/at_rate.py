"""Short recordings at any sample rate, for models that hear more than speech recognition needs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.ffmpeg import FORMATS, printable, start_ffmpeg
from mtasr.audio.read import check_input
from mtasr.audio.route import route
from mtasr.errors import AudioDecodeError, InputNotFoundError, RecordingTooLongError


def read_at_rate(path: Path, rate: int, longest: float) -> Float32Array:
    """The first audio track of a file as mono samples (N,) in [-1, 1] at `rate` Hz.

    Raises `InputNotFoundError`, `AudioDecodeError`, and `RecordingTooLongError` above `longest` seconds.
    """
    check_input(path)
    name = printable(str(path))
    with contextlib.ExitStack() as opened:
        try:
            way = route(path, opened)
        except OSError as exc:
            raise InputNotFoundError(f"{name}: cannot be opened ({exc.strerror or exc})") from exc
        arguments = ["-nostdin", "-loglevel", "error", "-protocol_whitelist", way.protocols]
        arguments += ["-format_whitelist", FORMATS, "-i", way.url, "-map", "0:a:0", "-t", f"{longest + 1:g}"]
        arguments += ["-ac", "1", "-ar", str(rate), "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"]
        process = start_ffmpeg(arguments, stdin=way.stdin)
        found, said = process.communicate()
    lines = said.decode("utf-8", "replace").splitlines()
    if process.returncode or not found:
        raise AudioDecodeError(f"{name}: {lines[0] if lines else 'has no audio'}", tuple(lines))
    samples = np.frombuffer(found, "<f4").astype(np.float32)
    if len(samples) > longest * rate:
        raise RecordingTooLongError(f"{name}: is longer than {longest:g} s")
    return np.clip(samples, -1, 1)
