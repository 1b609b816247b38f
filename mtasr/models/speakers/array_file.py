"""Named float32 arrays in a file: NumPy's .npz, uncompressed and without pickles."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from mtasr.arrays import Float32Array
from mtasr.models.speakers.stored_zip import StoredZip

_SUFFIX = ".npy"
_FLOAT32 = np.dtype("<f4")


def dump_arrays(arrays: Mapping[str, Float32Array]) -> bytes:
    """The file's bytes: the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: array.astype(_FLOAT32) for name, array in sorted(arrays.items())})
    return buffer.getvalue()


def read_arrays(path: Path) -> dict[str, Float32Array]:
    """All arrays of the file, read-only. Raises `ModelIntegrityError` if it is damaged or holds anything else."""
    with StoredZip(path) as file:
        return {name.removesuffix(_SUFFIX): _array(file, name) for name in file.members}


def _array(file: StoredZip, name: str) -> Float32Array:
    stored = stored_array(file, name)
    if stored.dtype != _FLOAT32 or stored.fortran_order or not stored.is_whole:
        raise file.damaged(f"{name} is not an array of float32 in C order")
    return np.frombuffer(stored.values, _FLOAT32).reshape(stored.shape)


class StoredArray(NamedTuple):
    """The header of an array in NumPy's format, and the bytes after it."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    values: memoryview

    @property
    def is_whole(self) -> bool:
        """Whether the bytes are as many as the header says."""
        sizes = all(type(each) is int and each >= 0 for each in self.shape)
        return sizes and math.prod(self.shape) * self.dtype.itemsize == len(self.values)


def stored_array(file: StoredZip, name: str) -> StoredArray:
    """An array as it is stored. Raises `ModelIntegrityError` if it has no header of version 1.0."""
    data = file.read(name)
    stream = io.BytesIO(data)
    try:
        if npy.read_magic(stream) != (1, 0):
            raise ValueError("another version")
        shape, fortran_order, dtype = npy.read_array_header_1_0(stream)
    except (ValueError, TypeError, RecursionError, MemoryError) as exc:
        raise file.damaged(f"{name} is no array: {exc}") from exc
    return StoredArray(shape, fortran_order, dtype, memoryview(data)[stream.tell() :])
