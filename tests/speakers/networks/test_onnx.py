"""Networks as ONNX: small ones of the published shapes, through onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx_file import embedding_file, embedding_matrix, segmentation_file
from speaker_networks import activity, local_speakers

from mtasr.errors import MissingExtraError, ModelIntegrityError
from mtasr.extras import extras
from mtasr.kaldi_features import filter_banks
from mtasr.speakers.networks.onnx import OnnxEmbedding, OnnxSegmentation
from mtasr.speakers.networks.segmentation import WINDOW

pytest.importorskip("onnxruntime")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "network.onnx"


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, shape).astype(np.float32)


def test_segmentation(path: Path) -> None:
    kernel = np.random.default_rng(2).normal(size=(7, 1, 1000)).astype(np.float32)
    path.write_bytes(segmentation_file(kernel))
    network = OnnxSegmentation(path)
    samples = noise(9, WINDOW)
    scores = sliding_window_view(samples, 1000, axis=1)[:, ::270] @ kernel[:, 0].T
    expected = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    found = network.log_probabilities(samples)
    assert found.shape == (9, 589, 7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_array_equal(activity(network, samples), local_speakers(found))


def test_shorter_windows_have_fewer_frames(path: Path) -> None:
    path.write_bytes(segmentation_file())
    network = OnnxSegmentation(path)
    whole = np.pad(noise(2, 32_000), ((0, 0), (0, WINDOW - 32_000)))
    found = network.log_probabilities(whole[:, :32_000])
    assert found.shape == (2, 115, 7)
    np.testing.assert_array_equal(found, network.log_probabilities(whole)[:, :115])
    with pytest.raises(ValueError, match="at most 160000 samples"):
        activity(network, np.zeros((1, WINDOW + 1), np.float32))


@pytest.mark.parametrize(("window", "scale"), [("povey", 1), ("hamming", 32768)])
def test_embedding(path: Path, window: str, scale: int) -> None:
    path.write_bytes(embedding_file())
    network = OnnxEmbedding(path, window)  # type: ignore[arg-type]
    clips = [noise(8000), noise(30_000)]
    vectors = network.embed(clips)
    assert vectors.shape == (2, 256)
    assert vectors.dtype == np.float32
    for clip, vector in zip(clips, vectors, strict=True):
        features = filter_banks(clip * np.float32(scale), 80, window)  # type: ignore[arg-type]
        expected = np.abs(features - features.mean(axis=0)).mean(axis=0) @ embedding_matrix()
        np.testing.assert_allclose(vector, expected, atol=1e-3)
    assert network.embed([]).shape == (0, 256)
    with pytest.raises(ValueError, match="a clip needs"):
        network.embed([noise(100)])


def test_the_hamming_window_is_kaldis() -> None:
    """Against the definition, for the last band of one frame."""
    samples = noise(400)
    centred = samples - samples.mean()
    emphasised = centred - 0.97 * np.concatenate([centred[:1], centred[:-1]])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = np.abs(np.fft.rfft(emphasised * window, 512)) ** 2
    mels = 1127 * np.log1p(np.arange(257) * 16_000 / 512 / 700)
    left, centre, right = np.linspace(1127 * np.log1p(20 / 700), 1127 * np.log1p(8000 / 700), 82)[-3:]
    triangle = np.clip(np.minimum(mels - left, right - mels) / (right - centre), 0, None)
    assert filter_banks(samples, 80, "hamming")[0, -1] == pytest.approx(np.log(power @ triangle), abs=1e-4)
    assert filter_banks(samples, 80)[0, -1] != pytest.approx(np.log(power @ triangle), abs=1e-3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is damaged"),
        (b"no network", "is damaged"),
        (segmentation_file()[:5000], "is damaged"),
        (segmentation_file(frames_first=False), r"output has the shape \(1, 7, 589\)|is damaged"),
        (segmentation_file(np.full((7, 1, 1000), np.nan)), "its output is not finite"),
        (segmentation_file(np.zeros((5, 1, 1000))), r"output has the shape \(1, 589, 5\)|is damaged"),
        (segmentation_file(np.zeros((7, 1, 500))), r"output has the shape \(1, 591, 7\)"),
        (embedding_file(), "is damaged"),
    ],
)
def test_other_files_are_refused(path: Path, data: bytes, reason: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ModelIntegrityError, match=reason) as caught:
        OnnxSegmentation(path)
    assert "\n" not in str(caught.value)


def test_an_embedding_of_another_shape_is_refused(path: Path) -> None:
    path.write_bytes(segmentation_file())
    with pytest.raises(ModelIntegrityError, match="is damaged or not the network of a speaker model"):
        OnnxEmbedding(path, "povey")


def test_without_onnxruntime_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path.write_bytes(segmentation_file())
    with pytest.raises(MissingExtraError, match=r"\.\[onnx\]"), extras():
        OnnxSegmentation(path)
