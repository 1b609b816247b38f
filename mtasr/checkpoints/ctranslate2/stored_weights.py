"""Weights as `model.bin` stores them, to float32 and back, without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mtasr.checkpoints.ctranslate2.binary import ModelFile, Record
from mtasr.errors import ModelError, ModelIntegrityError

Float32Array = npt.NDArray[np.float32]

_TYPES = {"float32": "<f4", "float16": "<f2", "int8": "<i1", "int16": "<i2", "int32": "<i4"}


def values(file: ModelFile, name: str) -> Float32Array:
    """The values of a variable, whatever it is stored as. Raises `ModelIntegrityError` if one is not finite."""
    stored = _raw(file, name)
    if f"{name}_scale" in file.variables:
        scale = _raw(file, f"{name}_scale")
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ModelIntegrityError(f"{file.path}: {name}_scale holds a factor that is none")
        if scale.shape not in {(), stored.shape[:1]}:
            raise ModelIntegrityError(f"{file.path}: {name}_scale has the shape {scale.shape}")
        stored = stored / scale.reshape(-1, *[1] * (stored.ndim - 1))
    if not np.isfinite(stored).all():
        raise ModelIntegrityError(f"{file.path}: {name} holds values that are not finite")
    return stored


def _raw(file: ModelFile, name: str) -> Float32Array:
    variable = file.variables[name]
    data = file.read(variable)
    if variable.dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(variable.shape)
    return np.frombuffer(data, _TYPES[variable.dtype]).reshape(variable.shape).astype(np.float32)


def record(name: str, array: Float32Array, precision: str) -> Record:
    """A variable in float32, float16 or bfloat16, rounded to the nearest, ties to even.

    Raises `ModelError` for a value out of its range.
    """
    if precision == "bfloat16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        finite = bool(((rounded & 0x7F80) != 0x7F80).all())
        stored: npt.NDArray[np.generic] = rounded.astype("<u2")
    else:
        with np.errstate(over="ignore"):
            stored = array.astype(_TYPES[precision])
        finite = bool(np.isfinite(stored).all())
    if not finite:
        raise ModelError(f"{name} has values that {precision} cannot hold")
    return Record(name, precision, array.shape, stored.tobytes())


def quantized(name: str, matrix: Float32Array, largest: int) -> tuple[Record, Record]:
    """(rows, ...) in int8, up to the value `largest`, and the factor of each row, as CTranslate2 computes them."""
    rows = matrix.reshape(len(matrix), -1)
    greatest = np.abs(rows).max(axis=1)
    greatest[greatest == 0] = largest
    smallest = np.float32(largest) / np.finfo(np.float32).max  # with less the factor would not be finite
    scale = np.float32(largest) / np.maximum(greatest, smallest)
    whole = np.rint(rows * scale[:, None]).astype("<i1")
    return (
        Record(name, "int8", matrix.shape, whole.tobytes()),
        Record(f"{name}_scale", "float32", scale.shape, scale.astype("<f4").tobytes()),
    )
