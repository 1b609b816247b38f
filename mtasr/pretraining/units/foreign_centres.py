"""Centres that other programs stored: NumPy's `.npy`, and k-means models of scikit-learn in joblib's form (`.bin`).

joblib's files are pickles, which can run code, with the bytes of arrays between their instructions. So the reader here
knows a list of names, behind each of which stands an empty class that remembers what it was given; the arrays of
numbers are read, and all other names are refused. GSLM and HuBERT publish such files, Seamless has `.npy`.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from mtasr.errors import ModelIntegrityError

_NUMBERS = {"f2", "f4", "f8", "i4", "i8", "u4", "i1", "u1", "b1"}
_MODELS = {"KMeans", "MiniBatchKMeans"}
_WRAPPER = "NumpyArrayWrapper"
#: Module -> what a k-means model is made of.
_KNOWN = {
    "_codecs": {"encode"},
    "sklearn.cluster.k_means_": _MODELS,
    "sklearn.cluster._kmeans": _MODELS,
    "joblib.numpy_pickle": {_WRAPPER},
    "sklearn.externals.joblib.numpy_pickle": {_WRAPPER},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"scalar"},
    "numpy._core.multiarray": {"scalar"},
    "numpy.random": {"__RandomState_ctor"},
    "numpy.random._pickle": {"__randomstate_ctor", "__bit_generator_ctor"},
    "numpy.random._mt19937": {"MT19937"},
}

#: What unpickling raises of damaged files.
_PROBLEMS = (
    pickle.UnpicklingError, OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, MemoryError,
    OverflowError, AssertionError, RecursionError, struct.error,
)  # fmt: skip


def foreign_centres(path: Path) -> npt.NDArray[Any] | None:
    """The array of centres, of any shape, or None for a file in neither of the two forms.

    Raises `ModelIntegrityError` for a damaged file, and for a pickle of anything but a k-means model.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(len(npy.MAGIC_PREFIX))
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            if start == npy.MAGIC_PREFIX:
                return _plain(stream, size)
            return _model(stream, size) if start[:1] == pickle.PROTO else None
    except _PROBLEMS as exc:
        raise ModelIntegrityError(f"{path} is damaged or holds no k-means model: {exc}") from exc


def _plain(stream: BinaryIO, size: int) -> npt.NDArray[Any]:
    """An array in NumPy's format, of no more bytes than the file has."""
    version = npy.read_magic(stream)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError("another version of the format")
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = header(stream)
    if dtype.str[1:] not in _NUMBERS:
        raise ValueError("an array is not one of numbers")
    return _read(stream, size, shape, dtype, "F" if fortran_order else "C")


def _read(
    stream: BinaryIO, size: int, shape: object, dtype: np.dtype[Any], order: Literal["C", "F"]
) -> npt.NDArray[Any]:
    """The array whose bytes come next in a file of so many bytes."""
    if not isinstance(shape, tuple) or not all(type(each) is int and each >= 0 for each in shape):
        raise ValueError("an array has no shape")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > size - stream.tell():
        raise ValueError("the file is shorter than it says")
    return np.frombuffer(stream.read(wanted), dtype).reshape(shape, order=order)


class _Thing:
    """Stands for an object of a class that is not imported."""

    def __init__(self, *args: object) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Unpickler(pickle._Unpickler):
    """In Python, because only this one can be told to read on after an array's description."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    #: The superclass keeps here what it has made.
    stack: list[Any]

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(stream)
        self._stream, self._size = stream, size
        self._classes: dict[str, type[_Thing]] = {}

    def find_class(self, module: str, name: str) -> type[_Thing]:
        if name not in _KNOWN.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a k-means model")
        return self._classes.setdefault(name, type(name, (_Thing,), {}))

    def load_build(self) -> None:
        pickle._Unpickler.dispatch[pickle.BUILD[0]](self)  # type: ignore[arg-type]
        made = self.stack[-1]
        if type(made).__name__ == _WRAPPER and isinstance(made, _Thing):
            self.stack[-1] = self._array(made.state)

    dispatch[pickle.BUILD[0]] = load_build

    def _array(self, state: dict[str, Any]) -> npt.NDArray[Any]:
        """The array that a wrapper describes, whose bytes follow it in the file."""
        if state.get("numpy_array_alignment_bytes") is not None:
            self._stream.read(self._stream.read(1)[0])
        order: Literal["C", "F"] = "F" if state["order"] == "F" else "C"
        return _read(self._stream, self._size, state["shape"], _dtype(state["dtype"]), order)


def _dtype(thing: _Thing) -> np.dtype[Any]:
    """What `numpy.dtype` would be; only of numbers."""
    name, order = thing.args[0], thing.state[1]
    if name not in _NUMBERS or order not in {"<", ">", "|"}:
        raise ValueError("an array is not one of numbers")
    return np.dtype(f"{order}{name}")


def _model(stream: BinaryIO, size: int) -> npt.NDArray[Any]:
    found = _Unpickler(stream, size).load()
    if type(found).__name__ not in _MODELS or not isinstance(found, _Thing):
        raise ValueError("it is another object")
    centres = found.state["cluster_centers_"]
    if not isinstance(centres, np.ndarray):
        raise ValueError("its centres are no array")
    return centres
