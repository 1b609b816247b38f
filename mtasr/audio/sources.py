"""What can be transcribed: files, standard input, open files, samples in memory, and blocks that are still coming."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.audio.joined import JoinedStreams
from mtasr.audio.read import check_input, check_reopenable, count_channels, open_audio
from mtasr.audio.route import FileSource
from mtasr.audio.stream import AudioStream
from mtasr.audio.tracks import Tracks
from mtasr.errors import InputError
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Repair

Samples = npt.NDArray[np.floating[Any]]

#: A recording that has been opened.
Opened = AudioStream | JoinedStreams

#: A file, "-" for standard input, an open binary file, samples (16 kHz, mono, float, shape (n,)), or an iterable of
#: such samples, whose next block may still have to be recorded.
Source = FileSource | Samples | Iterable[Samples]

_BLOCK = 10 * SAMPLE_RATE


class SampleBlocks:
    """Samples in memory, or blocks of them that come while they are transcribed, read like an `AudioStream`."""

    warnings: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()

    def __init__(self, blocks: Iterable[Samples], duration: float | None = None) -> None:
        self._blocks = blocks
        #: In seconds, None if the end is open.
        self.duration = duration

    def __iter__(self) -> Iterator[Float32Array]:
        for block in self._blocks:
            _check_samples(block)
            yield np.nan_to_num(block.astype(np.float32), posinf=0.0, neginf=0.0)

    def abort(self) -> bool:
        return False

    def close(self) -> None:
        pass


def _check_samples(samples: object) -> None:
    if not isinstance(samples, np.ndarray):
        raise InputError(f"samples must be a float array of shape (n,) at 16 kHz, not {type(samples).__name__}")
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise InputError(
            f"samples must be a float array of shape (n,) at 16 kHz, not {samples.dtype} of shape {samples.shape}"
        )


def opens_at_once(source: Source) -> bool:
    """Whether opening it waits for nothing, as a named pipe or a program behind a file object would."""
    with contextlib.suppress(OSError):  # a name longer than names can be, a folder that may not be entered
        return isinstance(source, str | os.PathLike) and source != "-" and Path(source).is_file()
    return False


def openers(source: Source, tracks: Tracks) -> list[Callable[[], Opened | SampleBlocks]]:
    """A function that opens the recording, or one for each of its channels. They raise what is wrong with it."""
    if tracks.channels == "mix" or not _is_file(source):
        return [partial(open_source, source, tracks.audio_stream)]
    count = 0
    with contextlib.suppress(InputError):
        count = count_channels(source, track=tracks.audio_stream)
    return [partial(open_source, source, tracks.audio_stream, channel) for channel in range(max(count, 1))]


def _is_file(source: Source) -> TypeGuard[FileSource]:
    return isinstance(source, str | os.PathLike) or hasattr(source, "read")


def open_source(source: Source, track: int, channel: int | None = None) -> Opened | SampleBlocks:
    """Open a source; of a file the audio track, and the channel if one is given, both counted from 0.

    Raises `InputError` if it cannot be read.
    """
    if isinstance(source, np.ndarray):
        _check_samples(source)
        parts = (source[start : start + _BLOCK] for start in range(0, len(source), _BLOCK))
        return SampleBlocks(parts, len(source) / SAMPLE_RATE)
    if not _is_file(source):
        if isinstance(source, bytes) or not isinstance(source, Iterable):
            kind = type(source).__name__
            raise InputError(
                f"a recording must be a path, '-', a binary file, an array or blocks of samples, not {kind}"
            )
        return SampleBlocks(cast(Iterable[Samples], source))
    if channel is not None:
        check_input(source)
        check_reopenable(source)
    return open_audio(source, track=track, channel=channel)
