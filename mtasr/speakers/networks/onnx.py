"""The networks of speaker models that are published as ONNX, computed by onnxruntime (the extra `onnx`).

They have the methods of the networks in NumPy. One thread computes, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.kaldi_features import Window
from mtasr.onnx_session import OnnxSession
from mtasr.speakers.networks.segmentation import POWERSET, WINDOW, check_length, frame_count, log_softmax
from mtasr.speakers.networks.voice_features import N_BANDS, voice_features

#: Windows computed at once.
_BLOCK_WINDOWS = 8
#: WeSpeaker computes its filter banks on 16-bit samples. Where the spectrum is empty, the floor then lies elsewhere.
_SCALE: dict[Window, float] = {"povey": 1.0, "hamming": 32768.0}


class OnnxSegmentation:
    """pyannote's segmentation-3.0: samples (B, 1, T) to scores (B, F, 7) in the order of `POWERSET`."""

    def __init__(self, path: Path) -> None:
        """Raises `ModelIntegrityError` if the file is not such a network."""
        self._network = _Network(path)
        self._network.expect((1, frame_count(WINDOW), len(POWERSET)), of=np.zeros((1, 1, WINDOW), np.float32))

    def log_probabilities(self, samples_BT: Float32Array) -> Float32Array:  # noqa: N803
        """Log-probability (B, F, 7) of each class, in the order of `POWERSET`; see `Segmentation`."""
        count, length = samples_BT.shape
        check_length(length)
        result = np.empty((count, frame_count(length), len(POWERSET)), np.float32)
        for start in range(0, count, _BLOCK_WINDOWS):
            block = np.pad(samples_BT[start : start + _BLOCK_WINDOWS], ((0, 0), (0, WINDOW - length)))
            scores = self._network(block[:, None])[:, : result.shape[1]]
            result[start : start + len(block)] = log_softmax(scores)
        return result


class OnnxEmbedding:
    """A network from log-mel filter banks (1, frames, 80), without their mean, to a vector (1, D)."""

    def __init__(self, path: Path, window: Window) -> None:
        """`window` is that of the filter banks. Raises `ModelIntegrityError` if the file is not such a network."""
        self._window: Window = window
        self._network = _Network(path)
        self._network.expect((1, None), of=np.zeros((1, 100, N_BANDS), np.float32))

    def embed(self, clips: Sequence[Float32Array]) -> Float32Array:
        """A vector (n, D), not normalised, for each clip: samples of one voice at 16 kHz, within -1 to 1.

        Compare vectors by their cosine. Raises `ValueError` for a clip of fewer than `voice_features.SHORTEST` samples.
        """
        vectors = [self._embed_one(clip) for clip in clips]
        return np.stack(vectors) if vectors else np.zeros((0, self._network.width), np.float32)

    def _embed_one(self, clip: Float32Array) -> Float32Array:
        features = voice_features(clip * np.float32(_SCALE[self._window]), self._window)
        vector: Float32Array = self._network(features[None])[0]
        return vector


class _Network:
    """A graph with one input and one output in float32."""

    def __init__(self, path: Path) -> None:
        self._session = OnnxSession(path, "the network of a speaker model")
        if [*self._session.inputs.values(), *self._session.outputs] != ["tensor(float)"] * 2:
            raise self._session.unfit("it needs one input and one output of float32")
        (self._input,) = self._session.inputs
        #: Values of the last dimension of the output; known after `expect`.
        self.width = 0

    def expect(self, shape: tuple[int | None, ...], *, of: Float32Array) -> None:
        """Raise `ModelIntegrityError` unless `of` gives finite values of that shape, in which None is any number."""
        output = self(of)
        if len(output.shape) != len(shape) or any(
            wanted not in {None, given} for wanted, given in zip(shape, output.shape, strict=True)
        ):
            raise self._session.unfit(f"its output has the shape {output.shape}")
        if not np.isfinite(output).all():
            raise self._session.unfit("its output is not finite")
        self.width = output.shape[-1]

    def __call__(self, values: Float32Array) -> Float32Array:
        return self._session.run({self._input: np.ascontiguousarray(values)})
