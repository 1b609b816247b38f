"""Whether a file is truncated, for the formats in which ffmpeg does not notice: WAV and Ogg."""

from __future__ import annotations

import contextlib
import os
import struct
from typing import BinaryIO, cast

#: Bytes that are sure to hold the last page of an Ogg file, and the most chunks of a WAV file before its samples.
_PAGE, _CHUNKS = 65_307, 1000


def is_cut_short(path: str) -> bool:
    """Whether the end is missing. False for a file that cannot be read, or whose format has no end."""
    with contextlib.suppress(OSError), open(path, "rb") as file:  # noqa: PTH123 - any name
        return is_open_cut_short(file)
    return False


def is_open_cut_short(file: BinaryIO) -> bool:
    """As `is_cut_short`, of an open file that can be searched. Moves its position."""
    with contextlib.suppress(OSError, struct.error):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(12)
        if start[:4] == b"RIFF" and start[8:] == b"WAVE":
            return _is_wav_cut(file, size)
        if start[:4] == b"OggS":
            return _is_ogg_cut(file, size)
    return False


def _is_wav_cut(file: BinaryIO, size: int) -> bool:
    """Whether its header promises samples beyond the end of the file."""
    for _ in range(_CHUNKS):
        name, length = cast(tuple[bytes, int], struct.unpack("<4sI", file.read(8)))
        if name == b"data":
            # A program that writes into a pipe cannot know the length, and states about the largest.
            return length < 0x7FFF0000 and file.tell() + length > size
        file.seek(length + length % 2, os.SEEK_CUR)
    return False


def _is_ogg_cut(file: BinaryIO, size: int) -> bool:
    """Whether the last page is incomplete, or not marked as the last one of its stream."""
    file.seek(max(0, size - _PAGE))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return True
    segments = tail[at + 26]
    lengths = tail[at + 27 : at + 27 + segments]
    return len(lengths) < segments or at + 27 + segments + sum(lengths) > len(tail) or not tail[at + 5] & 4
