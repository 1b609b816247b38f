"""Measures of what was generated, against values known by hand and slow statements of the definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mtasr.edit_distance import ErrorCount
from mtasr.generative.metrics import (
    area_over_temperatures,
    auto_bleu2,
    heard_errors,
    mel_distance,
    recurring,
    self_bleu2,
    si_snr,
    vert,
    voice_similarity,
)


def slow_self_bleu2(sequences: Sequence[Sequence[int]]) -> float:
    scores = []
    for owner, mine in enumerate(sequences):
        others = [each for number, each in enumerate(sequences) if number != owner]
        precisions = []
        for size in (1, 2):
            grams = [tuple(mine[place : place + size]) for place in range(len(mine) - size + 1)]
            matched = 0
            for gram in set(grams):
                counts = [
                    sum(tuple(other[place : place + size]) == gram for place in range(len(other) - size + 1))
                    for other in others
                ]
                matched += min(grams.count(gram), max(counts))
            precisions.append(matched / len(grams) if grams else 0)
        scores.append(math.sqrt(precisions[0] * precisions[1]))
    return sum(scores) / len(scores)


def slow_recurring(mine: Sequence[int], size: int) -> float:
    again = 0
    for place in range(len(mine) - size + 1):
        left, right = mine[:place], mine[place + size :]
        rest = [part[first : first + size] for part in (left, right) for first in range(len(part) - size + 1)]
        again += mine[place : place + size] in rest
    return again / (len(mine) - size + 1) if len(mine) >= size else 0


def test_vert_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    for kinds in (1, 2, 4, 20):
        sequences = [rng.integers(0, kinds, int(rng.integers(0, 15))).tolist() for _ in range(6)]
        assert self_bleu2(sequences) == pytest.approx(slow_self_bleu2(sequences))
        for size in (1, 2, 3):
            for each in sequences:
                assert recurring(each, size) == pytest.approx(slow_recurring(each, size))
        expected = np.mean([math.sqrt(slow_recurring(each, 1) * slow_recurring(each, 2)) for each in sequences])
        assert auto_bleu2(sequences) == pytest.approx(expected)
        assert vert(sequences) == pytest.approx(math.sqrt(expected * slow_self_bleu2(sequences)))


def test_vert_by_hand() -> None:
    words = [["a", "b", "a", "b"], ["c", "d", "c", "d"]]
    assert auto_bleu2(words) == pytest.approx(math.sqrt(2 / 3)), "of three pairs, the first and the last recur"
    assert self_bleu2(words) == 0
    assert vert([["a", "b"] * 4] * 2) == pytest.approx(1)
    assert recurring("aaa", 2) == 0, "what overlaps is no second one"
    for measure, given in ((self_bleu2, [["a"]]), (auto_bleu2, [])):
        with pytest.raises(ValueError, match="sequence"):
            measure(given)


def test_the_area_over_temperatures() -> None:
    assert area_over_temperatures([(3, 1), (1, 1), (2, 0)]) == 1
    with pytest.raises(ValueError, match="two points"):
        area_over_temperatures([(1, 1)])


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, 16000).astype(np.float32)


def test_si_snr() -> None:
    clean, other = noise(0).astype(np.float64), noise(1).astype(np.float64)
    clean -= clean.mean()
    other -= other.mean() + (other - other.mean()) @ clean / (clean @ clean) * clean
    other *= np.linalg.norm(clean) / np.linalg.norm(other)
    for level in (-20, 0, 30):
        mixed = 0.3 * (clean + 10 ** (-level / 20) * other) + 0.1
        assert si_snr(clean.astype(np.float32), mixed.astype(np.float32)) == pytest.approx(level, abs=0.01)
    assert si_snr(clean.astype(np.float32), (0.5 * clean).astype(np.float32)) > 100
    assert si_snr(noise(0), np.zeros(16000, np.float32)) == -math.inf
    for wrong in (np.zeros(16000, np.float32), noise(0)[:-1]):
        with pytest.raises(ValueError, match=r"silent|one shape"):
            si_snr(wrong, noise(0))


def test_mel_distance() -> None:
    assert mel_distance(noise(0), noise(0)) == 0
    assert mel_distance(noise(0), (0.1 * noise(0)).astype(np.float32)) == pytest.approx(math.log(10), rel=1e-3)
    assert mel_distance(noise(0), noise(1)) == pytest.approx(mel_distance(noise(1), noise(0)))
    assert mel_distance(noise(0), noise(0)[::-1].copy()) < mel_distance(noise(0), np.zeros(16000, np.float32))
    with pytest.raises(ValueError, match="400 samples or more"):
        mel_distance(noise(0)[:300], noise(0)[:300])


class _Voices:
    """A voice is the mean and the loudness of a clip."""

    def embed(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([[clip.mean(), np.abs(clip).mean()] for clip in clips], np.float32)


def test_voice_similarity_is_a_cosine() -> None:
    up, loud = np.full(100, 0.5, np.float32), np.tile(np.float32([1, -1]), 50)
    assert voice_similarity(_Voices(), up, 0.5 * up) == pytest.approx(1)
    assert voice_similarity(_Voices(), up, loud) == pytest.approx(math.sqrt(0.5))


class _Recogniser:
    def transcribe(self, source: str, language: str) -> _Recogniser:
        self.text = {"a.wav": "The cat sat.", "b.wav": "on a mat"}[source]
        assert language == "en"
        return self


def test_errors_of_a_recogniser_are_summed_over_recordings() -> None:
    found = heard_errors(_Recogniser(), [("a.wav", "the cat sat"), ("b.wav", "On the mat!")])  # type: ignore[arg-type]
    assert found == ErrorCount(errors=1, length=6)
    assert found.rate == pytest.approx(1 / 6)
