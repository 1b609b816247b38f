from __future__ import annotations

import numpy as np
import pytest
from speaker_networks import embedding_arrays, embedding_reference

from mtasr.errors import ModelIntegrityError
from mtasr.speakers.networks.embedding import DIMENSIONS, Embedding
from mtasr.speakers.networks.voice_features import SHORTEST, voice_features


@pytest.fixture(scope="module")
def embedding() -> Embedding:
    return Embedding.from_arrays(embedding_arrays())


def clip(samples: int, seed: int = 5) -> np.ndarray:
    """Noise whose loudness and colour change."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 0.1, samples)
    noise[1:] += np.linspace(-0.9, 0.9, samples - 1) * noise[:-1]
    return (noise * np.linspace(0.2, 1.0, samples)).astype(np.float32)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


# Frames (before the first convolution over time halves them): 28, 148, 149, 398, and just three.
@pytest.mark.parametrize("samples", [4800, 24_000, 24_100, 64_000, SHORTEST])
def test_the_vector_is_that_of_the_network_in_torch(embedding: Embedding, samples: int) -> None:
    reference = embedding_reference(embedding_arrays(), voice_features(clip(samples)))
    ours = embedding.embed([clip(samples)])
    assert ours.shape == (1, DIMENSIONS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours[0], reference, atol=2e-4 * np.abs(reference).max())
    assert cosine(ours[0].astype(np.float64), reference) > 1 - 1e-8


def test_a_clip_does_not_depend_on_its_neighbours(embedding: Embedding) -> None:
    clips = [clip(samples, seed) for seed, samples in enumerate([24_000, 5000, 24_000, 48_000, 24_000])]
    together = embedding.embed(clips)
    np.testing.assert_array_equal(embedding.embed(clips[::-1])[::-1], together)
    for index, samples in enumerate(clips):
        np.testing.assert_array_equal(embedding.embed([samples])[0], together[index])


def test_clips_stay_as_they_were(embedding: Embedding) -> None:
    samples = clip(8000)
    before = samples.copy()
    embedding.embed([samples])
    np.testing.assert_array_equal(samples, before)


def test_silence_gives_finite_values(embedding: Embedding) -> None:
    assert np.isfinite(embedding.embed([np.zeros(8000, np.float32)])).all()


def test_no_clip_gives_no_vector(embedding: Embedding) -> None:
    assert embedding.embed([]).shape == (0, DIMENSIONS)


def test_a_clip_that_is_too_short_is_refused(embedding: Embedding) -> None:
    with pytest.raises(ValueError, match=str(SHORTEST)):
        embedding.embed([clip(SHORTEST - 1)])


def test_a_normalisation_with_the_factor_0_gives_a_constant() -> None:
    arrays = embedding_arrays()
    arrays["xvector.block1.tdnnd1.nonlinear1.batchnorm.weight"][:64] = 0
    reference = embedding_reference(arrays, voice_features(clip(8000)))
    ours = Embedding.from_arrays(arrays).embed([clip(8000)])[0]
    np.testing.assert_allclose(ours, reference, atol=2e-4 * np.abs(reference).max())


def test_missing_arrays_are_named() -> None:
    arrays = embedding_arrays()
    del arrays["head.conv2.weight"]
    with pytest.raises(ModelIntegrityError, match=r"1 arrays are missing: head.conv2.weight"):
        Embedding.from_arrays(arrays)


def test_another_size_of_the_vector_is_refused() -> None:
    arrays = embedding_arrays()
    arrays["xvector.dense.linear.weight"] = np.zeros((512, 1024, 1), np.float32)
    with pytest.raises(ModelIntegrityError, match=r"\(512, 1024, 1\) instead of \(192, 1024, 1\)"):
        Embedding.from_arrays(arrays)


def test_a_negative_variance_is_refused() -> None:
    arrays = embedding_arrays()
    arrays["head.bn2.running_var"][3] = -1
    with pytest.raises(ModelIntegrityError, match=r"head.bn2.running_var has a negative variance"):
        Embedding.from_arrays(arrays)
