from __future__ import annotations

import numpy as np
import pytest

from mtasr.kaldi_features import FRAME_LENGTH, FRAME_STEP, filter_banks

RATE = 16_000
N_BANDS = 80


def sweep() -> np.ndarray:
    """A rising tone, a steady one and a constant, for an eighth of a second."""
    time = np.arange(2000) / RATE
    rising = 0.3 * np.sin(2 * np.pi * (200 * time + 12_000 * time**2))
    return (rising + 0.1 * np.cos(2 * np.pi * 440 * time) + 0.05).astype(np.float32)


def test_values_are_kaldis() -> None:
    # Every eighth band of the first and the last frame by kaldi-native-fbank 1.23 without dither.
    first = [-7.0927, -2.6401, 2.3961, -3.6077, -12.1073, -15.9274, -15.9424, -15.9424, -15.9424, -15.9424]
    last = [-11.4298, -11.7043, -3.3665, -14.0049, -14.4932, -11.7181, 0.4201, -4.8294, -14.1816, -15.9424]
    features = filter_banks(sweep(), N_BANDS)
    assert features.shape == (11, N_BANDS)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[[0, -1], ::8], [first, last], atol=1e-3)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (48_000, 298)])
def test_only_whole_frames_count(samples: int, frames: int) -> None:
    assert len(filter_banks(np.zeros(samples, np.float32), N_BANDS)) == frames


def test_silence_and_a_constant_are_at_the_floor() -> None:
    for level in (0.0, 0.5):
        np.testing.assert_allclose(filter_banks(np.full(800, level, np.float32), N_BANDS), np.log(2.0**-23), rtol=1e-6)


def test_a_frame_depends_on_its_own_samples_alone() -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 200 * FRAME_STEP).astype(np.float32)
    features = filter_banks(samples, N_BANDS)
    for index in (0, 127, 128, 150):
        alone = filter_banks(samples[index * FRAME_STEP : index * FRAME_STEP + FRAME_LENGTH], N_BANDS)
        np.testing.assert_allclose(alone[0], features[index], atol=1e-4)


def test_samples_of_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="mono"):
        filter_banks(np.zeros((2, 800), np.float32), N_BANDS)
