"""Standard input: raw samples, or a recording that other programs are still writing."""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.read import check_input, open_audio
from mtasr.audio.resample import Resampler
from mtasr.cli.live.likeness import MOST, STREAM, is_text, likeness
from mtasr.cli.live.source import LOOK
from mtasr.errors import InputError, UsageError
from mtasr.spans import SAMPLE_RATE

#: The descriptor of standard input.
STDIN = 0

#: Bytes that tell a file from raw samples.
_HEAD = 12
#: How files begin that other programs stream: FLAC, Ogg, Matroska and WebM, MP3 with a tag, AU, AIFF, FLV, CAF, WAV.
_BEGINNINGS = (b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"ID3", b".snd", b"FORM", b"FLV\x01", b"caff", b"RIFF", b"RF64")
#: A WAV header is not longer than this, and a size of its data beyond the other means that nobody knew it.
_LONGEST_HEADER, _UNKNOWN_SIZE = 1 << 16, 0x7FFFF000
_PCM, _EXTENSIBLE = 1, 0xFFFE
#: Samples a second.
_RATES = range(4000, 384_001)
_BLOCK = 1 << 15


class _Pcm(NamedTuple):
    """16-bit samples, and the bytes of them that have been read already."""

    rate: int
    channels: int
    head: bytes
    #: Bytes in all, None for all that come.
    size: int | None = None


class StandardInput:
    """Raw samples (16-bit little-endian, mono, `rate` a second), WAV, or any format that ffmpeg reads.

    `form` is raw, media (anything but raw) or auto, which tells by the first bytes. Raises `InputError` if there is
    nothing to read.
    """

    name = "standard input"

    def __init__(self, form: str = "auto", rate: int = SAMPLE_RATE) -> None:
        if rate not in _RATES:
            raise UsageError(f"--sample-rate must be between {_RATES[0]} and {_RATES[-1]}, not {rate}")
        check_input("-")
        self._form, self._rate = form, rate

    def blocks(self, stopped: threading.Event, note: Callable[[str], None]) -> Iterator[Float32Array]:
        """As in `LiveSource`."""
        source = _Interruptible(stopped)
        head = source.exactly(_HEAD)
        if not head and not stopped.is_set():
            raise InputError(f"{self.name}: ended before any sound came")
        is_media = self._form == "media" or (self._form == "auto" and _is_media(head))
        if not is_media:
            if self._form == "auto" and self._rate == SAMPLE_RATE:
                note(f"{self.name}: raw samples, taken as 16-bit mono with {SAMPLE_RATE:,} a second (--sample-rate)")
            yield from self._raw(source, head, note)
        elif stat.S_ISREG(os.fstat(STDIN).st_mode):
            os.lseek(STDIN, 0, os.SEEK_SET)
            yield from _by_ffmpeg("-", stopped, note)
        else:
            wav = _wav(head, source) if head.startswith(b"RIFF") else head
            if isinstance(wav, _Pcm):
                yield from _decoded(wav, source)
            else:
                yield from _by_ffmpeg(cast(BinaryIO, _Rejoined(wav, source)), stopped, note)

    def _raw(self, source: _Interruptible, head: bytes, note: Callable[[str], None]) -> Iterator[Float32Array]:
        """Samples, and a warning if they look like something else. Raises `InputError` for text."""
        seen = _Seen(head)
        for block in _decoded(_Pcm(self._rate, 1, head), source, seen.add):
            if seen.is_text:
                raise InputError(f"{self.name}: is text, not sound")
            if seen.is_enough:
                self._warn(seen, note)
            yield block
        if not seen.is_told:
            self._warn(seen, note)

    def _warn(self, seen: _Seen, note: Callable[[str], None]) -> None:
        seen.is_told = True
        what, remedy = likeness(seen.data), f"let ffmpeg write it with -f s16le -ac 1 -ar {self._rate}"
        if _is_media(seen.head):
            what, remedy = "a media file", "leave out --input-format raw"
        elif what == STREAM:
            remedy = "add --input-format media"
        if what is not None:
            note(f"warning: {self.name} looks like {what}, not like 16-bit mono samples: {remedy}")


