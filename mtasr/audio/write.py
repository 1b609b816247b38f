"""What ffmpeg writes for us: compressed sound here, videos in `muxing.py`; `audio.py` has what it reads."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from mtasr.audio.read import SAMPLE_RATE, Float32Array, environment, find_ffmpeg
from mtasr.errors import FfmpegError, FfmpegNotFoundError
from mtasr.threads import start_thread

#: Bits a second of compressed speech: 14 MB an hour.
MP3_BITRATE = 32_000


def _start(arguments: Sequence[str], *, stdin: int, stdout: int, folder: Path | None = None) -> subprocess.Popen[bytes]:
    program = find_ffmpeg()
    try:
        return subprocess.Popen(  # noqa: S603 - a list, no shell; the program is the user's own ffmpeg
            [program, "-hide_banner", "-nostats", *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment(),
            # Out of the terminal's group: Ctrl-C is ours to handle.
            process_group=0,
        )
    except OSError as exc:
        raise FfmpegNotFoundError(f"{program}: cannot be started ({exc.strerror or exc})") from exc


def run_ffmpeg(
    arguments: Sequence[str], folder: Path | None = None, line: Callable[[str], None] | None = None
) -> list[str]:
    """Run ffmpeg in `folder` and return what it says on standard error; `line` gets each line of standard output.

    Raises `FfmpegError` with ffmpeg's last error, and `MemoryError` where there is no room for a thread.
    """
    process = _start(["-nostdin", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, folder=folder)
    said: list[str] = []
    try:
        listener = start_thread(_collect, process.stderr, said)
    except MemoryError:
        with process:
            process.kill()
        raise
    try:
        for each in cast(IO[bytes], process.stdout):
            if line is not None:
                line(each.decode("utf-8", "replace").rstrip())
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        listener.join()
        cast(IO[bytes], process.stdout).close()
    if code:
        errors = [each for each in said if "[error]" in each or "[fatal]" in each]
        reason = errors[0].rpartition("] ")[2] if errors else f"it ended with {code} and gave no reason"
        raise FfmpegError(f"ffmpeg: {reason}", tuple(said))
    return said


def _collect(pipe: IO[bytes], said: list[str]) -> None:
    with pipe:
        said += (each.decode("utf-8", "replace").rstrip() for each in pipe)


class Mp3Writer:
    """Samples at 16 kHz, mono -> an MP3 file, which every browser plays; its times are those of the samples.

    Use it as a context manager. Raises `FfmpegError` when ffmpeg cannot do it.
    """

    def __init__(self, target: Path) -> None:
        arguments = ["-loglevel", "error", "-y", "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0"]
        # A constant rate, so that a browser finds any second without reading all before it.
        arguments += ["-c:a", "libmp3lame", "-b:a", str(MP3_BITRATE), "-f", "mp3", f"file:{target.absolute()}"]
        self._process = _start(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def write(self, samples: Float32Array) -> None:
        # ffmpeg has given up where the pipe is broken: what it says comes at the end.
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
