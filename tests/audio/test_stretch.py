"""Sound at a speed near 1: what it is made of, and in how many samples."""

from __future__ import annotations

import numpy as np
import pytest

from mtasr.audio.stretch import Stretch
from mtasr.spans import SAMPLE_RATE


def sine(pitch: float, count: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * pitch / SAMPLE_RATE * np.arange(count))).astype(np.float32)


def played(samples: np.ndarray, speed: float, piece: int) -> np.ndarray:
    stretch = Stretch(np.zeros(0, np.float32))
    parts = [stretch.push(samples[at : at + piece], speed) for at in range(0, len(samples), piece)]
    return np.concatenate([*parts, stretch.flush(np.zeros(0, np.float32))])


@pytest.mark.parametrize("speed", [0.95, 0.97, 0.999, 1.001, 1.03, 1.05])
@pytest.mark.parametrize("pitch", [100, 1000, 6000])
def test_a_tone_keeps_its_loudness_and_changes_its_pitch(speed: float, pitch: int) -> None:
    samples = played(sine(pitch, SAMPLE_RATE), speed, 320)
    assert len(samples) == pytest.approx(SAMPLE_RATE / speed, abs=2)
    expected = sine(pitch * speed, len(samples))
    assert np.abs(samples - expected)[50:-50].max() < 0.01


def test_at_its_own_speed_nothing_changes() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    assert np.abs(played(noise, 1.0, 160) - noise).max() < 1e-6


@pytest.mark.parametrize("piece", [1, 7, 160, 4096])
def test_pieces_of_any_length_give_the_same(piece: int) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    assert np.allclose(played(noise, 0.97, piece), played(noise, 0.97, 5000), atol=1e-3)


def test_it_begins_and_ends_without_a_step() -> None:
    tone = sine(440, 3000)
    stretch = Stretch(tone[:1000])
    middle = np.concatenate([stretch.push(tone[1000:2000], 0.99), stretch.flush(tone[2000:])])
    whole = np.concatenate([tone[:1000], middle, tone[2000:]])
    assert np.abs(np.diff(whole)).max() < 1.2 * np.abs(np.diff(tone)).max()
    assert len(middle) == pytest.approx(1000 / 0.99, abs=2)