class _Seen:
    """The first bytes with sound, for a look at them."""

    def __init__(self, head: bytes) -> None:
        self.head, self.data = head, b""
        self._count = 0
        #: Whether it has been said what they look like.
        self.is_told = False
        self.add(head)

    def add(self, more: bytes) -> None:
        """Take the next bytes. Silence before sound is left out."""
        sound = more if self.data else more.lstrip(b"\0")
        silent = len(more) - len(sound)
        self._count += silent
        if sound and len(self.data) < MOST:
            self.data += sound if self.data else bytes(self._count % 4) + sound  # from an even sample on

    @property
    def is_text(self) -> bool:
        return not self.is_told and is_text(self.data)

    @property
    def is_enough(self) -> bool:
        return not self.is_told and len(self.data) >= MOST


class _Interruptible:
    """Standard input, which seems to have ended once `stopped` is set."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    def read(self, most: int) -> bytes:
        """Some bytes as soon as there are any; none at the end."""
        while not self._stopped.is_set():
            if os.name == "nt" or select.select([STDIN], [], [], LOOK)[0]:  # Windows selects sockets alone
                try:
                    return os.read(STDIN, most)
                except OSError as error:
                    raise InputError(f"standard input: cannot be read: {error.strerror}") from error
        return b""

    def exactly(self, count: int) -> bytes:
        """So many bytes, fewer only at the end."""
        read = b""
        while len(read) < count and (more := self.read(count - len(read))):
            read += more
        return read


class _Rejoined:
    """A stream whose beginning was read already, as a file object for ffmpeg."""

    name = "standard input"

    def __init__(self, head: bytes, source: _Interruptible) -> None:
        self._head, self._source = io.BytesIO(head), source

    def seekable(self) -> bool:
        return False

    def read(self, most: int) -> bytes:
        return self._head.read(most) or self._source.read(most)


def _is_media(head: bytes) -> bool:
    return head.startswith(_BEGINNINGS) or head[4:8] == b"ftyp"


def _wav(head: bytes, source: _Interruptible) -> _Pcm | bytes:
    """What a WAV stream of 16-bit samples holds; of another one the bytes that were read."""
    read, layout = head, None
    while len(read) < _LONGEST_HEADER:
        read += (chunk := source.exactly(8))
        if len(chunk) < 8:
            break
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            if layout is None:
                break
            return _Pcm(*layout, b"", None if size in (0, 0xFFFFFFFF) or size >= _UNKNOWN_SIZE else size)
        body = source.exactly(min(size + size % 2, _LONGEST_HEADER))
        read += body
        if name == b"fmt ":
            layout = _layout(body)
            if layout is None:
                break
    return read


def _layout(body: bytes) -> tuple[int, int] | None:
    """The rate and the number of channels in a format chunk of WAV, None unless samples are of 16 bits."""
    if len(body) < 16:
        return None
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if kind == _EXTENSIBLE and len(body) >= 26:
        (kind,) = struct.unpack("<H", body[24:26])
    is_plain = kind == _PCM and bits == 16 and 1 <= channels <= 64
    return (rate, channels) if is_plain and rate in _RATES else None


def _decoded(
    pcm: _Pcm, source: _Interruptible, see: Callable[[bytes], None] = lambda data: None
) -> Iterator[Float32Array]:
    """Samples; `see` is given the bytes after the first ones."""
    resampler = Resampler(pcm.rate)
    frame, kept, left = 2 * pcm.channels, pcm.head, pcm.size
    while left is None or left > 0:
        more = source.read(_BLOCK if left is None else min(_BLOCK, left))
        if left is not None:
            left -= len(more)
        see(more)
        kept += more
        whole = len(kept) - len(kept) % frame
        samples = np.frombuffer(kept[:whole], "<i2").reshape(-1, pcm.channels).mean(axis=1, dtype=np.float32) / 32768
        kept = kept[whole:]
        yield resampler.push(samples)
        if not more:
            break
    yield resampler.finish()


def _by_ffmpeg(source: str | BinaryIO, stopped: threading.Event, note: Callable[[str], None]) -> Iterator[Float32Array]:
    with contextlib.closing(open_audio(source)) as audio:
        for block in audio:
            yield block
            if source == "-" and stopped.is_set():
                return
        for warning in audio.warnings:
            note(f"warning: {warning}")
