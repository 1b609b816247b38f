"""Bytes of any kind become samples of 16 kHz, without a trace of how they were cut."""

from __future__ import annotations

import numpy as np
import pytest

from mtasr.arrays import Float32Array
from mtasr.server.live.sound import ENCODINGS, RATES, LiveSound, Resampler, SoundReader


def cut(samples: Float32Array, rate: int) -> Float32Array:
    """Resampled in blocks of any size."""
    resampler, chooser = Resampler(rate), np.random.default_rng(3)
    found, start = [], 0
    while start < len(samples):
        size = int(chooser.integers(0, 2000))
        found.append(resampler.add(samples[start : start + size]))
        start += size
    return np.concatenate([*found, resampler.rest()])


@pytest.mark.parametrize("rate", [each for each in RATES if each != 16_000])
def test_a_tone_stays_that_tone_however_it_is_cut(rate: int) -> None:
    frequency = 0.4 * min(rate, 16_000)
    tone = np.sin(2 * np.pi * frequency * np.arange(rate // 2) / rate).astype(np.float32)
    found = cut(tone, rate)
    assert len(found) == 8000
    expected = np.sin(2 * np.pi * frequency * np.arange(8000) / 16_000)
    assert np.abs(found - expected)[200:-200].max() < 1e-4
    whole = Resampler(rate)
    assert np.array_equal(found, np.concatenate([whole.add(tone), whole.rest()]))


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000, 96_000])
def test_what_16_khz_cannot_hold_is_gone(rate: int) -> None:
    tone = np.sin(2 * np.pi * 9000 * np.arange(rate // 4) / rate).astype(np.float32)
    assert np.abs(cut(tone, rate)[200:-200]).max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_short_sounds_keep_their_length(rate: int, count: int) -> None:
    reader = SoundReader(LiveSound(rate=rate))
    found = np.concatenate([reader.add(bytes(2 * count)), reader.rest()])
    assert len(found) == -(-count * 16_000 // rate)


def test_g711_gives_the_values_of_its_tables() -> None:
    # The decision values of ITU-T G.711, in steps of 16 bits.
    mu_law = LiveSound(encoding="mulaw", rate=8000).decoded(bytes([0x00, 0x7F, 0x80, 0xFF, 0x0F, 0x8F, 0xF0])) * 32768
    assert mu_law.tolist() == [-32124, 0, 32124, 0, -16764, 16764, 120]
    a_law = LiveSound(encoding="alaw", rate=8000).decoded(bytes([0x2A, 0xAA, 0x55, 0xD5, 0x54, 0xC5])) * 32768
    assert a_law.tolist() == [-32256, 32256, -8, 8, -24, 264]


def test_every_encoding_has_its_width() -> None:
    for name, width in ENCODINGS.items():
        assert len(LiveSound(encoding=name).decoded(bytes(width * 5))) == 5
    halves = np.array([0.5, -0.25], "<f4").tobytes()
    assert LiveSound(encoding="pcm_f32le").decoded(halves).tolist() == [0.5, -0.25]
    assert LiveSound().decoded(b"\x00\x40\x00\x80").tolist() == [0.5, -1.0]
