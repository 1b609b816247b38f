"""Decoded audio, kept on disk so that ffmpeg runs once per recording and each epoch reads only what it needs."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.audio.read import open_audio
from mtasr.data.excerpts import Excerpt
from mtasr.data.records import written_whole
from mtasr.data.shards.archive import member_at, open_recording
from mtasr.errors import InputError
from mtasr.spans import SAMPLE_RATE

#: The range of 16-bit samples.
_SCALE = 32768.0
#: The names of files in a store; its folder may hold others.
_NAME = re.compile(r"[0-9a-f]{32}\.npy")


def read_samples(audio: str | Path) -> Float32Array:
    """All samples (N,) of the audio of a record at 16 kHz. Raises `InputError`."""
    with open_recording(audio) as source, open_audio(source) as stream:
        return np.concatenate([np.zeros(0, np.float32), *stream])


def samples_in(excerpt: Excerpt) -> int:
    """How many samples `SampleStore.excerpt` gives: each part is rounded by itself."""
    return sum(
        round(part.before * SAMPLE_RATE) + round(part.end * SAMPLE_RATE) - round(part.start * SAMPLE_RATE)
        for part in excerpt.parts
    )


class SampleStore:
    """The samples of recordings as 16-bit .npy files in a folder, made when first needed; 115 MB per hour of audio.

    Above about `most_bytes`, those that were not used for longest are removed. Several processes may share the folder,
    also from several machines; each writes a tenth of what is left before it looks how much there is.
    """

    def __init__(self, folder: Path, most_bytes: float = math.inf) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        #: Bytes that may be written before the folder is looked through again.
        self._room = 0.0

    def excerpt(self, excerpt: Excerpt) -> Float32Array:
        """The samples (N,) of an excerpt. Raises `InputError` for a recording that cannot be read."""
        pieces = []
        for part in excerpt.parts:
            pieces.append(np.zeros(round(part.before * SAMPLE_RATE), np.float32))
            pieces.append(self.stretch(part.audio, part.start, part.end))
        return np.concatenate(pieces)

    def stretch(self, audio: str, start: float, end: float) -> Float32Array:
        """The samples (N,) from `start` to `end` seconds, with silence after the end of the recording."""
        first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        found = self.samples(audio, first, last)
        return np.pad(found, (0, last - first - len(found)))

    def samples(self, audio: str, first: int, last: int) -> Float32Array:
        """The samples from the number `first` to `last`, fewer at the end of the recording. Raises `InputError`."""
        return self._samples(audio, first, last).astype(np.float32) / _SCALE

    def _samples(self, audio: str, first: int, last: int) -> npt.NDArray[np.int16]:
        path = self._folder / f"{identity_of(audio)}.npy"
        # Never stored, removed by another process in the middle, or damaged.
        with contextlib.suppress(OSError, ValueError):
            found = _read(path, first, last)
            if self._most_bytes < math.inf:
                with contextlib.suppress(OSError):
                    os.utime(path)
            return found
        samples = np.round(read_samples(audio) * _SCALE).clip(-_SCALE, _SCALE - 1).astype(np.int16)
        with written_whole(path) as staging, staging.open("wb") as stream:
            np.save(stream, samples)
        self._room -= samples.nbytes
        if self._room < 0 and self._most_bytes < math.inf:
            self._make_room()
        return samples[first:last]

    def _make_room(self) -> None:
        """Remove what was not used for longest, down to nine tenths of the limit."""
        files = []
        for path in self._folder.iterdir():
            if not _NAME.fullmatch(path.name):
                continue
            with contextlib.suppress(OSError):
                info = path.stat()
                files.append((info.st_mtime_ns, info.st_size, path))
        total, target = sum(size for _, size, _ in files), 0.9 * self._most_bytes
        for _, size, path in sorted(files) if total > self._most_bytes else ():
            if total <= target:
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size
        self._room = max(0.0, 0.1 * (self._most_bytes - total))


def _read(path: Path, first: int, last: int) -> npt.NDArray[np.int16]:
    """These of the stored samples. They are not mapped: if another machine removes a mapped file, the process dies.

    Raises `OSError`, and `ValueError` if the file is damaged.
    """
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version of the format")
        (count,), _, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.int16:
            raise ValueError("no samples")
        first, last = min(first, count), min(last, count)
        file.seek(first * dtype.itemsize, os.SEEK_CUR)
        content = file.read((last - first) * dtype.itemsize)
    if len(content) < (last - first) * dtype.itemsize:
        raise ValueError("cut off")
    return np.frombuffer(content, np.int16)


def identity_of(audio: str) -> str:
    """A name for the samples of a recording. A replaced recording has another size or time, and so another name."""
    member = member_at(audio)
    path = Path(audio) if member is None else member.shard
    try:
        info = path.stat()
    except OSError as exc:
        raise InputError(f"{audio}: cannot be read: {exc.strerror or exc}") from exc
    identity = f"{Path(audio).absolute()}\0{info.st_size}\0{info.st_mtime_ns}"
    return hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:32]
