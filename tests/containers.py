"""Recordings in containers whose timestamps, sizes or ends are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from speech import write_wav
from tones import ffmpeg

#: Bytes of an FLV file before its first tag.
FLV_HEAD = 13


def encoded(path: Path, samples: np.ndarray, *arguments: str) -> Path:
    """Samples at 16 kHz in the container that the name states."""
    whole = path.with_name(f"{path.name}.wav")
    write_wav(whole, samples.astype(np.float32))
    ffmpeg("-i", whole, *arguments, path)
    whole.unlink()
    return path


def joined(path: Path, *files: Path, skipped: int = 0) -> Path:
    """The bytes of the files as `cat` puts them together, without the first `skipped` bytes of all but the first."""
    path.write_bytes(b"".join(file.read_bytes()[skipped if number else 0 :] for number, file in enumerate(files)))
    return path


def retimed(flv: bytes, moved: Callable[[float], float]) -> bytes:
    """An FLV file whose tags have the timestamp `moved(timestamp)`, in seconds."""
    data = bytearray(flv)
    at = FLV_HEAD
    while at + 11 <= len(data):
        stamp = int.from_bytes(bytes([data[at + 7], *data[at + 4 : at + 7]]), "big")
        if data[at] == 8:  # sound
            new = round(moved(stamp / 1000) * 1000).to_bytes(4, "big")
            data[at + 4 : at + 7], data[at + 7] = new[1:], new[0]
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
    return bytes(data)
