"""A vector for the voice of a clip: CAM++, computed by NumPy.

Source: Wang et al. 2023, "CAM++: A fast and efficient network for speaker verification using context-aware masking",
and the weights of 3D-Speaker for Chinese and English at 16 kHz (Apache-2.0). A front end of 2-D convolutions, then
52 densely connected layers over time, each masked by the mean of its segment and of the whole clip; statistics over
time make the vector. Each clip is computed by itself, so its vector does not depend on other clips.

Shapes: T frames, F bands, C channels. Batch normalisation is part of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from mtasr.arrays import Float32Array
from mtasr.blas import on_one_thread
from mtasr.errors import ModelIntegrityError
from mtasr.speakers.networks.parameters import checked
from mtasr.speakers.networks.voice_features import N_BANDS, voice_features

#: Values of a vector.
DIMENSIONS = 192

_FRONT = 32  # channels of the front end
_FRONT_BANDS = N_BANDS // 8
_FIRST_WIDTH, _FIRST = 5, 128
_GROWTH, _BOTTLENECK, _WIDTH = 32, 128, 3
#: Layers and dilation of each dense block.
_BLOCKS = ((12, 1), (24, 2), (16, 2))
#: Frames of a masking segment.
_SEGMENT = 100
_EPSILON = 1e-5  # of the batch normalisation
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")

# Positions whose columns are multiplied at once in the front end: some 550 kB.
_BLOCK_POSITIONS = 480
# Frames of the front end's blocks, and how many on either side a frame of its output depends on: one for each layer.
_BLOCK_FRAMES, _FRONT_REACH = 320, 10


@dataclass(frozen=True, slots=True)
class _Affine:
    """A matrix (inputs, outputs) and what is added after it."""

    weight: Float32Array
    bias: Float32Array


@dataclass(frozen=True, slots=True)
class _Rectified:
    """Normalisation and ReLU before a matrix. relu(s x + b) is s clip(x, low, high) + b with one of the limits at
    -b / s and the other infinite; s and b are part of the matrix that follows, so that only the limits remain.
    """

    low: Float32Array
    high: Float32Array | None  # None where no factor is negative
    then: _Affine

    def __call__(self, values: Float32Array, scratch: Float32Array) -> Float32Array:
        """(T, inputs) to (T, outputs); `scratch` has room for the values."""
        limited = np.maximum(values, self.low, out=scratch[: values.size].reshape(values.shape))
        if self.high is not None:
            np.minimum(limited, self.high, out=limited)
        result: Float32Array = limited @ self.then.weight
        result += self.then.bias
        return result


@dataclass(frozen=True, slots=True)
class _Residual:
    """Two convolutions of 3 by 3, added to their input. Where the first halves the bands, the input is halved too
    and passes a matrix, whose bias is part of the second's.
    """

    first: _Affine
    second: _Affine
    shortcut: Float32Array | None


@dataclass(frozen=True, slots=True)
class _Dense:
    """A layer of a dense block: a bottleneck, and a convolution over time that is masked."""

    bottleneck: _Rectified
    local: Float32Array  # (3 * 128, 32)
    squeeze: _Affine
    excite: _Affine


@dataclass(frozen=True, slots=True)
class _Block:
    layers: tuple[_Dense, ...]
    dilation: int
    transit: _Rectified


class Embedding:
    """The network; `from_arrays` builds it from the published arrays."""

    def __init__(
        self,
        *,
        first: _Affine,
        residuals: tuple[_Residual, ...],
        last: _Affine,
        tdnn: _Affine,
        blocks: tuple[_Block, ...],
        out: tuple[Float32Array, Float32Array],
        dense: _Affine,
    ) -> None:
        self._first = first
        self._residuals = residuals
        self._last = last
        self._tdnn = tdnn
        self._blocks = blocks
        self._out = out
        self._dense = dense

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Embedding:
        """From the arrays of the published checkpoint, by name. Raises `ModelIntegrityError` if they do not fit."""
        w = checked("speaker embedding", arrays, shapes())
        for name in w:
            if name.endswith("running_var") and w[name].min() < 0:
                raise ModelIntegrityError(f"speaker embedding: {name} has a negative variance")
        tdnn, xvector = "xvector.tdnn", "xvector"
        # (D, channel and band, 5) to (5, band, channel, D): here the channels of a band are neighbours.
        kernel = w[f"{tdnn}.linear.weight"].reshape(_FIRST, _FRONT, _FRONT_BANDS, _FIRST_WIDTH).transpose(3, 2, 1, 0)
        return cls(
            first=_convolution(w, "head.conv1", "head.bn1"),
            residuals=tuple(_residual(w, f"head.layer{i}.{j}") for i in (1, 2) for j in (0, 1)),
            last=_convolution(w, "head.conv2", "head.bn2"),
            tdnn=_normalised(kernel.reshape(-1, _FIRST), *_batch_norm(w, f"{tdnn}.nonlinear.batchnorm")),
            blocks=tuple(_block(w, number) for number in range(1, len(_BLOCKS) + 1)),
            out=_batch_norm(w, f"{xvector}.out_nonlinear.batchnorm"),
            dense=_normalised(
                w[f"{xvector}.dense.linear.weight"][..., 0].T, *_batch_norm(w, f"{xvector}.dense.nonlinear.batchnorm")
            ),
        )

    @on_one_thread
    def embed(self, clips: Sequence[Float32Array]) -> Float32Array:
        """A vector (n, 192), not normalised, for each clip: samples of one voice at 16 kHz, within -1 to 1.

        Compare vectors by their cosine. Memory grows by about 0.6 MB per second of the longest clip. Raises
        `ValueError` for a clip of fewer than `voice_features.SHORTEST` samples.
        """
        vectors = np.empty((len(clips), DIMENSIONS), np.float32)
        for index, clip in enumerate(clips):
            vectors[index] = self._embed(clip)
        return vectors

    def _embed(self, clip: Float32Array) -> Float32Array:
        hidden = self._over_time(self._front(voice_features(clip)))
        for block in self._blocks:
            hidden = _grow(hidden, block)
        scale, offset = self._out
        hidden *= scale
        hidden += offset
        np.maximum(hidden, 0, out=hidden)
        statistics = np.concatenate([hidden.mean(axis=0), hidden.std(axis=0, ddof=1)])
        result: Float32Array = statistics @ self._dense.weight + self._dense.bias
        return result

    def _front(self, features: Float32Array) -> Float32Array:
        """The 2-D convolutions: (T, 80) to (T, 320), where the channels of a band are neighbours.

        In blocks with the frames around them that they depend on, so that memory does not grow with the clip.
        """
        result = np.empty((len(features), _FRONT_BANDS, _FRONT), np.float32)
        for start in range(0, len(features), _BLOCK_FRAMES):
            stop = min(start + _BLOCK_FRAMES, len(features))
            begin = max(0, start - _FRONT_REACH)
            framed = self._front_block(features[begin : stop + _FRONT_REACH])
            result[start:stop] = framed[1:-1, 1:-1][start - begin : stop - begin]
        return result.reshape(len(features), -1)

    def _front_block(self, features: Float32Array) -> Float32Array:
        hidden = _convolve(np.pad(features, 1)[..., None], self._first)
        for residual in self._residuals:
            shortcut = hidden[1:-1, 1:-1]
            stride = 1
            if residual.shortcut is not None:
                stride = 2
                shortcut = np.ascontiguousarray(shortcut[:, ::stride]) @ residual.shortcut
            hidden = _convolve(_convolve(hidden, residual.first, stride), residual.second, plus=shortcut)
        return _convolve(hidden, self._last, 2)

    def _over_time(self, hidden: Float32Array) -> Float32Array:
        """The first convolution over time, which halves the frames."""
        edge = _FIRST_WIDTH // 2
        padded = np.pad(hidden, ((edge, edge), (0, 0)))
        frames = (len(hidden) + 1) // 2
        columns = as_strided(
            padded, (frames, _FIRST_WIDTH * padded.shape[1]), (2 * padded.strides[0], padded.itemsize), writeable=False
        )
        result: Float32Array = np.ascontiguousarray(columns) @ self._tdnn.weight
        result += self._tdnn.bias
        return _rectify(result)


def _convolve(
    framed: Float32Array, affine: _Affine, stride: int = 1, *, plus: Float32Array | None = None
) -> Float32Array:
    """3 by 3, then ReLU: (T, F, C) to (T, F / stride, D), both with a frame of zeros around. `plus` is added before."""
    frames, bands, channels = framed.shape[0] - 2, (framed.shape[1] - 2) // stride, framed.shape[2]
    step_t, step_f = framed.strides[:2]
    columns = as_strided(
        framed, (frames, bands, 3, 3 * channels), (step_t, stride * step_f, step_t, framed.itemsize), writeable=False
    )
    outputs = affine.weight.shape[1]
    result = np.empty((frames + 2, bands + 2, outputs), np.float32)
    result[[0, -1]] = 0
    result[:, [0, -1]] = 0
    bias = np.tile(affine.bias, bands)
    rows = max(1, _BLOCK_POSITIONS // bands)
    for start in range(0, frames, rows):
        product = columns[start : start + rows].reshape(-1, 9 * channels) @ affine.weight
        by_frame = product.reshape(-1, bands * outputs)
        by_frame += bias
        values = product.reshape(-1, bands, outputs)
        if plus is not None:
            values += plus[start : start + rows]
        np.maximum(values, 0, out=result[start + 1 : start + 1 + len(values), 1:-1])
    return result


def _rectify(values: Float32Array) -> Float32Array:
    result: Float32Array = np.maximum(values, 0, out=values)
    return result


def _grow(values: Float32Array, block: _Block) -> Float32Array:
    """A dense block: each layer sees the outputs of all before it."""
    frames, channels = values.shape
    grown = np.empty((frames, channels + _GROWTH * len(block.layers)), np.float32)
    grown[:, :channels] = values
    edge = block.dilation
    padded = np.zeros((frames + 2 * edge, _BOTTLENECK), np.float32)
    starts = np.arange(0, frames, _SEGMENT)
    lengths = np.diff(starts, append=frames)
    scratch = np.empty(grown.size, np.float32)
    inner = padded[edge : edge + frames]
    taps = [padded[i * edge : i * edge + frames] for i in range(_WIDTH)]
    for layer in block.layers:
        np.maximum(layer.bottleneck(grown[:, :channels], scratch), 0, out=inner)
        sums = np.add.reduceat(inner, starts, axis=0)
        context = sums / lengths[:, None] + sums.sum(axis=0) / frames
        squeezed = _rectify(context.astype(np.float32) @ layer.squeeze.weight + layer.squeeze.bias)
        # A logistic; half of its argument is in the weights.
        mask = 0.5 * np.tanh(squeezed @ layer.excite.weight + layer.excite.bias) + np.float32(0.5)
        local = np.concatenate(taps, axis=1) @ layer.local
        np.multiply(local, np.repeat(mask, lengths, axis=0), out=grown[:, channels : channels + _GROWTH])
        channels += _GROWTH
    return block.transit(grown, scratch)


def _batch_norm(w: Mapping[str, Float32Array], name: str) -> tuple[Float32Array, Float32Array]:
    """Scale and offset of a normalisation by its running statistics."""
    scale = 1 / np.sqrt(w[f"{name}.running_var"].astype(np.float64) + _EPSILON)
    if f"{name}.weight" in w:
        scale = scale * w[f"{name}.weight"]
    offset = -w[f"{name}.running_mean"] * scale
    if f"{name}.bias" in w:
        offset = offset + w[f"{name}.bias"]
    return scale.astype(np.float32), offset.astype(np.float32)


def _normalised(weight: Float32Array, scale: Float32Array, offset: Float32Array) -> _Affine:
    """A matrix (inputs, outputs) followed by a normalisation."""
    return _Affine(np.ascontiguousarray(weight * scale), offset)


def _convolution(w: Mapping[str, Float32Array], name: str, norm: str) -> _Affine:
    """(D, C, bands, frames) to (frames, bands, C, D)."""
    kernel = w[f"{name}.weight"].transpose(3, 2, 1, 0)
    return _normalised(kernel.reshape(-1, kernel.shape[-1]), *_batch_norm(w, norm))


def _residual(w: Mapping[str, Float32Array], name: str) -> _Residual:
    first = _convolution(w, f"{name}.conv1", f"{name}.bn1")
    second = _convolution(w, f"{name}.conv2", f"{name}.bn2")
    if f"{name}.shortcut.0.weight" not in w:
        return _Residual(first, second, None)
    shortcut = _convolution(w, f"{name}.shortcut.0", f"{name}.shortcut.1")
    return _Residual(first, _Affine(second.weight, second.bias + shortcut.bias), shortcut.weight)


def _rectified(w: Mapping[str, Float32Array], norm: str, then: _Affine) -> _Rectified:
    scale, offset = (values.astype(np.float64) for values in _batch_norm(w, norm))
    # Where the factor is 0 the output is constant.
    limit = np.divide(-offset, scale, out=np.zeros_like(scale), where=scale != 0)
    constant = np.where(scale == 0, np.maximum(offset, 0), offset)
    return _Rectified(
        np.where(scale >= 0, limit, -np.inf).astype(np.float32),
        np.where(scale >= 0, np.inf, limit).astype(np.float32) if (scale < 0).any() else None,
        _Affine(
            np.ascontiguousarray(scale[:, None] * then.weight, np.float32),
            (constant @ then.weight.astype(np.float64) + then.bias).astype(np.float32),
        ),
    )


def _block(w: Mapping[str, Float32Array], number: int) -> _Block:
    name = f"xvector.block{number}.tdnnd"
    count, dilation = _BLOCKS[number - 1]
    transit = w[f"xvector.transit{number}.linear.weight"][..., 0].T
    return _Block(
        tuple(_dense(w, f"{name}{i}") for i in range(1, count + 1)),
        dilation,
        _rectified(
            w,
            f"xvector.transit{number}.nonlinear.batchnorm",
            _Affine(transit, np.zeros(transit.shape[1], np.float32)),
        ),
    )


def _dense(w: Mapping[str, Float32Array], name: str) -> _Dense:
    cam = f"{name}.cam_layer"
    # The second normalisation follows the bottleneck's matrix and so is part of it.
    bottleneck = _normalised(w[f"{name}.linear1.weight"][..., 0].T, *_batch_norm(w, f"{name}.nonlinear2.batchnorm"))
    local = w[f"{cam}.linear_local.weight"].transpose(2, 1, 0)
    return _Dense(
        _rectified(w, f"{name}.nonlinear1.batchnorm", bottleneck),
        np.ascontiguousarray(local.reshape(-1, _GROWTH)),
        _Affine(np.ascontiguousarray(w[f"{cam}.linear1.weight"][..., 0].T), w[f"{cam}.linear1.bias"]),
        _Affine(
            np.ascontiguousarray(w[f"{cam}.linear2.weight"][..., 0].T * np.float32(0.5)),
            w[f"{cam}.linear2.bias"] * np.float32(0.5),
        ),
    )


def shapes() -> dict[str, tuple[int, ...]]:
    """The name and shape of every array that the network needs."""
    wanted: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int, parts: Sequence[str] = _NORM_PARTS) -> None:
        wanted.update({f"{name}.{part}": (channels,) for part in parts})

    def convolution(name: str, norm_name: str, inputs: int, width: int = 3) -> None:
        wanted[f"{name}.weight"] = (_FRONT, inputs, width, width)
        norm(norm_name, _FRONT)

    convolution("head.conv1", "head.bn1", 1)
    for name in (f"head.layer{i}.{j}" for i in (1, 2) for j in (0, 1)):
        convolution(f"{name}.conv1", f"{name}.bn1", _FRONT)
        convolution(f"{name}.conv2", f"{name}.bn2", _FRONT)
        if name.endswith("0"):
            convolution(f"{name}.shortcut.0", f"{name}.shortcut.1", _FRONT, 1)
    convolution("head.conv2", "head.bn2", _FRONT)
    wanted["xvector.tdnn.linear.weight"] = (_FIRST, _FRONT * _FRONT_BANDS, _FIRST_WIDTH)
    norm("xvector.tdnn.nonlinear.batchnorm", _FIRST)
    channels = _FIRST
    for number, (count, _) in enumerate(_BLOCKS, 1):
        for layer in range(1, count + 1):
            name = f"xvector.block{number}.tdnnd{layer}"
            norm(f"{name}.nonlinear1.batchnorm", channels)
            wanted[f"{name}.linear1.weight"] = (_BOTTLENECK, channels, 1)
            norm(f"{name}.nonlinear2.batchnorm", _BOTTLENECK)
            wanted[f"{name}.cam_layer.linear_local.weight"] = (_GROWTH, _BOTTLENECK, _WIDTH)
            wanted[f"{name}.cam_layer.linear1.weight"] = (_BOTTLENECK // 2, _BOTTLENECK, 1)
            wanted[f"{name}.cam_layer.linear1.bias"] = (_BOTTLENECK // 2,)
            wanted[f"{name}.cam_layer.linear2.weight"] = (_GROWTH, _BOTTLENECK // 2, 1)
            wanted[f"{name}.cam_layer.linear2.bias"] = (_GROWTH,)
            channels += _GROWTH
        norm(f"xvector.transit{number}.nonlinear.batchnorm", channels)
        wanted[f"xvector.transit{number}.linear.weight"] = (channels // 2, channels, 1)
        channels //= 2
    norm("xvector.out_nonlinear.batchnorm", channels)
    wanted["xvector.dense.linear.weight"] = (DIMENSIONS, 2 * channels, 1)
    norm("xvector.dense.nonlinear.batchnorm", DIMENSIONS, _NORM_PARTS[2:])
    return wanted
