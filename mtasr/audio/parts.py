"""What ffmpeg would not read of a file: recordings after the first, and sound after the end that a header states.

In these formats the size of a recording is in its header, and ffmpeg reads no further. The header is wrong where the
size did not fit into 32 bits, or where the recorder was stopped before it wrote the size again.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, NamedTuple, cast

#: Chunks or boxes that are looked at, at most.
_CHUNKS = 100_000
#: Seconds of sound after the stated end that are worth reading.
_MATTERS = 0.1
#: Chunks after the sound of a WAV file that may be truncated. Others that seem to end after the file are sound.
_CHUNK_NAMES = (b"LIST", b"id3 ", b"ID3 ", b"JUNK", b"bext", b"iXML", b"_PMX", b"PEAK", b"cue ", b"smpl")
#: Bytes that are searched at a time.
_BLOCK = 1 << 20


class FilePart(NamedTuple):
    """The bytes of one recording in a file."""

    start: int
    end: int
    #: Seconds of sound that its header states, if it is wrong and the sound goes on; None if it is right.
    stated: float | None = None


def parts(file: BinaryIO) -> tuple[FilePart, ...]:
    """The recordings in a file, if ffmpeg would not read all of it by itself; else none. Moves the file's position."""
    found: list[FilePart] = []
    with contextlib.suppress(OSError, struct.error, OverflowError, ValueError):
        size = file.seek(0, os.SEEK_END)
        start = 0
        while start < size and (find_end := _finder(_read(file, start, 16))) is not None:
            part = find_end(file, start, size)
            if part.end <= start:
                break
            found.append(part)
            start = part.end
    return tuple(found) if len(found) > 1 or any(part.stated is not None for part in found) else ()


_Finder = Callable[[BinaryIO, int, int], FilePart]


def _finder(head: bytes) -> _Finder | None:
    """What finds the end of a recording that begins with these bytes; None if nothing does."""
    for begins, finder in _FINDERS:
        if begins.match(head):
            return finder
    return None


_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _wav(file: BinaryIO, start: int, size: int) -> FilePart:
    """Chunks up to one that is none: another recording, or sound that the size of "data" leaves out."""
    at, rate, data = start + 12, 0, 0
    for _ in range(_CHUNKS):
        head = _read(file, at, 8)
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if len(head) < 8 or not _is_name(name) or (name == b"RIFF" and at > start):
            break
        if name == b"fmt ":
            rate = cast(int, struct.unpack("<I", _read(file, at + 16, 4))[0])
        if name == b"data":
            if not length or length == 0xFFFF_FFFF or at + 8 + length > size:  # not known, or the end is missing
                return FilePart(start, size)
            data = length
        elif at + 8 + length > size:
            if not data or name in _CHUNK_NAMES:
                return FilePart(start, size)
            break
        at += 8 + length
        at += length % 2 and _finder(_read(file, at, 16)) is None
    rest = size - at
    if not data or not rate or _finder(_read(file, at, 16)) is not None or rest < _MATTERS * rate:
        return FilePart(start, at if data else size)
    return FilePart(start, size, stated=data / rate)


def _aiff(file: BinaryIO, start: int, size: int) -> FilePart:
    length = int.from_bytes(_read(file, start + 4, 4), "big")
    return FilePart(start, min(start + 8 + length + length % 2, size))


def _mp4(file: BinaryIO, start: int, size: int) -> FilePart:
    """Boxes up to the next "ftyp" after an index."""
    at, indexed = start, False
    for _ in range(_CHUNKS):
        head = _read(file, at, 16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if name == b"ftyp" and indexed:
            return FilePart(start, at)
        if length < 8 or at + length >= size:
            break
        indexed = indexed or name == b"moov"
        at += length
    return FilePart(start, size)


def _caf(file: BinaryIO, start: int, size: int) -> FilePart:
    at = start + 8
    for _ in range(_CHUNKS):
        head = _read(file, at, 12)
        length = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"caff":
            return FilePart(start, at)
        if not _is_name(head[:4]) or length < 0 or at + 12 + length >= size:
            break
        at += 12 + length
    return FilePart(start, size)


def _w64(file: BinaryIO, start: int, size: int) -> FilePart:
    return FilePart(start, min(start + int.from_bytes(_read(file, start + 16, 8), "little"), size))


def _asf(file: BinaryIO, start: int, size: int) -> FilePart:
    head = _read(file, start, 4096)
    at = head.find(_ASF_PROPERTIES)
    length = int.from_bytes(head[at + 40 : at + 48], "little") if at >= 0 else 0
    return FilePart(start, min(start + length, size) if length else size)


def _searched(head: re.Pattern[bytes], file: BinaryIO, start: int, size: int) -> FilePart:
    """Bytes up to the next header, where nothing says how many they are."""
    at, before = start + 4, b""
    while block := _read(file, at, _BLOCK):
        if found := head.search(before + block):
            return FilePart(start, at - len(before) + found.start())
        at, before = at + len(block), block[-_LONGEST_HEAD:]
    return FilePart(start, size)


#: Long enough not to be met within a recording.
_SEARCHED = (
    re.compile(rb"FLV\x01[\x00\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00"),
    re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"),
    re.compile(rb"TTA1[\x01-\x03]\x00[\x01-\x08]\x00[\x08\x10\x18]\x00", re.DOTALL),
)
_LONGEST_HEAD = 12

_FINDERS: tuple[tuple[re.Pattern[bytes], _Finder], ...] = (
    (re.compile(rb"(RIFF|RF64)....WAVE", re.DOTALL), _wav),
    (re.compile(rb"FORM....AIF[FC]", re.DOTALL), _aiff),
    (re.compile(rb"....ftyp", re.DOTALL), _mp4),
    (re.compile(rb"caff\x00\x01"), _caf),
    (re.compile(re.escape(bytes.fromhex("726966662e91cf11a5d628db04c10000"))), _w64),
    (re.compile(re.escape(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"))), _asf),
    *((head, partial(_searched, head)) for head in _SEARCHED),
)
