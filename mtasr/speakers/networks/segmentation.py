"""Who of up to three voices speaks in each frame of a short window: pyannote's segmentation-3.0, computed by NumPy.

Source: Plaquet and Bredin 2023, "Powerset multi-class cross entropy loss for neural speaker diarization", and the
published weights (MIT licence): SincNet (Ravanelli and Bengio 2018), four bidirectional LSTM layers, two linear ones,
and a class for each set of at most two of three voices. The voices are local: their order means nothing beyond a
window.

Shapes: B windows, T samples, F frames, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from mtasr.arrays import Float32Array
from mtasr.blas import on_one_thread
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.networks.parameters import checked

#: Samples of a window, 10 s, as in training.
WINDOW = 10 * SAMPLE_RATE
#: Samples from one frame to the next, which a frame stands for, and those around its centre on which it depends
#: directly.
FRAME_STEP, RECEPTIVE_FIELD = 270, 991
#: Voices that a window can tell apart, and that may speak at the same time.
LOCAL_SPEAKERS, AT_ONCE = 3, 2

#: The voices of each class (7, 3): nobody, each alone, each pair.
POWERSET = np.array(
    [
        [speaker in members for speaker in range(LOCAL_SPEAKERS)]
        for size in range(AT_ONCE + 1)
        for members in combinations(range(LOCAL_SPEAKERS), size)
    ]
)
POWERSET.flags.writeable = False

_SINC_WIDTH, _SINC_STRIDE, _SINC_PAIRS = 251, 10, 40
_WIDTH, _POOL = 5, 3
_CHANNELS = (80, 60, 60)
_HIDDEN, _LAYERS = 128, 4
_LEAK = np.float32(0.01)
_EPSILON = 1e-5  # of the normalisations
_LOWEST_HERTZ = _NARROWEST_HERTZ = 50.0

# Windows in the LSTM at once.
_BLOCK_WINDOWS = 8
# LSTM steps whose input products are computed at once, so that they stay in a cache of a few megabytes.
_BLOCK_STEPS = 64
# Outputs of a convolution computed at once, a multiple of the pool's width.
_BLOCK_OUTPUTS = 768


def frame_count(samples: int) -> int:
    """Frames of a window of so many samples; 589 for 10 s."""
    count = (samples - _SINC_WIDTH) // _SINC_STRIDE + 1
    count = count // _POOL - _WIDTH + 1
    count = count // _POOL - _WIDTH + 1
    return max(0, count // _POOL)


def check_length(samples: int) -> None:
    """Raise `ValueError` for windows that are too long."""
    if samples > WINDOW:
        raise ValueError(f"a window has at most {WINDOW} samples, not {samples}")


def log_softmax(scores: Float32Array) -> Float32Array:
    """Log-probabilities (..., K) from the scores of K classes."""
    scores = scores - scores.max(axis=-1, keepdims=True)
    result: Float32Array = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recurrent:
    """A bidirectional layer; gates in the order input, forget, output, candidate. A logistic is half a hyperbolic
    tangent of half its argument, moved: the halves of the arguments are in the weights.
    """

    input: tuple[Float32Array, Float32Array]  # (C, 512) for each direction
    bias: tuple[Float32Array, Float32Array]  # (512,)
    hidden: Float32Array  # (2, 128, 512)


class Segmentation:
    """The network; `from_arrays` builds it from the published arrays."""

    def __init__(
        self,
        *,
        wave: tuple[float, float],
        sinc: Float32Array,
        convolutions: tuple[tuple[Float32Array, Float32Array], ...],
        norms: tuple[tuple[Float32Array, Float32Array], ...],
        layers: tuple[_Recurrent, ...],
        linears: tuple[tuple[Float32Array, Float32Array], ...],
    ) -> None:
        self._wave = wave
        self._sinc = sinc
        self._convolutions = convolutions
        self._norms = norms
        self._layers = layers
        self._linears = linears

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Segmentation:
        """From the arrays of the published checkpoint, by name. Raises `ModelIntegrityError` if they do not fit."""
        w = checked("speaker segmentation", arrays, shapes())
        norms = tuple((w[f"sincnet.norm1d.{i}.weight"], w[f"sincnet.norm1d.{i}.bias"]) for i in range(3))
        convolutions = tuple(
            # (D, C, 5) to (5 C, D): the columns are five neighbouring outputs of the layer before.
            (_columns(w[f"sincnet.conv1d.{i}.weight"].transpose(2, 1, 0)), w[f"sincnet.conv1d.{i}.bias"])
            for i in (1, 2)
        )
        names = ("linear.0", "linear.1", "classifier")
        return cls(
            wave=(float(w["sincnet.wav_norm1d.weight"][0]), float(w["sincnet.wav_norm1d.bias"][0])),
            sinc=_sinc_filters(
                w["sincnet.conv1d.0.filterbank.low_hz_"][:, 0], w["sincnet.conv1d.0.filterbank.band_hz_"][:, 0]
            ),
            convolutions=convolutions,
            norms=norms,
            layers=tuple(_recurrent(w, layer) for layer in range(_LAYERS)),
            linears=tuple((np.ascontiguousarray(w[f"{name}.weight"].T), w[f"{name}.bias"]) for name in names),
        )

    @on_one_thread
    def log_probabilities(self, samples: Float32Array) -> Float32Array:
        """Log-probability (B, F, 7) of each class in windows (B, T) at 16 kHz, in the order of `POWERSET`.

        Shorter windows than 10 s count as padded with silence, and their frames past the end are left out. Raises
        `ValueError` for longer ones.
        """
        count, length = samples.shape
        check_length(length)
        frames = frame_count(length)
        result = np.empty((count, frames, len(POWERSET)), np.float32)
        for start in range(0, count, _BLOCK_WINDOWS):
            block = samples[start : start + _BLOCK_WINDOWS]
            # Always as many windows, so that rounding does not depend on how many there are.
            features = np.zeros((_BLOCK_WINDOWS, frame_count(WINDOW), _CHANNELS[-1]), np.float32)
            for index, window in enumerate(block):
                features[index] = self._features(np.pad(window, (0, WINDOW - length)))
            for layer in self._layers:
                features = _recur(features, layer)
            for index in range(len(block)):
                result[start + index] = self._classify(features[index])[:frames]
        return result

    def _features(self, samples: Float32Array) -> Float32Array:
        """SincNet: a window (T,) to (F, 60)."""
        weight, bias = self._wave
        mean, variance = samples.mean(dtype=np.float64), samples.var(dtype=np.float64)
        scale = weight / np.sqrt(variance + _EPSILON)
        samples = samples * np.float32(scale) + np.float32(bias - mean * scale)
        hidden = _normalise(_convolve(samples, self._sinc, _SINC_WIDTH, _SINC_STRIDE, rectified=True), self._norms[0])
        for (kernel, offset), norm in zip(self._convolutions, self._norms[1:], strict=True):
            channels = hidden.shape[1]
            convolved = _convolve(hidden.reshape(-1), kernel, _WIDTH * channels, channels)
            convolved += offset
            hidden = _normalise(convolved, norm)
        return hidden

    def _classify(self, hidden: Float32Array) -> Float32Array:
        """The linear layers: (F, 256) to log-probabilities (F, 7)."""
        for kernel, bias in self._linears[:-1]:
            hidden = hidden @ kernel
            hidden += bias
            _leak(hidden)
        kernel, bias = self._linears[-1]
        scores = hidden @ kernel
        scores += bias
        return log_softmax(scores)


def _convolve(
    values: Float32Array, kernel: Float32Array, width: int, stride: int, *, rectified: bool = False
) -> Float32Array:
    """Slide over flat values: (N,) and (width, C) to (outputs // 3, C), the greatest of each three outputs."""
    count = ((len(values) - width) // stride + 1) // _POOL
    windows = as_strided(values, (count * _POOL, width), (stride * values.itemsize, values.itemsize), writeable=False)
    pooled = np.empty((count, kernel.shape[1]), np.float32)
    columns = np.empty((min(_BLOCK_OUTPUTS, len(windows)), width), np.float32)
    products = np.empty((len(columns), kernel.shape[1]), np.float32)
    for start in range(0, len(windows), _BLOCK_OUTPUTS):
        block = windows[start : start + _BLOCK_OUTPUTS]
        np.copyto(columns[: len(block)], block)
        product = np.matmul(columns[: len(block)], kernel, out=products[: len(block)])
        if rectified:
            np.abs(product, out=product)
        target = pooled[start // _POOL : (start + len(block)) // _POOL]
        np.maximum(product[0::_POOL], product[1::_POOL], out=target)
        np.maximum(target, product[2::_POOL], out=target)
    return pooled


def _normalise(values: Float32Array, norm: tuple[Float32Array, Float32Array]) -> Float32Array:
    """Each channel of (N, C) to mean 0 and variance 1, scaled and moved, then the leaky rectifier. In place."""
    weight, bias = norm
    mean = values.mean(axis=0)
    values -= mean
    scale = weight / np.sqrt(np.square(values).mean(axis=0) + np.float32(_EPSILON))
    values *= scale
    values += bias
    _leak(values)
    return values


def _leak(values: Float32Array) -> None:
    np.maximum(values, values * _LEAK, out=values)


def _recur(values: Float32Array, layer: _Recurrent) -> Float32Array:
    """A bidirectional LSTM layer: (B, F, C) to (B, F, 256), forward first. Both directions advance together."""
    count, steps, _ = values.shape
    result = np.empty((count, steps, 2 * _HIDDEN), np.float32)
    hidden = np.zeros((2, count, _HIDDEN), np.float32)
    cell = np.zeros((2, count, _HIDDEN), np.float32)
    gates = np.empty((2, count, 4 * _HIDDEN), np.float32)
    opened = gates[..., : 3 * _HIDDEN]
    entering, kept, leaving, candidate = (gates[..., i * _HIDDEN : (i + 1) * _HIDDEN] for i in range(4))
    half = np.float32(0.5)
    for start in range(0, steps, _BLOCK_STEPS):
        stop = min(start + _BLOCK_STEPS, steps)
        # A product for each window, so that rounding does not depend on its place among the others.
        forward = values[:, start:stop] @ layer.input[0]
        backward = values[:, steps - stop : steps - start] @ layer.input[1]
        forward += layer.bias[0]
        backward += layer.bias[1]
        for step in range(start, stop):
            np.matmul(hidden, layer.hidden, out=gates)
            gates[0] += forward[:, step - start]
            gates[1] += backward[:, stop - 1 - step]
            np.tanh(gates, out=gates)
            np.multiply(opened, half, out=opened)
            np.add(opened, half, out=opened)
            np.multiply(cell, kept, out=cell)
            np.multiply(entering, candidate, out=entering)
            np.add(cell, entering, out=cell)
            np.tanh(cell, out=hidden)
            np.multiply(hidden, leaving, out=hidden)
            result[:, step, :_HIDDEN] = hidden[0]
            result[:, steps - 1 - step, _HIDDEN:] = hidden[1]
    return result


def _sinc_filters(low: Float32Array, band: Float32Array) -> Float32Array:
    """Band-pass filters (251, 80): 40 even ones, then 40 odd ones, from their lower edges and widths in hertz.

    Source: Ravanelli and Bengio 2018, section 2, and for the odd ones Pariente et al. 2020, "Filterbank design for
    end-to-end speech separation".
    """
    lower = _LOWEST_HERTZ + np.abs(low.astype(np.float64))[:, None]
    upper = np.clip(lower + _NARROWEST_HERTZ + np.abs(band.astype(np.float64))[:, None], _LOWEST_HERTZ, SAMPLE_RATE / 2)
    half = _SINC_WIDTH // 2
    angle = 2 * np.pi * np.arange(-half, 0) / SAMPLE_RATE
    window = np.hamming(_SINC_WIDTH)[:half] / (angle / 2)
    width = 2 * (upper - lower)
    even = (np.sin(upper * angle) - np.sin(lower * angle)) * window / width
    odd = (np.cos(lower * angle) - np.cos(upper * angle)) * window / width
    ones, zeros = np.ones((_SINC_PAIRS, 1)), np.zeros((_SINC_PAIRS, 1))
    filters = np.concatenate(
        [np.hstack([even, ones, even[:, ::-1]]), np.hstack([odd, zeros, -odd[:, ::-1]])], dtype=np.float64
    )
    return np.ascontiguousarray(filters.T, np.float32)


def _recurrent(w: Mapping[str, Float32Array], layer: int) -> _Recurrent:
    # The checkpoint has the gates in the order input, forget, candidate, output.
    order = np.concatenate(
        [np.arange(2 * _HIDDEN), np.arange(3 * _HIDDEN, 4 * _HIDDEN), np.arange(2 * _HIDDEN, 3 * _HIDDEN)]
    )
    scale = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), _HIDDEN)

    def gates(kind: str) -> tuple[Float32Array, Float32Array]:
        first, second = (w[f"lstm.{kind}_l{layer}{suffix}"][order].T * scale for suffix in ("", "_reverse"))
        return np.ascontiguousarray(first), np.ascontiguousarray(second)

    biases = zip(gates("bias_ih"), gates("bias_hh"), strict=True)
    forward, backward = (ours + theirs for ours, theirs in biases)
    return _Recurrent(input=gates("weight_ih"), bias=(forward, backward), hidden=np.stack(gates("weight_hh")))


def _columns(kernel: Float32Array) -> Float32Array:
    return np.ascontiguousarray(kernel.reshape(-1, kernel.shape[-1]))


def shapes() -> dict[str, tuple[int, ...]]:
    """The name and shape of every array that the network needs."""
    wanted: dict[str, tuple[int, ...]] = {
        "sincnet.wav_norm1d.weight": (1,),
        "sincnet.wav_norm1d.bias": (1,),
        "sincnet.conv1d.0.filterbank.low_hz_": (_SINC_PAIRS, 1),
        "sincnet.conv1d.0.filterbank.band_hz_": (_SINC_PAIRS, 1),
    }
    for i, channels in enumerate(_CHANNELS):
        if i:
            wanted[f"sincnet.conv1d.{i}.weight"] = (channels, _CHANNELS[i - 1], _WIDTH)
            wanted[f"sincnet.conv1d.{i}.bias"] = (channels,)
        wanted[f"sincnet.norm1d.{i}.weight"] = wanted[f"sincnet.norm1d.{i}.bias"] = (channels,)
    for layer in range(_LAYERS):
        for suffix in ("", "_reverse"):
            name = f"l{layer}{suffix}"
            wanted[f"lstm.weight_ih_{name}"] = (4 * _HIDDEN, 2 * _HIDDEN if layer else _CHANNELS[-1])
            wanted[f"lstm.weight_hh_{name}"] = (4 * _HIDDEN, _HIDDEN)
            wanted[f"lstm.bias_ih_{name}"] = wanted[f"lstm.bias_hh_{name}"] = (4 * _HIDDEN,)
    for name, outputs, inputs in (
        ("linear.0", _HIDDEN, 2 * _HIDDEN),
        ("linear.1", _HIDDEN, _HIDDEN),
        ("classifier", len(POWERSET), _HIDDEN),
    ):
        wanted[f"{name}.weight"] = (outputs, inputs)
        wanted[f"{name}.bias"] = (outputs,)
    return wanted
