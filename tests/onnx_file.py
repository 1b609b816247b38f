"""ONNX files, written byte by byte: small networks of the shapes that speaker models have.

Source: onnx.proto3 of the ONNX project, version 1.16; a message is a row of fields, each a number and a value.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

_FLOAT = 1
_INT_ATTRIBUTE, _INTS_ATTRIBUTE = 2, 7


def segmentation_file(weight: np.ndarray | None = None, *, frames_first: bool = True) -> bytes:
    """Samples (N, 1, T) to scores (N, F, 7), one frame for 270 samples: a convolution of width 1000."""
    kernel = np.random.default_rng(3).normal(size=(7, 1, 1000)) if weight is None else weight
    nodes = [
        _node("Conv", ["x", "w"], "c" if frames_first else "y", _ints("strides", [270])),
        _node("Transpose", ["c"], "y", _ints("perm", [0, 2, 1])) if frames_first else b"",
    ]
    return _model(nodes, ("x", ["N", 1, "T"]), ("y", ["N", "F", 7]), {"w": kernel})


def embedding_file(size: int = 256) -> bytes:
    """Features (N, T, 80) to vectors (N, size): the mean absolute value of each band, through a matrix."""
    matrix = np.random.default_rng(4).normal(size=(80, size))
    nodes = [
        _node("Abs", ["feats"], "a"),
        _node("ReduceMean", ["a"], "m", _ints("axes", [1]) + _int("keepdims", 0)),
        _node("MatMul", ["m", "w"], "embs"),
    ]
    return _model(nodes, ("feats", ["N", "T", 80]), ("embs", ["N", size]), {"w": matrix})


def embedding_matrix(size: int = 256) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(80, size)).astype(np.float32)


Value = tuple[str, Sequence[str | int]]


def _model(nodes: list[bytes], given: Value, wanted: Value, weights: dict[str, np.ndarray]) -> bytes:
    graph = b"".join(_field(1, each) for each in nodes if each) + _field(2, b"g")
    graph += b"".join(_field(5, _tensor(name, values)) for name, values in weights.items())
    graph += _field(11, _value(*given)) + _field(12, _value(*wanted))
    return _number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13))


def _node(kind: str, given: list[str], wanted: str, attributes: bytes = b"") -> bytes:
    inputs = b"".join(_field(1, name.encode()) for name in given)
    return inputs + _field(2, wanted.encode()) + _field(4, kind.encode()) + attributes


def _ints(name: str, values: list[int]) -> bytes:
    numbers = b"".join(_number(8, each) for each in values)
    return _field(5, _field(1, name.encode()) + numbers + _number(20, _INTS_ATTRIBUTE))


def _int(name: str, value: int) -> bytes:
    return _field(5, _field(1, name.encode()) + _number(3, value) + _number(20, _INT_ATTRIBUTE))


def _tensor(name: str, values: np.ndarray) -> bytes:
    shape = b"".join(_number(1, each) for each in values.shape)
    return shape + _number(2, _FLOAT) + _field(8, name.encode()) + _field(9, values.astype("<f4").tobytes())


def _value(name: str, shape: Sequence[str | int]) -> bytes:
    sizes = [_number(1, each) if isinstance(each, int) else _field(2, each.encode()) for each in shape]
    kind = _number(1, _FLOAT) + _field(2, b"".join(_field(1, each) for each in sizes))
    return _field(1, name.encode()) + _field(2, _field(1, kind))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    groups = struct.pack("B", value & 0x7F)
    while value := value >> 7:
        groups = groups[:-1] + bytes([groups[-1] | 0x80, value & 0x7F])
    return groups
