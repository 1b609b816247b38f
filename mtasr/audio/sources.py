"""What can be transcribed: files, standard input, open files, samples in memory, and blocks that are still coming."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.audio.copied import CopiedStream
from mtasr.audio.joined import JoinedStreams
from mtasr.audio.read import check_input, check_reopenable, count_channels, open_audio
from mtasr.audio.route import FileSource
from mtasr.audio.stream import AudioStream
from mtasr.audio.tracks import Tracks
from mtasr.errors import InputError, RecordingTooLongError
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Repair

Samples = npt.NDArray[np.floating[Any]]

#: A recording that has been opened.
Opened = AudioStream | JoinedStreams | CopiedStream

#: A file, a URL, "-" for standard input, an open binary file, samples (16 kHz, mono, float, shape (n,)), or an iterable
#: of such samples, whose next block may still have to be recorded.
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
            yield finite_samples(block)

    def abort(self) -> bool:
        return False

    def close(self) -> None:
        pass


class LimitedAudio:
    """An open recording that may not be longer than `most` seconds; iterating raises `RecordingTooLongError`."""

    def __init__(self, audio: Opened | SampleBlocks, most: float) -> None:
        self._audio, self._most = audio, most

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._audio.warnings

    @property
    def repairs(self) -> tuple[Repair, ...]:
        return self._audio.repairs

    @property
    def duration(self) -> float | None:
        return self._audio.duration

    def __iter__(self) -> Iterator[Float32Array]:
        stated, samples = self._audio.duration, 0
        if stated is not None and stated > self._most:
            raise self._too_long()
        for block in self._audio:
            samples += len(block)
            if samples > self._most * SAMPLE_RATE:
                raise self._too_long()
            yield block

    def _too_long(self) -> RecordingTooLongError:
        return RecordingTooLongError(f"the recording is longer than {self._most:g} s")

    def abort(self) -> bool:
        return self._audio.abort()

    def close(self) -> None:
        self._audio.close()


#: Opens a recording.
Open = Callable[[], Opened | SampleBlocks | LimitedAudio]


def finite_samples(samples: Samples) -> Float32Array:
    """The samples in float32, with zeros for what is no finite number. Raises `InputError` for what are no samples."""
    _check_samples(samples)
    return np.nan_to_num(samples.astype(np.float32), posinf=0.0, neginf=0.0)


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


def openers(source: Source, tracks: Tracks, most_seconds: float | None = None) -> list[Open]:
    """A function that opens the recording, or one for each of its channels. They raise what is wrong with it.

    With `most_seconds`, iterating over a longer recording raises `RecordingTooLongError`.
    """
    channels: Sequence[int | None] = [None]
    if tracks.channels == "split" and _is_file(source):
        count = 0
        with contextlib.suppress(InputError):
            count = count_channels(source, track=tracks.audio_stream)
        channels = range(max(count, 1))
    return [partial(_open_channel, source, tracks.audio_stream, channel, most_seconds) for channel in channels]


def opener(source: Source, tracks: Tracks, channel: int) -> Open:
    """A function that opens one of the channels that `openers` returns, without counting them."""
    is_split = tracks.channels == "split" and _is_file(source)
    return partial(_open_channel, source, tracks.audio_stream, channel if is_split else None, None)


def stated_seconds(source: Source, tracks: Tracks | None = None) -> float | None:
    """The duration that a recording states, None if it states none. Raises `InputError` if it cannot be opened."""
    with contextlib.closing(opener(source, tracks or Tracks(), 0)()) as audio:
        return (audio.copied() if isinstance(audio, CopiedStream) else audio).duration


def _open_channel(
    source: Source, track: int, channel: int | None, most_seconds: float | None
) -> Opened | SampleBlocks | LimitedAudio:
    audio = open_source(source, track, channel)
    return audio if most_seconds is None else LimitedAudio(audio, most_seconds)


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
