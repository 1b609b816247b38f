"""The diarizer with networks that hear tones: a voice is a pitch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import percentile_filter

from mtasr.arrays import Float32Array
from mtasr.models.speakers.published import CAMPPLUS_LIKENESS
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.diarizer import Diarizer
from mtasr.speakers.networks.segmentation import FRAME_STEP, POWERSET, RECEPTIVE_FIELD, frame_count
from mtasr.speakers.options import MOST_SPEAKERS, SpeakerOptions
from mtasr.speakers.pieces import VoicePiece
from mtasr.speakers.strands import Region
from mtasr.speakers.turns import _loud, _within

#: Hertz of each voice.
PITCHES = (200, 500, 900, 1400)
#: One sample in so many is looked at.
_EVERY = 4


class ToneSegmentation:
    """Local voices are the pitches of a window, in order of appearance, shuffled from window to window."""

    def log_probabilities(self, samples_BT: Float32Array) -> Float32Array:
        return np.stack([self._window(samples) for samples in samples_BT])

    def _window(self, samples: Float32Array) -> Float32Array:
        count = frame_count(len(samples))
        fewer = samples[::_EVERY]
        total = np.cumsum(np.pad(waves(len(fewer)) * fewer, ((0, 0), (1, 0))), axis=1)
        begins = (np.arange(count) * FRAME_STEP + (RECEPTIVE_FIELD - FRAME_STEP) // 2) // _EVERY
        step = FRAME_STEP // _EVERY
        speaking = (np.abs(total[:, begins + step] - total[:, begins]) > 0.1 * step).T
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
    made: npt.NDArray[np.complex128] = np.exp(-2j * np.pi * np.outer(PITCHES, np.arange(length) * _EVERY / SAMPLE_RATE))
    return made


def heard(samples: Float32Array) -> npt.NDArray[np.float64]:
    fewer = samples[::_EVERY]
    power: npt.NDArray[np.float64] = np.abs(waves(len(fewer)) @ fewer) ** 2 / len(fewer) ** 2
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
    long = np.concatenate([DIALOGUE] * 2)
    assert turns_of(long, 777) == turns_of(long, len(long)) == turns_of(long)


def test_the_number_of_speakers_may_be_given() -> None:
    assert {name for *_, name in turns_of(DIALOGUE, num_speakers=2)} == {"Speaker 1", "Speaker 2"}
    three = [(0.5, 4, "Speaker 1"), (5, 9, "Speaker 2"), (10, 12, "Speaker 1"), (11, 15, "Speaker 3")]
    assert [
        (pytest.approx(start, abs=0.06), pytest.approx(end, abs=0.06), name) for start, end, name in three
    ] == turns_of(DIALOGUE, num_speakers=3)[:4]
    assert {name for *_, name in turns_of(DIALOGUE, num_speakers=3)} == {"Speaker 1", "Speaker 2", "Speaker 3"}
    assert {name for *_, name in turns_of(DIALOGUE, max_speakers=2)} == {"Speaker 1", "Speaker 2"}


def test_names_are_given_in_order_of_appearance() -> None:
    assert [name for *_, name in turns_of(DIALOGUE, speakers=("Anna", "", "Cem"))][:4] == [
        "Anna",
        "Speaker 2",
        "Anna",
        "Cem",
    ]


def test_turns_so_far_do_not_change_the_turns_at_the_end() -> None:
    long = np.concatenate([DIALOGUE] * 2)
    listening = Diarizer(ToneSegmentation(), ToneEmbedding()).listen()
    for start in range(0, len(long), 13 * SAMPLE_RATE):
        listening.add(long[start : start + 13 * SAMPLE_RATE])
        so_far = listening.turns(SpeakerOptions())
        assert all(turn.end <= (start + 13 * SAMPLE_RATE) / SAMPLE_RATE for turn in so_far)
    turns = [(turn.start, turn.end, turn.speaker) for turn in listening.turns(SpeakerOptions())]
    assert turns == turns_of(long)


def test_what_the_networks_have_not_heard_is_not_done() -> None:
    listening = Diarizer(ToneSegmentation(), ToneEmbedding()).listen()
    listening.add(DIALOGUE)
    assert listening.position == 0.0, "they hear more at once"
    listening.add(np.concatenate([DIALOGUE] * 4))
    assert 100 < listening.position < 145
    assert listening.turns(SpeakerOptions())[-1].end > 150


def test_recordings_do_not_matter_to_each_other() -> None:
    diarizer = Diarizer(ToneSegmentation(), ToneEmbedding())
    one, other = diarizer.listen(), diarizer.listen()
    for start in range(0, len(DIALOGUE), SAMPLE_RATE):
        one.add(DIALOGUE[start : start + SAMPLE_RATE])
        other.add(DIALOGUE[::-1][start : start + SAMPLE_RATE].copy())
    turns = [(turn.start, turn.end, turn.speaker) for turn in one.turns(SpeakerOptions())]
    assert turns == turns_of(DIALOGUE)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3, 12.0])
def test_nobody_speaks_in_silence(seconds: float) -> None:
    assert turns_of(talk(seconds=seconds)) == []


@pytest.mark.parametrize("seconds", [0.5, 9.99, 10.0, 10.01, 12.6, 47.5, 47.6, 50.0])
def test_speech_lasts_to_the_end_whatever_the_length(seconds: float) -> None:
    ((start, end, _),) = turns_of(talk((0.0, seconds, 0), seconds=seconds))
    assert start == pytest.approx(0.0, abs=0.06)
    assert end == pytest.approx(seconds, abs=0.06)


def test_short_pauses_that_segmentation_runs_over_are_cut() -> None:
    class Unsure(ToneSegmentation):
        """Hears the voice go on through its pauses, but is not sure of it."""

        def log_probabilities(self, samples_BT: Float32Array) -> Float32Array:
            result = super().log_probabilities(samples_BT)
            result[result[..., 0] == 0.0] = np.log([0.4, 0.6, *[1e-6] * 5]).astype(np.float32)
            return result

    samples = talk((0, 4, 0), (4.5, 9, 0), seconds=9)
    listening = Diarizer(Unsure(), ToneEmbedding()).listen()
    listening.add(samples)
    first, second = listening.turns(SpeakerOptions())
    assert first.end == pytest.approx(4, abs=0.06)
    assert second.start == pytest.approx(4.5, abs=0.06)


def test_memory_does_not_grow_with_the_samples() -> None:
    listening = Diarizer(ToneSegmentation(), ToneEmbedding()).listen()
    kept = []
    for _ in range(5):
        listening.add(DIALOGUE)
        kept.append(sum(block.nbytes for block in listening._blocks))
    assert max(kept) <= 4 * SAMPLE_RATE * (50 + 31)


def test_a_seldom_speaker_is_found_where_the_number_is_given() -> None:
    samples = talk((0.5, 20, 0), (21, 39, 1), (40, 40.9, 2), seconds=42)
    assert {name for *_, name in turns_of(samples)} == {"Speaker 1", "Speaker 2"}
    assert {name for *_, name in turns_of(samples, num_speakers=3)} == {"Speaker 1", "Speaker 2", "Speaker 3"}


def test_the_number_found_is_bounded() -> None:
    listening = Diarizer(ToneSegmentation(), ToneEmbedding()).listen()
    vectors = np.eye(MOST_SPEAKERS + 50, dtype=np.float32)
    listening._pieces = listening._passages = [
        VoicePiece(strand=place, start=200 * place, end=200 * place + 178, seconds=3.0, vector=vector)
        for place, vector in enumerate(vectors)
    ]
    assert len(set(listening.grouping(SpeakerOptions()).labels)) == MOST_SPEAKERS


def test_another_network_has_other_thresholds() -> None:
    easily_alike = replace(CAMPPLUS_LIKENESS, same_voice=-1.0)
    listening = Diarizer(ToneSegmentation(), ToneEmbedding(), easily_alike).listen()
    listening.add(DIALOGUE)
    assert {turn.speaker for turn in listening.turns(SpeakerOptions())} == {"Speaker 1"}


def test_loud_is_what_one_frame_in_ten_exceeds() -> None:
    levels = np.random.default_rng(1).normal(-40, 20, 5000).astype(np.float32)
    for length in (5000, 4097, 300, 178, 20, 1):
        found, expected = _loud(levels[:length]), percentile_filter(levels[:length], 90, size=178)
        np.testing.assert_array_equal(found, expected)


@given(cuts=st.lists(st.integers(1, 40)).map(sorted), start=st.integers(0, 50), length=st.integers(1, 20))
def test_the_pieces_of_a_strand_within_a_region(cuts: list[int], start: int, length: int) -> None:
    pieces = list(zip([0, *cuts], [*cuts, 1 << 40], range(len(cuts) + 1), strict=True))
    region = Region(start=start, end=start + length, activity={})
    found = [piece for piece in _within(region, pieces) if piece[0] < piece[1]]
    assert found == [(a, b, place) for a, b, place in pieces if max(a, start) < min(b, start + length)]
