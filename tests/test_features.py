"""The front end against a slow one written from the definition, in float64 and without an FFT."""

import math
from functools import cache

import numpy as np
import pytest
from speech import speak

from mtasr.features import CHUNK_SECONDS, HOP_LENGTH, N_FRAMES, log_mel, mel_filters

RATE = 16_000


def slaney_mel(hertz: float) -> float:
    return 3 * hertz / 200 if hertz <= 1000 else 15 + 27 * math.log(hertz / 1000, 6.4)


def slaney_hertz(mel: float) -> float:
    return 200 * mel / 3 if mel <= 15 else 1000 * 6.4 ** ((mel - 15) / 27)


@cache
def reference_filters(n_mels: int) -> np.ndarray:
    """One weight at a time: where on which side of which triangle does this frequency lie?"""
    edges = [slaney_hertz(slaney_mel(8000.0) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    weights = np.zeros((n_mels, 201))
    for band in range(n_mels):
        left, top, right = edges[band : band + 3]
        for k in range(201):
            hertz = k * RATE / 400
            if left < hertz <= top:
                height = (hertz - left) / (top - left)
            elif top < hertz < right:
                height = 1 - (hertz - top) / (right - top)
            else:
                continue
            weights[band, k] = height / ((right - left) / 2)
    return weights


def reference_log_mel(samples: np.ndarray, n_mels: int) -> np.ndarray:
    x = samples.astype(np.float64)
    n = np.arange(400)
    hann = np.sin(np.pi * n / 400) ** 2
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400)
    period = max(1, 2 * (len(x) - 1))
    # Reflection at both ends is a triangle wave of positions.
    positions = (np.arange(len(x) // 160)[:, None] * 160 - 200 + n) % period
    positions = np.minimum(positions, period - positions)
    power = np.abs(fourier @ (x[positions] * hann).T) ** 2
    logs = np.log10(np.maximum(reference_filters(n_mels) @ power, 1e-10))
    return (np.maximum(logs, logs.max() - 8) + 4) / 4


@cache
def signals() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    seconds = np.arange(RATE) / RATE
    return {
        "noise": rng.standard_normal(RATE) * 0.1,
        "faint": rng.standard_normal(RATE) * 1e-4,
        "tone": 0.5 * np.sin(2 * np.pi * 1000 * seconds),
        "between bins": 0.5 * np.sin(2 * np.pi * 3217.3 * seconds),
        "clipped": np.clip(4 * np.sin(2 * np.pi * 250 * seconds), -1, 1),
        "click": np.eye(1, RATE, 9000)[0],
        "silence": np.zeros(RATE),
        "constant": np.full(RATE, 0.25),
        "speech": speak("Nobody knows."),
    }


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize(
    "name", ["noise", "faint", "tone", "between bins", "clipped", "click", "silence", "constant", "speech"]
)
def test_agrees_with_the_definition(name, n_mels):
    samples = signals()[name].astype(np.float32)
    mel = log_mel(samples, n_mels)
    assert mel.dtype == np.float32
    assert mel.shape == (n_mels, len(samples) // HOP_LENGTH)
    assert np.abs(mel - reference_log_mel(samples, n_mels)).max() < 1e-4


@pytest.mark.parametrize("length", [160, 161, 199, 200, 201, 202, 319, 320, 400, 401, 41_123])
def test_any_length_agrees_with_the_definition(length):
    samples = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    mel = log_mel(samples)
    assert mel.shape == (80, length // 160)
    assert np.abs(mel - reference_log_mel(samples, 80)).max() < 1e-4


@pytest.mark.parametrize("length", [0, 1, 159])
def test_less_than_a_frame_gives_no_frames(length):
    assert log_mel(np.ones(length, np.float32), 128).shape == (128, 0)


def test_thirty_seconds_fill_the_encoder():
    assert log_mel(np.zeros(CHUNK_SECONDS * RATE, np.float32)).shape == (80, N_FRAMES) == (80, 3000)


def test_silence_has_a_known_value():
    # log10(1e-10) = -10, and (-10 + 4) / 4 = -1.5
    assert log_mel(np.zeros(RATE, np.float32)) == pytest.approx(-1.5, abs=1e-6)


def test_a_tone_lights_up_its_band():
    samples = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    expected = round(slaney_mel(440) / slaney_mel(8000) * 81) - 1
    assert set(log_mel(samples)[:, 10:-10].argmax(axis=0)) == {expected}


def test_range_is_eight_decades_below_the_loudest():
    samples = np.concatenate([np.zeros(RATE), np.random.default_rng(0).standard_normal(RATE)]).astype(np.float32)
    mel = log_mel(samples)
    assert mel.max() - mel.min() == pytest.approx(2.0, abs=1e-5)


def test_leaves_its_input_alone():
    samples = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    samples.flags.writeable = False
    before = samples.copy()
    log_mel(samples)
    assert np.array_equal(samples, before)


def test_takes_strided_and_double_input():
    samples = np.random.default_rng(0).standard_normal(2 * RATE)
    assert np.allclose(log_mel(samples[::2]), log_mel(samples[::2].astype(np.float32)), atol=1e-5)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_follow_the_definition_and_are_shared(n_mels):
    filters = mel_filters(n_mels)
    assert np.abs(filters - reference_filters(n_mels)).max() < 1e-8
    assert filters is mel_filters(n_mels)
    assert not filters.flags.writeable


def test_refuses_what_is_not_mono():
    with pytest.raises(ValueError, match="mono"):
        log_mel(np.zeros((2, RATE), np.float32))
    with pytest.raises(ValueError, match="n_mels"):
        log_mel(np.zeros(RATE, np.float32), 0)
