"""Any recording -> blocks of float32 mono samples at 16 kHz, decoded by an ffmpeg process that runs beside us.

Hours-long recordings pass through in constant memory: ffmpeg waits on its pipe until the next block is read.

Recordings come from strangers, so ffmpeg is fenced in. It opens one file through one protocol, and only as one of the
formats in `ffmpeg.FORMATS`: playlists, which name other files and addresses, are not among them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Self, cast

import numpy as np

from mtasr import system
from mtasr.arrays import Float32Array
from mtasr.audio.ffmpeg import FORMATS, printable, start_ffmpeg
from mtasr.audio.ffmpeg_log import STAMPS, FfmpegLog
from mtasr.audio.repairs import told
from mtasr.audio.route import FileSource, Route, route
from mtasr.audio.timeline import Timeline, silent
from mtasr.audio.truncation import is_cut_short
from mtasr.errors import AudioDecodeError, InputError, InputNotFoundError
from mtasr.spans import SAMPLE_RATE
from mtasr.threads import start_thread
from mtasr.transcript import Repair

#: Samples in a block at most, one second.
BLOCK_SAMPLES = SAMPLE_RATE

# Side branches of the filters print, for `FfmpegLog`, the timestamp and the channels of the first sample, and how loud
# all channels are before they are mixed. STAMPS prints the timestamps of all samples, for `Timeline`; asetpts=NAN takes
# them away, because ffmpeg complains of each that goes back. rematrix_maxval=1 takes the mean of two channels; by
# default, float output sums them at -3 dB and overshoots.
_FIRST = "[first]atrim=end_sample=1,ashowinfo,anullsink;"
_RESAMPLED = f"aresample={SAMPLE_RATE}:rematrix_maxval=1,{STAMPS},asetpts=NAN"
_MIXED = f"asplit=3[first][level][all];{_FIRST}[level]volumedetect,anullsink;[all]{_RESAMPLED}"
_ONE_CHANNEL = f"asplit[first][all];{_FIRST}[all]pan=mono|c0=c{{channel}},{_RESAMPLED}"

#: ffmpeg closes holes of more than 10 s in transport streams, unless it is to copy timestamps.
_OWN_TIMES = ("-copyts", "-start_at_zero")

#: Samples per second, below which no speech is left. A forged rate of 1 would turn a minute into a week.
_LEAST_RATE = 1000

#: How many times less power the mix may have than the mean of the channels: 8 times if one of eight has sound.
_CANCELLED = 100.0


def check_input(source: FileSource) -> None:
    """Raise InputNotFoundError for what shows without decoding: a missing, unreadable or empty file, or a folder.

    Pipes and devices pass, and so does any binary file object.
    """
    if not isinstance(source, str | os.PathLike):
        return
    name = _name_of(source)
    try:
        info = os.fstat(0) if source == "-" else os.stat(source)  # noqa: PTH116 - Path would lose "./-"
        readable = source == "-" or os.access(source, os.R_OK)
    except (OSError, ValueError) as exc:
        raise InputNotFoundError(f"{name}: {_why_missing(source, exc)}") from exc
    if stat.S_ISDIR(info.st_mode):
        raise InputNotFoundError(f"{name}: is a folder, not a recording")
    if not readable:
        raise InputNotFoundError(f"{name}: may not be read (permission denied)")
    if stat.S_ISREG(info.st_mode) and info.st_size == 0:
        raise InputNotFoundError(f"{name}: is empty")
    if stat.S_ISSOCK(info.st_mode) and source != "-":
        raise InputNotFoundError(f"{name}: is a socket, not a recording")
    if _is_terminal(source):
        raise InputNotFoundError(f"{name}: is a terminal; pipe a recording into it")


def _is_terminal(source: str | os.PathLike[str]) -> bool:
    """Whether it is a terminal, also as /dev/stdin or /dev/tty: the system would stop ffmpeg, a background job."""
    if source == "-":
        return os.isatty(0)
    if not stat.S_ISCHR(os.stat(source).st_mode):  # noqa: PTH116
        return False
    descriptor = system.open_at_once(source)
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


def _why_missing(source: str | os.PathLike[str], exc: Exception) -> str:
    if source == "-":
        return "is closed"
    if isinstance(exc, FileNotFoundError | NotADirectoryError):
        if Path(source).is_symlink():
            return "is a link to a file that does not exist"
        if re.match(r"[a-z][a-z0-9+.-]*://", os.fspath(source), re.IGNORECASE):
            return "no such file (addresses are not opened: download the recording first)"
        return "no such file"
    if isinstance(exc, PermissionError):
        return "may not be read (permission denied)"
    return str(getattr(exc, "strerror", None) or exc)


def check_reopenable(source: FileSource) -> None:
    """Raise InputError for sources that can be read only once: standard input, pipes and file objects."""
    if isinstance(source, str | os.PathLike) and source != "-" and Path(source).is_file():
        return
    raise InputError(
        f"{_name_of(source)}: to split channels, ffmpeg reads the file once per channel; give the path of a file"
    )


def count_channels(source: FileSource, *, track: int = 0) -> int:
    """The number of channels of an audio track; 0 if nothing can be decoded, and then `open_audio` gives the reason.

    Raises InputError for sources that can be read only once, and what `open_audio` raises.
    """
    check_input(source)
    check_reopenable(source)
    with open_audio(source, track=track) as stream:
        return stream.channels


def open_audio(source: FileSource, *, track: int = 0, channel: int | None = None) -> AudioStream:
    """Start decoding `source`: a path, "-" for standard input, or a binary file object.

    Of several audio tracks, `track` chooses one, and `channel` chooses one of its channels, both counted from 0.
    Without `channel`, all channels are mixed.

    Use the result as a context manager; leaving it early stops ffmpeg. A thread reads a file object; it ends with the
    stream or when its pending `read` returns.

    Raises InputNotFoundError (see `check_input`) and FfmpegNotFoundError; iterating raises AudioDecodeError. Both raise
    MemoryError if we or ffmpeg run out of memory.
    """
    check_input(source)
    name = _name_of(source)
    with contextlib.ExitStack() as opened:
        try:
            way = route(source, opened)
        except OSError as exc:
            raise InputNotFoundError(f"{name}: cannot be opened ({exc.strerror or exc})") from exc
        process = start_ffmpeg(_arguments(way.url, track, channel), stdin=way.stdin, bufsize=0)
    return AudioStream(name, process, way, track=track)


def _arguments(url: str, track: int, channel: int | None) -> list[str]:
    import ffmpeg  # here, so that --help need not wait for it

    filters = _MIXED if channel is None else _ONE_CHANNEL.format(channel=channel)
    stream = ffmpeg.input("INPUT", protocol_whitelist=url.partition(":")[0], format_whitelist=FORMATS)
    output = stream[f"a:{track}"].output("pipe:1", format="f32le", acodec="pcm_f32le", ac=1, ar=SAMPLE_RATE, af=filters)
    arguments = cast(list[str], ffmpeg.compile(output, cmd=["-nostdin", "-loglevel", "level+info", *_OWN_TIMES]))
    # ffmpeg-python hashes its arguments as UTF-8, which a file name need not be: put the name in afterwards.
    arguments[arguments.index("INPUT")] = url
    return arguments


class AudioStream:
    """Iterator over blocks of shape (n,), float32 in -1..1, 16 kHz, n <= BLOCK_SAMPLES.

    The first sample is time 0 of the file: silence precedes audio that starts later than the picture, and fills holes
    (see `Timeline`). A damaged or truncated input yields what can be decoded. At the end, `warnings` says so in words,
    and `repairs` tells what was done about it.

    Iterating raises AudioDecodeError when nothing can be decoded, or when ffmpeg is killed, and MemoryError when ffmpeg
    runs out of memory.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], way: Route, *, track: int) -> None:
        self.samples_read = 0
        self.warnings: tuple[str, ...] = ()
        self.repairs: tuple[Repair, ...] = ()
        self._name = name
        self._piped = way.url.startswith("pipe:")
        self._file = way.file
        self._process = process
        self._log = FfmpegLog(track)
        self._closed = True
        listener = None
        try:
            self._listener = listener = start_thread(self._log.listen, process.stderr)
            self._feeder = _Feeder(way.feed, cast(IO[bytes], process.stdin)) if way.feed is not None else None
        except MemoryError:
            with process:
                process.kill()
                if listener is not None:
                    listener.join()  # before what it reads is closed
            raise
        self._closed = False
        self._timeline: Timeline | None = None
        #: What comes next: the beginning of the next block, and what follows.
        self._rest = np.zeros(0, np.float32)
        self._coming: Iterator[Float32Array] = iter(())
        self._samples_decoded = 0
        self._power = 0.0

    @property
    def duration(self) -> float | None:
        """Length in seconds as stated by the container, or None. Waits until ffmpeg has read the header."""
        self._log.header_seen.wait()
        return self._log.duration

    @property
    def channels(self) -> int:
        """Channels of the track, 0 if nothing can be decoded. Waits until ffmpeg has decoded the beginning."""
        self._log.lead_seen.wait()
        return self._log.channels

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Float32Array:
        try:
            block = self._next_block()
            if not block.size:
                raise StopIteration
        except BaseException:
            self.close()
            raise
        self.samples_read += block.size
        return block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def abort(self) -> bool:
        """Stop ffmpeg, so that iterating, in any thread, soon ends: with an error, or as at the end of the audio."""
        self._process.kill()
        return True

    def close(self) -> None:
        """Stop ffmpeg if it still runs, and release all resources. Does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        cast(IO[bytes], self._process.stdout).close()
        self._process.wait()
        self._listener.join()
        if self._feeder is not None:
            self._feeder.join()

    def _next_block(self) -> Float32Array:
        """A full block of what is on the timeline, shorter at its end, empty after it."""
        if self._closed:
            return np.zeros(0, np.float32)
        parts, length = [self._rest], self._rest.size
        while length < BLOCK_SAMPLES:
            part = next(self._coming, None)
            if part is not None:
                parts.append(part)
                length += part.size
            elif self._timeline is not None and self._timeline.finished:
                break
            else:
                self._coming = self._read_on()
        joined = np.concatenate(parts)
        block, self._rest = joined[:BLOCK_SAMPLES], joined[BLOCK_SAMPLES:]
        if not block.size:
            self._finish()
        return block

    def _read_on(self) -> Iterator[Float32Array]:
        """What the next decoded block adds: itself, and silence before it."""
        block = self._read_block()
        silence: Iterator[Float32Array] = iter(())
        if self._timeline is None:
            lead = self._lead() if block.size else 0
            silence = silent(lead)
            self._timeline = self._log.timeline(lead / SAMPLE_RATE)
        if not block.size:
            return self._timeline.finish()
        self._samples_decoded += block.size
        self._power += float(np.dot(block, block))
        return itertools.chain(silence, self._timeline.push(block, self._log.stamps(self._samples_decoded)))

    def _lead(self) -> int:
        """Samples before the first that is decoded."""
        # ffmpeg writes the line with the first timestamp before the samples, but another thread reads it.
        self._log.lead_seen.wait(timeout=2.0)
        if 0 < (rate := self._log.rate()) < _LEAST_RATE:
            raise AudioDecodeError(f"{self._name}: states {rate} samples per second, which cannot hold speech")
        return round(self._log.lead() * SAMPLE_RATE)

    def _read_block(self) -> Float32Array:
        """The next block from the pipe, shorter only at the end of the audio."""
        pipe = cast(Any, self._process.stdout)
        block = np.empty(BLOCK_SAMPLES, np.float32)
        buffer = block.view(np.uint8).data
        filled = 0
        while filled < len(buffer) and (count := pipe.readinto(buffer[filled:])):
            filled += count
        block = block[: filled // block.itemsize]
        finite = np.isfinite(block)
        if not finite.all():
            block[~finite] = 0.0
        return np.clip(block, -1.0, 1.0, out=block)

    def _finish(self) -> None:
        """At the end of the pipe, find out whether the audio ended as well."""
        code = self._process.wait()
        self._listener.join()
        log = self._log
        details = tuple(log.errors)
        at = f"after {self.samples_read / SAMPLE_RATE:.1f} s of audio"
        if self._feeder is not None and self._feeder.error is not None:
            error = self._feeder.error
            raise AudioDecodeError(f"{self._name}: reading it failed {at}: {error}", details) from error
        if code < 0 or log.interrupted:
            which = signal.strsignal(-code) if code < 0 else log.interrupted
            raise AudioDecodeError(f"{self._name}: ffmpeg was stopped {at} ({which})", details)
        gave_up = code != 0 or (not self._samples_decoded and details)
        if gave_up and (wanting := log.want_of_memory()):
            raise MemoryError(f"{self._name}: ffmpeg: {wanting}")
        if not self._samples_decoded and gave_up:
            raise AudioDecodeError(f"{self._name}: {log.reason(piped=self._piped)}", details)
        is_cut = self._file is not None and is_cut_short(self._file)
        if not self._samples_decoded and (log.stated_audio_seconds() or is_cut):
            raise AudioDecodeError(f"{self._name}: is incomplete: there is no sound after its header")
        self.repairs = self._timeline.repairs if self._timeline is not None else ()
        self.warnings = tuple(self._complaints(failed=code != 0, is_cut=is_cut))

    def _complaints(self, *, failed: bool, is_cut: bool) -> Iterator[str]:
        log, seconds = self._log, self.samples_read / SAMPLE_RATE
        if log.errors or failed:
            more = f" (and {len(log.errors) - 1} more)" if len(log.errors) > 1 else ""
            yield f"{self._name}: damaged or cut short: {log.errors[0] if log.errors else 'ffmpeg gave up'}{more}"
        stated = log.stated_audio_seconds()
        if stated is not None and seconds < stated - max(1.0, 0.01 * stated):
            yield f"{self._name}: ends after {seconds:.1f} s although it should last {stated:.1f} s"
        elif is_cut and not log.errors:
            yield f"{self._name}: is cut short: its end is missing"
        yield from (f"{self._name}: {line}" for line in told(self.repairs))
        if log.channels > 1 and log.power is not None and self._samples_decoded:
            quieter = log.power / max(self._power / self._samples_decoded, 1e-10)
            if quieter > _CANCELLED:
                yield (
                    f"{self._name}: its channels cancel each other when they are mixed; "
                    "with channels split, each is heard"
                )


class _Feeder:
    """Copies a Python file object into ffmpeg's standard input, from a thread."""

    def __init__(self, source: BinaryIO, pipe: IO[bytes]) -> None:
        self.error: Exception | None = None
        self._source, self._pipe = source, pipe
        self._thread = start_thread(self._run)

    def _run(self) -> None:
        try:
            while chunk := self._source.read(1 << 16):
                view = memoryview(chunk)
                while view:
                    view = view[self._pipe.write(view) :]
        except BrokenPipeError:
            pass  # ffmpeg has read all it needs, or has ended: its exit status tells which
        except Exception as exc:
            self.error = exc
        finally:
            with contextlib.suppress(OSError):
                self._pipe.close()

    def join(self) -> None:
        # A read that waits for a network peer cannot be interrupted; the daemon thread ends when it returns.
        self._thread.join(timeout=1.0)


def _name_of(source: FileSource) -> str:
    if source == "-":
        return "standard input"
    if isinstance(source, str | os.PathLike):
        return printable(os.fspath(source))
    name = getattr(source, "name", None)
    return printable(name) if isinstance(name, str) else "the recording"
