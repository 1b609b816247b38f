"""The diarizer with networks that hear tones: a voice is a pitch."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.diarizer import Diarizer
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.segmentation import FRAME_STEP, POWERSET, RECEPTIVE_FIELD, frame_count

#: Hertz of each voice.
PITCHES = (200, 500, 900, 1400)


class ToneSegmentation:
    """Local voices are the pitches of a window, in order of appearance, shuffled from window to window."""

    def log_probabilities(self, samples_BT: Float32Array) -> Float32Array:
        return np.stack([self._window(samples) for samples in samples_BT])

    def _window(self, samples: Float32Array) -> Float32Array:
        count = frame_count(len(samples))
        total = np.cumsum(np.pad(waves(len(samples)) * samples, ((0, 0), (1, 0))), axis=1)
        begins = np.arange(count) * FRAME_STEP + (RECEPTIVE_FIELD - FRAME_STEP) // 2
        speaking = (np.abs(total[:, begins + FRAME_STEP] - total[:, begins]) > 0.1 * FRAME_STEP).T
        order = [pitch for pitch in range(len(PITCHES)) if speaking[:, pitch].any()][:3]
        order = order[::-1] if len(order) > 1 and samples[:8000].sum() > 0 else order
        local = np.zeros((count, 3), bool)
        local[:, : len(order)] = speaking[:, order]
        classes = (local[:, None, :] == POWERSET[None]).all(axis=2).argmax(axis=1)
        result = np.full((count, len(POWERSET)), -12.0, np.float32)
        result[np.arange(count), classes] = 0.0
        return result


class ToneEmbedding:
    """How loud each pitch is, and a little of everything."""

    def embed(self, clips: list[Float32Array]) -> Float32Array:
        return np.stack([np.concatenate([heard(clip), [0.001]]) for clip in clips]).astype(np.float32)


@cache
def waves(length: int) -> npt.NDArray[np.complex128]:
    made: npt.NDArray[np.complex128] = np.exp(-2j * np.pi * np.outer(PITCHES, np.arange(length) / SAMPLE_RATE))
    return made


def heard(samples: Float32Array) -> npt.NDArray[np.float64]:
    power: npt.NDArray[np.float64] = np.abs(waves(len(samples)) @ samples) ** 2 / len(samples) ** 2
    return power


def talk(*turns: tuple[float, float, int], seconds: float) -> Float32Array:
    """Turns as (start, end, voice)."""
    samples = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    times = np.arange(len(samples)) / SAMPLE_RATE
    for start, end, voice in turns:
        is_on = (times >= start) & (times < end)
        samples[is_on] += 0.4 * np.sin(2 * np.pi * PITCHES[voice] * times[is_on]).astype(np.float32)
    return samples


DIALOGUE = talk((0.5, 4, 0), (5, 9, 1), (10, 12, 0), (11, 15, 2), (20, 26, 1), (27, 30, 2), seconds=31)


def turns_of(samples: Float32Array, block: int = SAMPLE_RATE, **options: object) -> list[tuple[float, float, str]]:
    listening = Diarizer(ToneSegmentation(), ToneEmbedding()).listen()
    for start in range(0, len(samples), block):
        listening.add(samples[start : start + block])
    turns = listening.turns(SpeakerOptions(**options))  # type: ignore[arg-type]
    return [(turn.start, turn.end, turn.speaker) for turn in turns]


def test_speakers_are_found_and_named_in_order_of_appearance() -> None:
    turns = turns_of(DIALOGUE)
    expected = [
        (0.5, 4, "Speaker 1"),
        (5, 9, "Speaker 2"),
        (10, 12, "Speaker 1"),
        (11, 15, "Speaker 3"),
        (20, 26, "Speaker 2"),
        (27, 30, "Speaker 3"),
    ]
    assert [name for *_, name in turns] == [name for *_, name in expected]
    for (start, end, _), (right_start, right_end, _) in zip(turns, expected, strict=True):
        assert start == pytest.approx(right_start, abs=0.06)
        assert end == pytest.approx(right_end, abs=0.06)


def test_the_blocks_of_samples_do_not_matter() -> None:
    long = np.concatenate([DIALOGUE] * 3)
    assert turns_of(long, 777) == turns_of(long, len(long)) == turns_of(long)
