"""Units by k-means: as good as scikit-learn's, the same each time, from a bounded sample of the frames."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from speech import speak

from mtasr.errors import InputError, ModelIntegrityError, ModelNotFoundError, UsageError
from mtasr.kaldi_features import mfcc_with_deltas
from mtasr.pretraining.units import kmeans
from mtasr.pretraining.units.kmeans import FrameSample, UnitCentres, fit_centres, read_centres


def blobs(count: int = 3000, groups: int = 12, width: int = 5, seed: int = 0) -> np.ndarray:
    """Groups of different sizes, far from the origin."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(0, 3, (groups, width))
    members = rng.choice(groups, count, p=np.arange(1, groups + 1) / sum(range(1, groups + 1)))
    return (middle[members] + rng.normal(0, 1, (count, width)) + 50).astype(np.float32)


def inertia(frames: np.ndarray, centres: np.ndarray) -> float:
    distances = np.square(frames[:, None].astype(np.float64) - centres[None]).sum(axis=2)
    return float(distances.min(axis=1).mean())


@pytest.mark.parametrize("units", [4, 12, 40])
def test_distances_are_within_two_percent_of_scikit_learns(units: int) -> None:
    frames = blobs()
    peer = KMeans(units, n_init=5, random_state=0).fit(frames)
    ours = fit_centres(frames, units)
    assert inertia(frames, ours) <= 1.02 * inertia(frames, peer.cluster_centers_)


@pytest.mark.slow
def test_distances_are_within_two_percent_of_scikit_learns_on_speech() -> None:
    words = ["The tide comes in twice a day.", "Her brother mends old clocks.", "Nine ships left the bay at dawn."]
    voices = ["en-us", "en-us+m3", "en-us+f4"]
    frames = np.concatenate([mfcc_with_deltas(speak(text, voice)) for text in words for voice in voices])
    peer = MiniBatchKMeans(50, n_init=20, reassignment_ratio=0, random_state=0, batch_size=10_000).fit(frames)
    assert inertia(frames, fit_centres(frames, 50)) <= 1.02 * inertia(frames, peer.cluster_centers_)


def test_a_sample_of_many_batches_is_divided_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = blobs(6000)
    whole = inertia(frames, fit_centres(frames, 12))
    monkeypatch.setattr(kmeans, "_BATCH", 2000)
    assert inertia(frames, fit_centres(frames, 12)) <= 1.02 * whole


def test_the_same_seed_gives_the_same_centres_and_another_one_others() -> None:
    frames = blobs()
    np.testing.assert_array_equal(fit_centres(frames, 10, starts=2), fit_centres(frames, 10, starts=2))
    assert not np.array_equal(fit_centres(frames, 10, starts=2), fit_centres(frames, 10, starts=2, seed=1))


def test_torchs_own_generator_stays_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit_centres(blobs(), 3, starts=1)
    assert torch.rand(1) == expected


def test_every_centre_is_the_nearest_of_some_frame_however_often_frames_are_repeated() -> None:
    """Digital silence: one frame a thousand times, and few others."""
    frames = np.concatenate([np.zeros((1000, 3), np.float32), blobs(30, 3, 3)])
    centres = UnitCentres(centres=fit_centres(frames, 20))
    assert len(np.unique(centres.centres, axis=0)) == 20
    assert set(centres.assign(frames)) == set(range(20))


def test_as_many_units_as_different_frames() -> None:
    frames = np.repeat(np.eye(6, dtype=np.float32), [1, 2, 3, 4, 5, 60], axis=0)
    centres = fit_centres(frames, 6)
    np.testing.assert_allclose(np.sort(centres.argmax(axis=1)), np.arange(6))
    assert inertia(frames, centres) < 1e-10


def test_centres_without_a_frame_move_to_the_farthest_frames() -> None:
    rows = torch.tensor([[0.0], [0.1], [9.0], [20.0]])
    moved = kmeans._by_passes(rows, torch.tensor([[0.0], [0.0], [0.0]]))
    np.testing.assert_allclose(np.sort(moved[:, 0]), [0.05, 9, 20], atol=1e-6)


@pytest.mark.parametrize("units", [0, -1, kmeans.MOST_UNITS + 1])
def test_a_number_of_units_that_makes_no_sense_is_refused(units: int) -> None:
    with pytest.raises(UsageError, match="number of units"):
        fit_centres(blobs(), units)


