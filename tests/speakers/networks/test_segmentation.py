from __future__ import annotations

import numpy as np
import pytest
from speaker_networks import activity, frame_centres, local_speakers, segmentation_arrays, segmentation_reference

from mtasr.errors import ModelIntegrityError
from mtasr.speakers.networks.segmentation import (
    FRAME_STEP,
    POWERSET,
    RECEPTIVE_FIELD,
    WINDOW,
    Segmentation,
    frame_count,
)

RATE = 16_000


@pytest.fixture(scope="module")
def segmentation() -> Segmentation:
    return Segmentation.from_arrays(segmentation_arrays())


def windows(count: int, length: int = WINDOW) -> np.ndarray:
    """Noise whose loudness changes every half second, with a silent stretch."""
    random = np.random.default_rng(11)
    loudness = np.repeat(random.uniform(0.0, 0.3, (count, 20)), RATE // 2, axis=1)[:, :length]
    loudness[:, RATE : 2 * RATE] = 0
    return (loudness * random.normal(0, 1, (count, length))).astype(np.float32)


@pytest.mark.slow
def test_log_probabilities_are_those_of_the_network_in_torch(segmentation: Segmentation) -> None:
    samples = windows(3)
    ours = segmentation.log_probabilities(samples)
    assert ours.shape == (3, 589, 7)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, segmentation_reference(segmentation_arrays(), samples), atol=2e-4)


@pytest.mark.slow
def test_a_window_does_not_depend_on_its_neighbours(segmentation: Segmentation) -> None:
    samples = windows(18)
    together = segmentation.log_probabilities(samples)
    for index in (0, 15, 17):
        alone = segmentation.log_probabilities(samples[index : index + 1])
        np.testing.assert_array_equal(alone[0], together[index])


@pytest.mark.slow
def test_a_shorter_window_is_padded_with_silence(segmentation: Segmentation) -> None:
    samples = windows(1)
    samples[:, 4 * RATE :] = 0
    short = segmentation.log_probabilities(samples[:, : 4 * RATE])
    assert short.shape == (1, frame_count(4 * RATE), 7)
    np.testing.assert_array_equal(short, segmentation.log_probabilities(samples)[:, : short.shape[1]])


def test_activity_is_that_of_the_likeliest_class(segmentation: Segmentation) -> None:
    samples = windows(1)
    speaking = activity(segmentation, samples)
    assert speaking.shape == (1, 589, 3)
    assert speaking.dtype == np.bool_
    np.testing.assert_array_equal(speaking, local_speakers(segmentation.log_probabilities(samples)))


def test_classes_are_sets_of_at_most_two_voices() -> None:
    assert POWERSET.astype(int).tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [1, 1, 0],
        [1, 0, 1],
        [0, 1, 1],
    ]
    likeliest = np.eye(7, dtype=np.float32)[None, [5, 0, 3]]
    assert local_speakers(likeliest).astype(int).tolist() == [[[1, 0, 1], [0, 0, 0], [0, 0, 1]]]


def test_times_of_frames() -> None:
    assert frame_count(WINDOW) == 589
    assert [frame_count(samples) for samples in (0, 990, 991, 1260, 1261)] == [0, 0, 1, 1, 2]
    # The published frames last 61.9375 ms, start at 0 and then every 16.875 ms.
    np.testing.assert_allclose(frame_centres(3), [0.0309375, 0.0478125, 0.0646875])


@pytest.mark.slow
def test_a_sound_changes_the_frames_around_it_most(segmentation: Segmentation) -> None:
    # The normalisations and the LSTM look further, so the network is asked for its first features.
    silence = np.zeros(WINDOW, np.float32)
    click = silence.copy()
    place = 80_000
    click[place] = 1.0
    changed = np.abs(segmentation._features(click) - segmentation._features(silence)).max(axis=1)
    nearest = int(np.argmin(np.abs(frame_centres(589) * RATE - place)))
    far = np.abs(np.arange(589) - nearest) * FRAME_STEP > RECEPTIVE_FIELD
    assert np.ptp(changed[far]) < 1e-3 * changed.max()
    assert changed[nearest] > changed[far].max()


def test_a_window_that_is_too_long_is_refused(segmentation: Segmentation) -> None:
    with pytest.raises(ValueError, match="160000"):
        activity(segmentation, np.zeros((1, WINDOW + 1), np.float32))


def test_no_window_gives_no_frames(segmentation: Segmentation) -> None:
    assert activity(segmentation, np.zeros((0, WINDOW), np.float32)).shape == (0, 589, 3)


def test_all_missing_arrays_are_counted() -> None:
    arrays = segmentation_arrays()
    for name in ("lstm.weight_hh_l3_reverse", "classifier.bias"):
        del arrays[name]
    with pytest.raises(ModelIntegrityError, match=r"2 arrays are missing: lstm.weight_hh_l3_reverse, classifier.bias"):
        Segmentation.from_arrays(arrays)


def test_another_shape_is_refused() -> None:
    arrays = segmentation_arrays()
    arrays["classifier.weight"] = arrays["classifier.weight"][:4]
    with pytest.raises(ModelIntegrityError, match=r"classifier.weight \(4, 128\) instead of \(7, 128\)"):
        Segmentation.from_arrays(arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    arrays = segmentation_arrays()
    arrays["linear.1.bias"][5] = value
    with pytest.raises(ModelIntegrityError, match=r"damaged: linear.1.bias"):
        Segmentation.from_arrays(arrays)


def test_integers_are_refused() -> None:
    arrays = segmentation_arrays() | {"linear.1.bias": np.zeros(128, np.int64)}
    with pytest.raises(ModelIntegrityError, match=r"damaged: linear.1.bias"):
        Segmentation.from_arrays(arrays)
