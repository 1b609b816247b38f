"""What WavLM hears: other crops or noise over some of the audio, as loud as said, and never itself."""

from __future__ import annotations

import numpy as np
import pytest

from mtasr.pretraining.audio.mixing import Mixing


def crops(rows: int = 4, samples: int = 1000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (rows, samples)).astype(np.float32)


def added(audio: np.ndarray, mixing: Mixing, seed: int = 0) -> np.ndarray:
    return mixing.mixed(audio, np.random.default_rng(seed)) - audio


def test_what_is_added_is_a_piece_of_another_crop_at_the_level_asked_for() -> None:
    audio = crops(samples=200) * np.array([[1], [2], [0.5], [3]], np.float32)
    mixing = Mixing(share=1.0, speech_decibels=(3.0, 3.0))
    for seed in range(6):
        for row, extra in enumerate(added(audio, mixing, seed)):
            (places,) = extra.nonzero()
            start, length = places[0], places[-1] + 1 - places[0]
            assert length <= 100
            piece = extra[start : start + length]
            found = [
                (other, offset)
                for other in range(4)
                for offset in range(200 - length + 1)
                if length > 3 and np.corrcoef(piece, audio[other, offset : offset + length])[0, 1] > 0.99999
            ]
            if length <= 3:
                continue
            ((other, offset),) = found
            assert other != row
            factor = (piece / audio[other, offset : offset + length]).mean()
            louder = 10 * np.log10(np.square(audio[row]).mean() / np.square(factor * audio[other]).mean())
            assert louder == pytest.approx(3, abs=0.01)


def test_the_audio_given_stays_as_it_was() -> None:
    audio = crops()
    before = audio.copy()
    mixed = Mixing(share=1.0).mixed(audio, np.random.default_rng(0))
    np.testing.assert_array_equal(audio, before)
    assert mixed.dtype == np.float32


def test_a_share_of_crops_is_mixed() -> None:
    audio = crops(2000, 10)
    changed = added(audio, Mixing(share=0.2)).any(axis=1)
    assert changed.mean() == pytest.approx(0.2, abs=0.03)
    assert not added(audio, Mixing(share=0.0)).any()


def test_pieces_are_as_often_at_the_beginning_as_at_the_end() -> None:
    touched = added(crops(4000, 20), Mixing(share=1.0)) != 0
    assert touched.sum(axis=1).max() == 10
    shares = touched.mean(axis=0)
    np.testing.assert_allclose(shares, shares[::-1], atol=0.04)


def test_noise_takes_its_share_and_its_own_range_of_levels() -> None:
    def noise(samples: int, rng: np.random.Generator) -> np.ndarray:
        return np.ones(samples, np.float32)

    audio = crops(2000, 10)
    mixing = Mixing(share=1.0, noise_share=0.25, noise=noise, noise_decibels=(20.0, 20.0))
    extra = added(audio, mixing)
    noisy = [row for row in range(2000) if len(np.unique(np.round(extra[row][extra[row] != 0], 5))) == 1]
    several = [row for row in range(2000) if (extra[row] != 0).sum() > 1]
    assert len(set(noisy) & set(several)) / len(several) == pytest.approx(0.25, abs=0.04)
    for row in set(noisy) & set(several):
        level = np.abs(extra[row]).max()
        assert 10 * np.log10(np.square(audio[row]).mean() / level**2) == pytest.approx(20, abs=0.2)


def test_alone_in_a_batch_there_is_only_noise() -> None:
    assert not added(crops(1), Mixing(share=1.0)).any()
    assert added(crops(1), Mixing(share=1.0, noise_share=1.0, noise=lambda n, rng: np.ones(n, np.float32))).any()


def test_silence_is_neither_mixed_in_nor_drowned() -> None:
    audio = crops(2)
    audio[1] = 0
    for seed in range(5):
        extra = added(audio, Mixing(share=1.0), seed)
        assert not extra.any()
        assert np.isfinite(extra).all()


def test_the_same_chance_gives_the_same_audio() -> None:
    np.testing.assert_array_equal(added(crops(), Mixing(share=0.5), 7), added(crops(), Mixing(share=0.5), 7))