def test_no_start_is_refused() -> None:
    with pytest.raises(UsageError, match="start"):
        fit_centres(blobs(), 3, starts=0)


def test_too_few_different_frames_are_refused() -> None:
    with pytest.raises(InputError, match="5 units need as many different frames"):
        fit_centres(np.repeat(np.eye(4, dtype=np.float32), 100, axis=0), 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_frames_that_are_not_finite_are_refused(bad: float) -> None:
    frames = blobs()
    frames[7, 2] = bad
    for use in (lambda: fit_centres(frames, 3), lambda: UnitCentres(centres=frames[:3]).assign(frames)):
        with pytest.raises(InputError, match="not finite"):
            use()


def test_a_frame_has_the_nearest_unit_and_the_first_of_equal_ones() -> None:
    centres = UnitCentres(centres=np.array([[0, 0], [4, 0], [4, 0]], np.float32))
    frames = np.array([[1, 0], [3, 5], [1.5, 1], [9, 9]], np.float32)
    assert centres.assign(frames).tolist() == [0, 1, 0, 1]
    assert centres.assign(frames[:0]).tolist() == []
    assert centres.inertia(frames) == pytest.approx((1 + 26 + 3.25 + 106) / 4)


def test_units_far_from_the_origin_are_told_apart() -> None:
    frames = (np.arange(8, dtype=np.float32)[:, None] * 0.01 + 3000).astype(np.float32)
    assert UnitCentres(centres=frames).assign(frames).tolist() == list(range(8))


def test_frames_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match="frames of 5 values, not 4"):
        UnitCentres(centres=blobs()[:3]).assign(blobs(width=4))


def test_a_sample_is_bounded_and_has_no_favourites() -> None:
    sample = FrameSample(most_bytes=4 * 400)
    stream = np.arange(4000, dtype=np.float32)[:, None]
    for start in range(0, 4000, 70):
        block = stream[start : start + 70]
        sample.add(block, np.ones(len(block), bool))
    frames = sample.frames()[:, 0]
    assert len(frames) == 400
    assert len(np.unique(frames)) == 400
    assert abs(frames.mean() - 2000) < 3 * 4000 / np.sqrt(12 * 400)


def test_a_sample_does_not_depend_on_how_the_stream_is_cut() -> None:
    stream, speech = blobs(1000), np.random.default_rng(1).random(1000) < 0.6
    found = []
    for step in (1, 33, 1000):
        sample = FrameSample(most_bytes=4 * 5 * 100)
        for start in range(0, 1000, step):
            sample.add(stream[start : start + step], speech[start : start + step])
        found.append(sample.frames())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize(("silence", "expected"), [(0.2, 25), (0.5, 100), (0.0, 0)])
def test_silence_is_limited(silence: float, expected: int) -> None:
    sample = FrameSample(silence=silence)
    frames = np.concatenate([np.ones((100, 2), np.float32), np.zeros((900, 2), np.float32)])
    sample.add(frames, frames[:, 0] == 1)
    kept = sample.frames()
    assert (int((kept[:, 0] == 1).sum()), int((kept[:, 0] == 0).sum())) == (100, expected)


def test_with_a_share_of_1_silence_is_as_good_as_speech() -> None:
    sample = FrameSample(silence=1.0)
    sample.add(blobs(100), np.zeros(100, bool))
    np.testing.assert_array_equal(sample.frames(), blobs(100))


def test_silence_alone_teaches_no_units() -> None:
    sample = FrameSample()
    sample.add(blobs(100), np.zeros(100, bool))
    with pytest.raises(InputError, match="no speech"):
        sample.frames()
    with pytest.raises(InputError, match="no audio"):
        FrameSample(silence=1.0).frames()
    with pytest.raises(UsageError, match="share of silence"):
        FrameSample(silence=1.5)


def test_centres_are_the_same_after_saving(tmp_path: Path) -> None:
    centres = UnitCentres(centres=blobs()[:7], encoder="facebook/hubert-base-ls960", layer=6)
    centres.save(tmp_path / "centres.npz")
    found = read_centres(tmp_path / "centres.npz")
    np.testing.assert_array_equal(found.centres, centres.centres)
    assert (found.encoder, found.layer, found.units) == ("facebook/hubert-base-ls960", 6, 7)


