"""Weights out of torch's zip checkpoints, without torch and without running anything that the file says.

A checkpoint is a zip file with a pickle, `data.pkl`, and a member `data/KEY` for each block of memory. A pickle is a
program for a stack machine, and Python's own machine imports and calls whatever the pickle names. The one here knows
only what torch writes for tensors and plain values. A name such as `torch.FloatStorage` stays a pair of words. Only
those that `_KNOWN` and `inert` list may occur, and none is imported or called.

Source: Lib/pickletools.py of Python describes the opcodes; torch/serialization.py and torch/_utils.py the tensors.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mtasr.errors import ModelIntegrityError
from mtasr.models.speakers.stored_zip import StoredZip

Array = npt.NDArray[Any]

#: Storage class -> dtype of its values.
_DTYPES: dict[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
_TENSOR, _ORDERED_DICT = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_KNOWN = frozenset((*_DTYPES, _TENSOR, _ORDERED_DICT))

#: Bytes; the pickles of the published files take up to an eighth.
_LARGEST_PICKLE = 1 << 20
#: NumPy's limit.
_MOST_DIMENSIONS = 64


@dataclass(frozen=True, slots=True)
class _Name:
    """A class or function that the pickle names, as "module name"."""

    text: str


@dataclass(frozen=True, slots=True)
class _Object:
    """What the pickle would have made of a name in `inert`; nothing is known of it."""

    name: _Name


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: np.dtype[Any]
    key: str
    numel: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Mark:
    """Where a group of values begins on the stack."""


class _PickleError(Exception):
    """The pickle holds something else than tensors and plain values."""


def read_tensors(path: Path, *, inside: str | None = None, inert: Collection[str] = ()) -> dict[str, Array]:
    """The tensors of a checkpoint, float32 or int64, by name; `inside` is the key of their dictionary in the document.

    `inert` lists further names that may occur, each as "module name". What they would make is ignored.

    Raises `ModelIntegrityError` if the file is damaged or holds anything else.
    """
    with StoredZip(path) as file:
        top = next((name.removesuffix("data.pkl") for name in file.members if name.endswith("/data.pkl")), None)
        if top is None or file.members[f"{top}data.pkl"].file_size > _LARGEST_PICKLE:
            raise file.damaged("it has no data.pkl of a sensible size")
        if f"{top}byteorder" in file.members and file.read(f"{top}byteorder").strip() != b"little":
            raise file.damaged("its numbers are not little-endian")
        try:
            document = _Machine(inert).run(file.read(f"{top}data.pkl"))
        except _PickleError as exc:
            message = f"{path} holds more than weights; none of its code was run ({exc})"
            raise ModelIntegrityError(message) from exc
        if inside is not None and isinstance(document, dict):
            document = document.get(inside)
        if not isinstance(document, dict) or not all(isinstance(each, _Tensor) for each in document.values()):
            raise file.damaged("it holds no dictionary of tensors")
        return _arrays(file, top, document)


def _arrays(file: StoredZip, top: str, tensors: dict[str, _Tensor]) -> dict[str, Array]:
    blocks = {each.storage: _block(file, top, each.storage) for each in tensors.values()}
    arrays = {}
    for name, tensor in tensors.items():
        count = math.prod(tensor.shape)
        if not _is_contiguous(tensor) or tensor.offset + count > tensor.storage.numel:
            raise file.damaged(f"{name} is not a contiguous part of its block")
        arrays[name] = blocks[tensor.storage][tensor.offset : tensor.offset + count].reshape(tensor.shape)
    # Tensors may share a block; written out, each takes its own space.
    if sum(each.nbytes for each in arrays.values()) > sum(each.nbytes for each in blocks.values()):
        raise file.damaged("its tensors are larger than the file")
    return arrays


def _block(file: StoredZip, top: str, storage: _Storage) -> Array:
    data = file.read(f"{top}data/{storage.key}")
    if len(data) != storage.numel * storage.dtype.itemsize:
        raise file.damaged(f"block {storage.key} has {len(data)} bytes instead of {storage.numel} values")
    return np.frombuffer(data, storage.dtype)


def _is_contiguous(tensor: _Tensor) -> bool:
    """Strides of axes with one entry say nothing, and torch leaves some of them as they came about."""
    shape = tensor.shape
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return all(size == 1 or found == wanted for size, found, wanted in zip(shape, tensor.stride, strides, strict=True))


#: Opcodes that push a value of their own, those that push their argument, and tuples of a fixed length.
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_ARGUMENTS = frozenset(("BINUNICODE", "BININT", "BININT1", "BININT2", "BINFLOAT"))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """A stack machine for the opcodes that torch writes. It makes tuples, lists, dictionaries and the classes above."""

    def __init__(self, inert: Collection[str]) -> None:
        self._inert = inert
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, pickle: bytes) -> object:
        """The document that the pickle describes. Raises `_PickleError`."""
        try:
            for opcode, argument, _ in pickletools.genops(pickle):
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, argument)
        except (ValueError, LookupError, TypeError, OverflowError) as exc:
            raise _PickleError(f"{exc}") from exc
        raise _PickleError("it has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _ARGUMENTS:
            self._stack.append(argument)
        elif name in _TUPLES:
            self._stack.append(tuple(reversed([self._pop() for _ in range(_TUPLES[name])])))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise _PickleError(f"the opcode {name}")

    def _pop(self, kind: type | tuple[type, ...] = object) -> Any:
        value = self._stack.pop()
        if not isinstance(value, kind) or (isinstance(value, _Mark) and kind is not _Mark):
            raise _PickleError(f"a misplaced {type(value).__name__.strip('_').lower()}")
        return value

    def _group(self) -> list[Any]:
        """The values above the last mark, which is removed too."""
        place = next((at for at in reversed(range(len(self._stack))) if isinstance(self._stack[at], _Mark)), None)
        if place is None:
            raise _PickleError("a missing mark")
        group = self._stack[place + 1 :]
        del self._stack[place:]
        return group

    def _top(self, kind: type | tuple[type, ...]) -> Any:
        self._stack.append(self._pop(kind))
        return self._stack[-1]

    def _put(self, index: int) -> None:
        self._memo[index] = self._top(object)

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _extend(self, values: list[Any]) -> None:
        self._top(list).extend(values)

    def _set(self, pairs: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int):
                raise _PickleError("a key that is neither text nor a number")
            target[key] = value

    def _global(self, text: str) -> None:
        if text not in _KNOWN and text not in self._inert:
            raise _PickleError(text.replace(" ", "."))
        self._stack.append(_Name(text))

    def _call(self, _: object) -> None:
        """REDUCE and NEWOBJ, which call a function or make an object."""
        arguments, name = self._pop(tuple), self._pop(_Name)
        if name.text == _TENSOR:
            self._stack.append(_tensor(arguments))
        elif name.text == _ORDERED_DICT and not arguments:
            self._stack.append({})
        elif name.text in self._inert:
            self._stack.append(_Object(name))
        else:
            raise _PickleError(f"a call of {name.text.replace(' ', '.')}")

    def _build(self, _: object) -> None:
        """BUILD, which sets attributes: of objects that nothing is known of, and of a dictionary of tensors."""
        self._pop()
        self._top((_Object, dict))

    def _storage(self, _: object) -> None:
        match self._pop(tuple):
            case ("storage", _Name(text), str(key), str(_), int(numel)) if text in _DTYPES:
                self._stack.append(_Storage(_DTYPES[text], key, numel))
            case _:
                raise _PickleError("a block of an unknown kind")


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, version: None,
    "MARK": lambda machine, _: machine._stack.append(_Mark()),
    "EMPTY_DICT": lambda machine, _: machine._stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine._stack.append([]),
    "TUPLE": lambda machine, _: machine._stack.append(tuple(machine._group())),
    "APPEND": lambda machine, _: machine._extend([machine._pop()]),
    "APPENDS": lambda machine, _: machine._extend(machine._group()),
    "SETITEM": lambda machine, _: machine._set([machine._pop(), machine._pop()][::-1]),
    "SETITEMS": lambda machine, _: machine._set(machine._group()),
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "GLOBAL": _Machine._global,
    "REDUCE": _Machine._call,
    "NEWOBJ": _Machine._call,
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._storage,
}


def _tensor(arguments: tuple[Any, ...]) -> _Tensor:
    """What `torch._utils._rebuild_tensor_v2` is called with: storage, offset, shape, stride, and what is no data."""
    match arguments:
        case (_Storage() as storage, int(offset), tuple(shape), tuple(stride), *_):
            if _are_sizes((offset, *shape, *stride)) and all(shape) and len(shape) <= _MOST_DIMENSIONS:
                return _Tensor(storage, offset, shape, stride)
    raise _PickleError("a tensor of an unknown kind")


def _are_sizes(values: tuple[Any, ...]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)
