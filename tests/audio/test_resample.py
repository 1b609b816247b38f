from __future__ import annotations

import numpy as np
import pytest

from mtasr.audio.resample import Resampler

RATES = [8000, 16000, 22050, 24000, 44100, 48000]


def tone(frequency: float, rate: int, seconds: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def resampled(samples: np.ndarray[tuple[int], np.dtype[np.float32]], rate: int) -> np.ndarray:  # type: ignore[type-arg]
    resampler = Resampler(rate)
    return np.concatenate([resampler.push(samples), resampler.finish()])


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_what_it_is(rate: int) -> None:
    found = resampled(tone(1000, rate), rate)
    assert len(found) == 16000
    assert np.abs(found - tone(1000, 16000))[200:-200].max() < 1e-4


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_what_16_khz_cannot_hold_is_removed(rate: int) -> None:
    assert np.abs(resampled(tone(9000, rate), rate)[200:-200]).max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_blocks_make_no_difference(rate: int) -> None:
    samples = np.random.default_rng(1).normal(size=rate).astype(np.float32)
    resampler, parts, at = Resampler(rate), [], 0
    for length in np.random.default_rng(2).integers(0, 700, size=4 * rate // 700):
        parts.append(resampler.push(samples[at : at + length]))
        at += length
    parts += [resampler.push(samples[at:]), resampler.finish()]
    np.testing.assert_array_equal(np.concatenate(parts), resampled(samples, rate))


def test_no_sound_and_no_rate() -> None:
    assert not len(resampled(np.zeros(0, np.float32), 48000))
    with pytest.raises(ValueError, match="no sample rate"):
        Resampler(0)
