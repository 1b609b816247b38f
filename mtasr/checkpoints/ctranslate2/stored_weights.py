"""Weights as `model.bin` stores them, to float32 and back, without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.errors import ModelError, ModelIntegrityError
from mtasr.models.model_bin import ModelFile, StoredVariable

_TYPES = {"float32": "<f4", "float16": "<f2", "int8": "<i1", "int16": "<i2", "int32": "<i4"}


def values(file: ModelFile, name: str) -> Float32Array:
    """The values of a variable, whatever its type. Raises `ModelIntegrityError` if one is not finite."""
    found = decoded(file, name)
    if not np.isfinite(found).all():
        raise ModelIntegrityError(f"{file.path}: {name} holds values that are not finite")
    return found


def decoded(file: ModelFile, name: str) -> Float32Array:
    """As `values`, but for values that are not finite. Raises `ModelIntegrityError` for factors that make no sense."""
    stored = _raw(file, name)
    if f"{name}_scale" not in file.variables:
        return stored
    scale = _raw(file, f"{name}_scale")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ModelIntegrityError(f"{file.path}: {name}_scale holds a factor that is not a positive number")
    if scale.shape not in {(), stored.shape[:1]}:
        raise ModelIntegrityError(f"{file.path}: {name}_scale has the shape {scale.shape}")
    stored /= scale.reshape(-1, *[1] * (stored.ndim - 1))
    return stored


def _raw(file: ModelFile, name: str) -> Float32Array:
    variable = file.variables[name]
    data = file.read(variable)
    if variable.dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(variable.shape)
    return np.frombuffer(data, _TYPES[variable.dtype]).reshape(variable.shape).astype(np.float32, copy=False)


def stored(name: str, array: Float32Array, precision: str) -> StoredVariable:
    """A variable in float32, float16 or bfloat16, rounded to the nearest, ties to even.

    Raises `ModelError` for a value out of its range.
    """
    if precision == "bfloat16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        finite = bool(((rounded & 0x7F80) != 0x7F80).all())
        result: npt.NDArray[np.generic] = rounded.astype("<u2")
    else:
        with np.errstate(over="ignore"):
            result = array.astype(_TYPES[precision])
        finite = bool(np.isfinite(result).all())
    if not finite:
        raise ModelError(f"{name} has values that {precision} cannot hold")
    return StoredVariable(name, precision, array.shape, result.tobytes())


def quantized(name: str, matrix: Float32Array, largest: int) -> tuple[StoredVariable, StoredVariable]:
    """(rows, ...) in int8 of at most `largest`, and the factor of each row, as CTranslate2 computes them.

    Each row times `largest` / its greatest absolute value, rounded to the nearest integer, ties to even. Raises
    `ModelError` for a matrix with values that are not finite.
    """
    rows = matrix.reshape(len(matrix), -1)
    greatest = np.abs(rows).max(axis=1)
    greatest[greatest == 0] = largest
    smallest = np.float32(largest) / np.finfo(np.float32).max  # with less the factor would not be finite
    scale = np.float32(largest) / np.maximum(greatest, smallest)
    if not (scale > 0).all():
        raise ModelError(f"{name} has values that int8 cannot hold")
    whole = np.rint(rows * scale[:, None]).astype("<i1")
    return (
        StoredVariable(name, "int8", matrix.shape, whole.tobytes()),
        StoredVariable(f"{name}_scale", "float32", scale.shape, scale.astype("<f4").tobytes()),
    )
