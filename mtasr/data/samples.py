"""Decoded audio, kept on disk so that ffmpeg runs once per recording and each epoch reads only what it needs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.read import open_audio
from mtasr.data.excerpts import Excerpt
from mtasr.data.records import written_whole
from mtasr.errors import InputError
from mtasr.spans import SAMPLE_RATE

#: The range of 16-bit samples.
_SCALE = 32768.0


def read_samples(path: Path) -> Float32Array:
    """All samples (N,) of a recording at 16 kHz. Raises `InputError`."""
    with open_audio(path) as stream:
        return np.concatenate([np.zeros(0, np.float32), *stream])


class SampleStore:
    """The samples of recordings as 16-bit .npy files in a folder, made when first needed; 115 MB per hour of audio."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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
        found = np.load(self._stored(Path(audio)), mmap_mode="r")[first:last].astype(np.float32) / _SCALE
        return np.pad(found, (0, last - first - len(found)))

    def _stored(self, audio: Path) -> Path:
        try:
            info = audio.stat()
        except OSError as exc:
            raise InputError(f"{audio}: cannot be read: {exc.strerror or exc}") from exc
        # A replaced recording has another size or time, and so another file.
        identity = f"{audio.absolute()}\0{info.st_size}\0{info.st_mtime_ns}"
        path = self._folder / f"{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:32]}.npy"
        if not path.exists():
            samples = np.round(read_samples(audio) * _SCALE).clip(-_SCALE, _SCALE - 1).astype(np.int16)
            with written_whole(path) as staging, staging.open("wb") as stream:
                np.save(stream, samples)
        return path