@pytest.mark.parametrize("order", ["C", "F"])
def test_centres_of_other_programs_are_read(tmp_path: Path, order: Any) -> None:
    centres = blobs()[:7].astype(np.float64, order=order)
    np.savez(tmp_path / "centres.npz", centres=centres)
    found = read_centres(tmp_path / "centres.npz")
    np.testing.assert_array_equal(found.centres, centres)
    assert (found.centres.dtype, found.encoder, found.layer) == (np.float32, "", 0)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"centres": np.ones((2, 2)), "other": np.ones(2)}, "other is no part of centres"),
        ({"cluster_centers": np.ones((2, 2))}, r"holds no centres; numpy.savez"),
        ({"encoder": np.array("mfcc")}, "holds no centres"),
        ({"centres": np.ones(3)}, "must be a matrix"),
        ({"centres": np.ones((0, 3))}, "must be a matrix"),
        ({"centres": np.ones((2, 2), int)}, "must be a matrix"),
        ({"centres": np.array([[1.0, np.nan]])}, "not finite"),
        ({"centres": np.array([[1e300]])}, "not finite"),
        ({"centres": np.ones((2, 2)), "encoder": np.ones(2)}, "must be a name"),
        ({"centres": np.ones((2, 2)), "layer": np.array(-1)}, "layer a number"),
        ({"centres": np.ones((2, 2)), "encoder": np.frombuffer(b"\xff\xff\xff\x7f", "<U1").reshape(())}, "no text"),
        ({"centres": np.array([[print]])}, "no array of numbers"),
    ],
)
def test_other_files_of_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], reason: str) -> None:
    np.savez(tmp_path / "centres.npz", **arrays)
    with pytest.raises(ModelIntegrityError, match=reason):
        read_centres(tmp_path / "centres.npz")


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "centres.npz"
    np.savez(path, centres=np.ones((2, 2), np.float32))
    with pytest.raises(ModelIntegrityError):
        path.write_bytes(path.read_bytes().replace(b"(2, 2)", b"(9**9)")) and read_centres(path)


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("protocol", [2, 5])
def test_models_of_scikit_learn(tmp_path: Path, kind: type[KMeans], protocol: int) -> None:
    path = tmp_path / "km.bin"
    model = kind(3, n_init=1, random_state=np.random.RandomState(0)).fit(blobs(50).astype(np.float64))
    joblib.dump(model, path, protocol=protocol)
    np.testing.assert_array_equal(read_centres(path).centres, model.cluster_centers_.astype(np.float32))
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelIntegrityError):
            read_centres(path)


class _Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._path),)


def test_other_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "km.bin", tmp_path / "was-run"
    model, inside = (KMeans(2, n_init=1, random_state=0).fit(blobs(50)) for _ in range(2))
    model.labels_ = _Runs(proof)
    inside.cluster_centers_ = np.array([[_Runs(proof)]])
    for made, reason in (
        (_Runs(proof), "mkdir is no part of a k-means model"),
        (model, "mkdir is no part of a k-means model"),
        (inside, "not one of numbers"),
        ({"cluster_centers_": np.ones((2, 2))}, "another object"),
        (np.ones((2, 2)), "another object"),
        (KMeans(2), "cluster_centers_"),
    ):
        joblib.dump(made, path)
        with pytest.raises(ModelIntegrityError, match=reason):
            read_centres(path)
    joblib.dump(inside, path, compress=3)
    with pytest.raises(ModelIntegrityError, match="holds no centres"):
        read_centres(path)
    assert not proof.exists()


def test_plain_arrays(tmp_path: Path) -> None:
    path = tmp_path / "centres.npy"
    for order in ("C", "F"):
        np.save(path, np.asarray(blobs()[:7], order=order))
        np.testing.assert_array_equal(read_centres(path).centres, blobs()[:7])
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole.replace(b"(7, ", b"(9**9, "), whole.replace(b"(7, ", b"(700000, "), whole[:20]):
        path.write_bytes(damaged)
        with pytest.raises(ModelIntegrityError):
            read_centres(path)
    for wrong in (np.array([[print]]), np.ones(3), np.ones((2, 2), int)):
        np.save(path, wrong)
        with pytest.raises(ModelIntegrityError, match=r"not one of numbers|must be a matrix"):
            read_centres(path)


def test_a_missing_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file"):
        read_centres(tmp_path / "none.npz")
