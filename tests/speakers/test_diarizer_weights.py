"""The diarizer with the published networks, on dialogues of synthetic voices."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from speech import speak

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.diarizer import Diarizer
from mtasr.speakers.networks.embedding import Embedding
from mtasr.speakers.networks.segmentation import Segmentation
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Turn

pytestmark = pytest.mark.weights

_SENTENCES = (
    "The morning train to the coast leaves at seven and arrives a little after ten.",
    "We should ask the gardener about the apple trees behind the old house.",
    "My sister paints boats in the harbour when the weather is calm.",
    "Nobody remembered to close the windows before the storm came in.",
    "The bakery on the corner sells warm bread until late in the evening.",
    "He carried the heavy box upstairs without saying a single word.",
)
_MAN, _WOMAN = ("en-us+m3", 30), ("en-us+f3", 80)
_PAUSE = 0.6

Voice = tuple[str, int]
Networks = tuple[Segmentation, Embedding]


def dialogue(voices: list[Voice], *, overlap: float = 0.0) -> tuple[Float32Array, list[tuple[float, float, Voice]]]:
    """Each voice says a sentence; each begins so many seconds before the last one ends, or after a pause."""
    spoken = [speak(text, name, pitch=pitch) for text, (name, pitch) in zip(_SENTENCES, voices, strict=False)]
    starts = [SAMPLE_RATE // 2]
    for clip in spoken[:-1]:
        starts.append(starts[-1] + len(clip) + int((-overlap if overlap else _PAUSE) * SAMPLE_RATE))
    samples = np.random.default_rng(0).normal(0, 1e-4, starts[-1] + len(spoken[-1]) + SAMPLE_RATE).astype(np.float32)
    for start, clip in zip(starts, spoken, strict=True):
        samples[start : start + len(clip)] += clip
    times = [
        (start / SAMPLE_RATE, (start + len(clip)) / SAMPLE_RATE, voice)
        for start, clip, voice in zip(starts, spoken, voices, strict=True)
    ]
    return samples, times


def turns_of(networks: Networks, samples: Float32Array, block: int = SAMPLE_RATE, **options: object) -> list[Turn]:
    listening = Diarizer(*networks).listen()
    for start in range(0, len(samples), block):
        listening.add(samples[start : start + block])
    return list(listening.turns(SpeakerOptions(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [None, 2])
def test_a_man_and_a_woman_take_turns(speaker_models: Networks, number: int | None) -> None:
    samples, times = dialogue([_MAN, _WOMAN] * 3)
    turns = turns_of(speaker_models, samples, num_speakers=number)
    assert [turn.speaker for turn in turns] == ["Speaker 1", "Speaker 2"] * 3
    for turn, (start, end, _) in zip(turns, times, strict=True):
        assert (turn.start, turn.end) == (pytest.approx(start, abs=0.15), pytest.approx(end, abs=0.15))
        assert turn.confidence > 0.8


def test_two_men_who_sound_alike(speaker_models: Networks) -> None:
    """More than one person sometimes does in two rooms, so no threshold of similarity tells them apart."""
    men = [("en-us+m1", 30), ("en-us+m8", 75)]
    samples = np.concatenate([dialogue(men * 3)[0], dialogue(men[::-1] * 3)[0]])
    names = [turn.speaker for turn in turns_of(speaker_models, samples)]
    assert names == ["Speaker 1", "Speaker 2"] * 3 + ["Speaker 2", "Speaker 1"] * 3


@pytest.mark.parametrize("voice", [_MAN, _WOMAN])
def test_one_voice_is_one_speaker(speaker_models: Networks, voice: Voice) -> None:
    samples, _ = dialogue([voice] * 6)
    assert {turn.speaker for turn in turns_of(speaker_models, samples)} == {"Speaker 1"}


def test_who_speaks_at_the_same_time(speaker_models: Networks) -> None:
    samples, _ = dialogue([_MAN, _WOMAN] * 2, overlap=1.0)
    turns = turns_of(speaker_models, samples)
    assert {turn.speaker for turn in turns} == {"Speaker 1", "Speaker 2"}
    together = sum(max(0.0, one.end - two.start) for one, two in pairwise(turns) if one.speaker != two.speaker)
    assert together == pytest.approx(3.0, abs=1.2)


def test_the_blocks_of_samples_do_not_matter(speaker_models: Networks) -> None:
    samples, _ = dialogue([_MAN, _WOMAN, _MAN])
    assert turns_of(speaker_models, samples, 4001) == turns_of(speaker_models, samples, len(samples))


def test_noise_is_nobody(speaker_models: Networks) -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, 12 * SAMPLE_RATE).astype(np.float32)
    assert turns_of(speaker_models, noise) == []
