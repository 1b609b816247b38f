"""What a page shows of a recording beside its text: how loud it is, where speech is, and the sound itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtasr.audio.read import open_audio
from mtasr.audio.write import SoundWriter
from mtasr.spans import SAMPLE_RATE, Interval
from mtasr.vad import SileroDetector, SpeechTrack

#: Peaks in a second, and samples for each.
PEAKS = 100
_BIN = SAMPLE_RATE // PEAKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform:
    """`peaks` is a byte for each 10 ms, 255 where it is loudest; `speech` and `duration` are in seconds."""

    duration: float
    peaks: bytes
    speech: list[Interval]


def listen(
    source: Path | str, sound: Path, *, track: int = 0, threshold: float = 0.5, speech: Sequence[Interval] = ()
) -> Waveform:
    """Read a recording once and write its sound to `sound`, as MP3.

    The sound consists of the samples that the transcript's times count, so both agree whatever the file's own clock
    says. If `speech` is not known, it is detected; `threshold` is the speech probability from which audio counts as
    speech. Raises what `open_audio` raises, and `FfmpegError`.
    """
    detected = None if speech else SpeechTrack(threshold, SileroDetector())
    peaks, held, samples = [], np.zeros(0, np.float32), 0
    with open_audio(source, track=track) as audio, SoundWriter(sound) as writer:
        for block in audio if detected is None else detected.follow(audio):
            writer.write(block)
            samples += len(block)
            held = np.concatenate([held, block])
            whole = len(held) // _BIN * _BIN
            peaks.append(np.abs(held[:whole]).reshape(-1, _BIN).max(axis=1))
            held = held[whole:]
    loudness = np.concatenate([np.zeros(0, np.float32), *peaks, [np.abs(held).max()] if len(held) else []])
    scaled = loudness * (255 / max(float(loudness.max(initial=0.0)), 1e-6))
    return Waveform(
        duration=samples / SAMPLE_RATE,
        peaks=scaled.round().astype(np.uint8).tobytes(),
        speech=list(speech) if detected is None else detected.intervals(),
    )
