"""MFCCs and their differences, against kaldi-native-fbank."""

from __future__ import annotations

import kaldi_native_fbank as kaldi
import numpy as np
import pytest
import torch
from speech import speak

from mtasr.errors import ModelError
from mtasr.kaldi_features import COEFFICIENTS, deltas, mfcc, mfcc_with_deltas
from mtasr.networks.mfcc import MfccEncoder
from mtasr.networks.speech_encoder import SpeechEncoder

_NO_FRAMES, _ONE_FRAME = 399, 400


def kaldis(samples: np.ndarray) -> np.ndarray:
    options = kaldi.MfccOptions()
    options.frame_opts.dither = 0
    options.use_energy = False
    computer = kaldi.OnlineMfcc(options)
    computer.accept_waveform(16_000, samples)
    computer.input_finished()
    return np.stack([computer.get_frame(index) for index in range(computer.num_frames_ready)])


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    time = np.arange(8000) / 16_000
    return {
        "speech": speak("The tide comes in twice a day."),
        "noise": rng.normal(0, 0.1, 8000).astype(np.float32),
        "tone": (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32),
        "silence": np.zeros(4000, np.float32),
        "one frame": rng.normal(0, 0.1, _ONE_FRAME).astype(np.float32),
    }


@pytest.mark.parametrize("name", sounds())
def test_coefficients_are_kaldis(name: str) -> None:
    samples = sounds()[name]
    ours = mfcc(samples)
    assert ours.shape == (1 + (len(samples) - 400) // 160, COEFFICIENTS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, kaldis(samples), atol=1e-3)


def test_differences_are_a_regression_over_five_frames() -> None:
    values = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    padded = np.concatenate([values[:1]] * 2 + [values] + [values[-1:]] * 2)
    for frame in range(30):
        slope = np.polyfit(np.arange(-2, 3), padded[frame : frame + 5], 1)[0]
        np.testing.assert_allclose(deltas(values)[frame], slope, atol=1e-6)


def test_a_steady_rise_has_its_slope() -> None:
    values = np.arange(20, dtype=np.float32)[:, None] * [3.0, -1.0]
    np.testing.assert_allclose(deltas(values)[2:-2], np.tile([3.0, -1.0], (16, 1)), atol=1e-6)


def test_a_frame_has_its_coefficients_then_first_then_second_differences() -> None:
    values = mfcc(sounds()["speech"])
    together = mfcc_with_deltas(sounds()["speech"])
    assert together.shape == (len(values), 3 * COEFFICIENTS)
    np.testing.assert_array_equal(together, np.concatenate([values, deltas(values), deltas(deltas(values))], axis=1))


def test_too_little_audio_gives_no_frame() -> None:
    assert mfcc_with_deltas(np.zeros(_NO_FRAMES, np.float32)).shape == (0, 3 * COEFFICIENTS)


def test_frame_i_sees_400_samples_from_160_i_on() -> None:
    samples = np.zeros(4000, np.float32)
    samples[1600] = 0.5
    sounding = np.flatnonzero(np.abs(mfcc(samples) - mfcc(np.zeros(4000, np.float32))).max(axis=1) > 1e-3)
    assert sounding.tolist() == [8, 9, 10]


def test_as_an_encoder_they_are_the_same() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 1000)).astype(np.float32)
    encoder: SpeechEncoder = MfccEncoder()
    (states,) = encoder.states(torch.from_numpy(audio))
    assert states.shape == (2, 4, encoder.width)
    np.testing.assert_array_equal(states[1], mfcc_with_deltas(audio[1]))
    assert (encoder.layers, encoder.frame_seconds, encoder.offset_seconds) == (0, 0.01, 0.0125)


@pytest.mark.parametrize("shape", [(1, 399), (16_000,)])
def test_audio_without_a_frame_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="gives no features"):
        MfccEncoder().states(torch.zeros(shape))
