"""The samples of clips: parts of recordings that may last for hours, of which no more is held than is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.read import open_audio
from mtasr.data.samples import read_samples
from mtasr.errors import InputError
from mtasr.probing.labels import LabelledClip
from mtasr.spans import SAMPLE_RATE

#: A clip and its samples (N,).
ClipSamples = tuple[LabelledClip, Float32Array]

#: Seconds of a recording that is remembered as a whole, at most: 115 MB.
_REMEMBERED = 1800.0
#: Samples by which a clip may end after its recording: durations are often rounded up.
_ROUNDING = SAMPLE_RATE // 10
#: Bytes of a second of audio at least, by the ending of its file; a smaller file is not asked how long it is.
_LEAST_BYTES = {".wav": 8000, ".flac": 4000}
_LEAST_OTHERS = 1000


class ClipReader:
    """Reads clips of `longest` seconds at most."""

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self._recording: tuple[Path, Float32Array] | None = None

    def samples(self, clip: LabelledClip) -> Float32Array:
        """The samples (N,) of a clip. Raises `InputError`.

        The recording read last is remembered unless it is long, as clips may be parts of one.
        """
        if self._recording is None or self._recording[0] != clip.audio:
            self._recording = None  # before the next one is in memory
            if _stated_seconds(clip.audio, _REMEMBERED) > _REMEMBERED:
                ((_, samples),) = self.in_order([clip])
                return samples
            self._recording = (clip.audio, read_samples(clip.audio))
        samples = self._recording[1]
        first, last = self._stretch(clip)
        self._check(clip, first, last, len(samples))
        return samples[first:last].copy()

    def in_order(self, clips: Sequence[LabelledClip]) -> Iterator[ClipSamples]:
        """Clips of one recording, by their starts, and their samples. It is decoded once, up to the end of the last.

        Raises `InputError`.
        """
        with open_audio(clips[0].audio) as stream:
            blocks, held, place = iter(stream), np.zeros(0, np.float32), 0
            for clip in clips:
                first, last = self._stretch(clip)
                parts = [held]
                while place < last and (block := next(blocks, None)) is not None:
                    place += len(block)
                    if place > first:
                        parts.append(block)
                    else:
                        parts.clear()
                held = np.concatenate([np.zeros(0, np.float32), *parts])
                held = held[max(0, first - (place - len(held))) :]  # the next clip begins no earlier
                self._check(clip, first, last, place)
                yield clip, held[: last - first].copy()

    def _stretch(self, clip: LabelledClip) -> tuple[int, int]:
        """The first sample of a clip and the one after its last; a clip without an end is read until it is too long."""
        first = round(clip.start * SAMPLE_RATE)
        most = round(self.longest * SAMPLE_RATE)
        last = first + most + 1 if clip.end is None else round(clip.end * SAMPLE_RATE)
        return first, last

    def _check(self, clip: LabelledClip, first: int, last: int, read: int) -> None:
        """Raise `InputError` for a clip that its recording does not have, or that is too long.

        `read` are samples of the recording, which ends there if that is before `last`.
        """
        if read <= first or (clip.end is not None and read < last - _ROUNDING):
            raise clip.error(f"{clip.audio} ends at {read / SAMPLE_RATE:.2f} s")
        if min(last, read) - first > self.longest * SAMPLE_RATE:
            raise clip.error(f"a clip may last {self.longest:g} s at most; cut it with start and end")


def check_lengths(clips: Sequence[LabelledClip], most: float) -> None:
    """Raise `InputError` if clips last more seconds than that, as far as their files state it. Nothing is decoded."""
    stated: dict[Path, float] = {}
    long = []
    for clip in clips:
        if clip.end is not None:
            seconds = clip.end - clip.start
        else:
            if clip.audio not in stated:
                stated[clip.audio] = _stated_seconds(clip.audio, most)
            seconds = stated[clip.audio] - clip.start
        if round(seconds * SAMPLE_RATE) > most * SAMPLE_RATE:
            long.append(clip)
    if long:
        raise long[0].error(
            f"the first of {len(long)} clips of more than {most:g} s, the most that can be heard; "
            "cut them with start and end"
        )


def _stated_seconds(audio: Path, most: float) -> float:
    """What the container states; 0 if it states nothing or if the file is too small for `most` seconds."""
    try:
        if audio.stat().st_size < most * _LEAST_BYTES.get(audio.suffix.lower(), _LEAST_OTHERS):
            return 0.0
    except OSError as exc:
        raise InputError(f"{audio}: cannot be read: {exc.strerror or exc}") from exc
    with open_audio(audio) as stream:
        return stream.duration or 0.0
