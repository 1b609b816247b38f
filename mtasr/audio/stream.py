"""A recording that ffmpeg decodes in a process beside us: blocks of samples, and what was wrong with it."""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, Self, cast

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.ffmpeg_log import FfmpegLog
from mtasr.audio.repairs import repair_lines
from mtasr.audio.route import Route
from mtasr.audio.timeline import Timeline, silent
from mtasr.audio.truncation import is_cut_short
from mtasr.closing import Closing
from mtasr.errors import AudioDecodeError, DecodingStoppedError
from mtasr.spans import SAMPLE_RATE
from mtasr.threads import start_thread
from mtasr.transcript import Repair

#: Samples in a block at most, one second.
BLOCK_SAMPLES = SAMPLE_RATE

#: Samples per second, below which no speech is left. A forged rate of 1 would turn a minute into a week.
_LEAST_RATE = 1000

#: How many times less power the mix may have than the mean of the channels: 8 times if one of eight has sound.
_CANCELLED = 100.0

#: Mean power below which a track has no sound: the last bit of 16 makes 20 dB less.
_SILENT = 1e-7


class AudioStream(Closing):
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
        self._file, self._is_cut = way.file, way.is_cut
        self._process = process
        self._log = FfmpegLog(track)
        self._closed = True
        listener = None
        try:
            self._listener = listener = start_thread(self._log.listen, process.stderr)
            self._feeder = _Feeder(way, process) if way.feed is not None else None
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
            raise DecodingStoppedError(f"{self._name}: reading it failed {at}: {error}", details) from error
        if code < 0 or log.interrupted:
            which = signal.strsignal(-code) if code < 0 else log.interrupted
            raise DecodingStoppedError(f"{self._name}: ffmpeg was stopped {at} ({which})", details)
        gave_up = code != 0 or (not self._samples_decoded and details)
        if gave_up and (wanting := log.want_of_memory()):
            raise MemoryError(f"{self._name}: ffmpeg: {wanting}")
        if not self._samples_decoded and gave_up:
            raise AudioDecodeError(f"{self._name}: {log.reason(piped=self._piped)}", details)
        is_cut = self._is_cut or (self._file is not None and is_cut_short(self._file))
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
        yield from (f"{self._name}: {line}" for line in repair_lines(self.repairs))
        if log.power is not None and log.power < _SILENT and (others := log.other_tracks()):
            which = ", ".join(others)
            yield f"{self._name}: audio track {log.track} is silent; --audio-stream chooses another: {which}"
        if log.channels > 1 and log.power is not None and self._samples_decoded:
            quieter = log.power / max(self._power / self._samples_decoded, 1e-10)
            if quieter > _CANCELLED:
                yield (
                    f"{self._name}: its channels cancel each other when they are mixed; "
                    "with channels split, each is heard"
                )


class _Feeder:
    """Copies a Python file object into ffmpeg's standard input, from a thread."""

    def __init__(self, way: Route, process: subprocess.Popen[bytes]) -> None:
        self.error: Exception | None = None
        self._source, self._owns_source = cast(BinaryIO, way.feed), way.owns_feed
        self._pipe = cast(IO[bytes], process.stdin)
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
        if self._owns_source:
            self._source.close()  # which ends a read that waits
        # Another read that waits for a network peer cannot be interrupted; the daemon thread ends when it returns.
        self._thread.join(timeout=1.0)
