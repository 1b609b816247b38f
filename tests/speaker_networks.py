"""The networks of `mtasr.speakers`, written with torch, slow and clear; and arrays of the published shapes, at random.

The references take the arrays of the published checkpoints by name. `torch.nn` does what NumPy is to match.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtasr.speakers.networks import embedding, segmentation

Arrays = dict[str, npt.NDArray[np.float32]]


class HasLogProbabilities(Protocol):
    def log_probabilities(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...


def local_speakers(log_probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Who speaks (B, F, 3) in the likeliest class of each frame (B, F, 7)."""
    speaking: npt.NDArray[np.bool_] = segmentation.POWERSET[log_probabilities.argmax(axis=-1)]
    return speaking


def activity(network: HasLogProbabilities, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Who speaks (B, F, 3) in windows (B, T) at 16 kHz."""
    return local_speakers(network.log_probabilities(samples))


def frame_centres(count: int) -> npt.NDArray[np.float64]:
    """Seconds from the start of a window to the middle of each of its frames."""
    first = (segmentation.RECEPTIVE_FIELD - 1) / 2
    centres: npt.NDArray[np.float64] = (first + segmentation.FRAME_STEP * np.arange(count)) / segmentation.SAMPLE_RATE
    return centres


def random_arrays(shapes: Mapping[str, tuple[int, ...]], seed: int = 7) -> Arrays:
    """Weights that keep values of about one from layer to layer; some factors of normalisations are negative."""
    random = np.random.default_rng(seed)

    def values(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        if name.endswith("running_var"):
            return random.uniform(0.5, 2.0, shape)
        if name.endswith("low_hz_"):
            return np.linspace(20.0, 7000.0, shape[0])[:, None]
        if name.endswith("band_hz_"):
            return random.uniform(-300.0, 300.0, shape)
        if len(shape) == 1:
            return random.normal(1.0, 0.5, shape) if name.endswith("weight") else random.normal(0.0, 0.3, shape)
        return random.normal(0.0, 1.0 / math.sqrt(math.prod(shape[1:])), shape)

    return {name: values(name, shape).astype(np.float32) for name, shape in shapes.items()}


def segmentation_arrays(seed: int = 7) -> Arrays:
    return random_arrays(segmentation.shapes(), seed)


def embedding_arrays(seed: int = 7) -> Arrays:
    return random_arrays(embedding.shapes(), seed)


def segmentation_reference(arrays: Arrays, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Log-probabilities (B, F, 7) of windows (B, T), in double precision."""
    w = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
    hidden = functional.instance_norm(
        torch.from_numpy(samples).double()[:, None],
        weight=w["sincnet.wav_norm1d.weight"],
        bias=w["sincnet.wav_norm1d.bias"],
    )
    for i in range(3):
        if i == 0:
            hidden = functional.conv1d(hidden, _sinc_filters(w), stride=10).abs()
        else:
            hidden = functional.conv1d(hidden, w[f"sincnet.conv1d.{i}.weight"], w[f"sincnet.conv1d.{i}.bias"])
        hidden = functional.instance_norm(
            functional.max_pool1d(hidden, 3), weight=w[f"sincnet.norm1d.{i}.weight"], bias=w[f"sincnet.norm1d.{i}.bias"]
        )
        hidden = functional.leaky_relu(hidden)
    lstm = nn.LSTM(60, 128, num_layers=4, bidirectional=True, batch_first=True).double()
    lstm.load_state_dict({name.removeprefix("lstm."): array for name, array in w.items() if name.startswith("lstm.")})
    with torch.no_grad():
        hidden, _ = lstm(hidden.transpose(1, 2))
    for name in ("linear.0", "linear.1"):
        hidden = functional.leaky_relu(functional.linear(hidden, w[f"{name}.weight"], w[f"{name}.bias"]))
    scores = functional.linear(hidden, w["classifier.weight"], w["classifier.bias"])
    return functional.log_softmax(scores, dim=-1).numpy()


def _sinc_filters(w: Mapping[str, Tensor]) -> Tensor:
    """A filter (251 points) is the difference of two low-pass ones, 2 f sinc(2 f t), or of their odd counterparts."""
    low = 50 + w["sincnet.conv1d.0.filterbank.low_hz_"].abs()
    high = (low + 50 + w["sincnet.conv1d.0.filterbank.band_hz_"].abs()).clamp(max=8000)
    time = torch.arange(-125, 126).double() / 16_000
    window = torch.hamming_window(251, periodic=False).double()
    window[125] = 1
    even = 2 * high * torch.sinc(2 * high * time) - 2 * low * torch.sinc(2 * low * time)
    odd = (torch.cos(2 * torch.pi * low * time) - torch.cos(2 * torch.pi * high * time)) / (torch.pi * time)
    odd[:, 125] = 0
    return (torch.cat([even, odd]) * window / (2 * (high - low)).repeat(2, 1))[:, None]


def embedding_reference(arrays: Arrays, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The vector (192,) of log-mel features (T, 80) without their mean, in double precision."""
    w = {name: torch.from_numpy(array).double() for name, array in arrays.items()}

    def norm(values: Tensor, name: str) -> Tensor:
        mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return functional.batch_norm(values, mean, variance, w.get(f"{name}.weight"), w.get(f"{name}.bias"))

    def convolve(values: Tensor, name: str, normalisation: str, halve: bool, padding: int = 1) -> Tensor:
        stride = (2 if halve else 1, 1)
        return norm(functional.conv2d(values, w[f"{name}.weight"], stride=stride, padding=padding), normalisation)

    def residual(values: Tensor, name: str, halve: bool) -> Tensor:
        inner = functional.relu(convolve(values, f"{name}.conv1", f"{name}.bn1", halve))
        inner = convolve(inner, f"{name}.conv2", f"{name}.bn2", False)
        if halve:
            values = convolve(values, f"{name}.shortcut.0", f"{name}.shortcut.1", True, padding=0)
        return functional.relu(inner + values)

    def dense(values: Tensor, name: str, dilation: int) -> Tensor:
        inner = functional.relu(norm(values, f"{name}.nonlinear1.batchnorm"))
        inner = functional.conv1d(inner, w[f"{name}.linear1.weight"])
        inner = functional.relu(norm(inner, f"{name}.nonlinear2.batchnorm"))
        cam = f"{name}.cam_layer"
        local = functional.conv1d(inner, w[f"{cam}.linear_local.weight"], padding=dilation, dilation=dilation)
        means = [part.mean(-1, keepdim=True).expand_as(part) for part in inner.split(100, dim=-1)]
        context = inner.mean(-1, keepdim=True) + torch.cat(means, dim=-1)
        context = functional.relu(functional.conv1d(context, w[f"{cam}.linear1.weight"], w[f"{cam}.linear1.bias"]))
        return local * torch.sigmoid(functional.conv1d(context, w[f"{cam}.linear2.weight"], w[f"{cam}.linear2.bias"]))

    hidden = torch.from_numpy(features).double().T[None, None]
    hidden = functional.relu(convolve(hidden, "head.conv1", "head.bn1", False))
    for i in (1, 2):
        hidden = residual(residual(hidden, f"head.layer{i}.0", True), f"head.layer{i}.1", False)
    hidden = functional.relu(convolve(hidden, "head.conv2", "head.bn2", True)).flatten(1, 2)
    hidden = functional.conv1d(hidden, w["xvector.tdnn.linear.weight"], stride=2, padding=2)
    hidden = functional.relu(norm(hidden, "xvector.tdnn.nonlinear.batchnorm"))
    for number, (layers, dilation) in enumerate([(12, 1), (24, 2), (16, 2)], 1):
        for layer in range(1, layers + 1):
            hidden = torch.cat([hidden, dense(hidden, f"xvector.block{number}.tdnnd{layer}", dilation)], dim=1)
        hidden = functional.relu(norm(hidden, f"xvector.transit{number}.nonlinear.batchnorm"))
        hidden = functional.conv1d(hidden, w[f"xvector.transit{number}.linear.weight"])
    hidden = functional.relu(norm(hidden, "xvector.out_nonlinear.batchnorm"))
    statistics = torch.cat([hidden.mean(-1), hidden.std(-1)], dim=-1)[..., None]
    vector = functional.conv1d(statistics, w["xvector.dense.linear.weight"])
    return norm(vector, "xvector.dense.nonlinear.batchnorm")[0, :, 0].numpy()
