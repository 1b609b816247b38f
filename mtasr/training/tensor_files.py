"""Tensors in a folder, written and read by any number of processes (`torch.distributed.checkpoint`).

    .metadata       where each tensor is: a pickle
    __0_0.distcp    the tensors that process 0 wrote, and so on

A pickle can hold code, and torch reads this one without looking. So `_Reader` unpickles only the classes that such a
folder needs, behind stand-ins, since a pickle may also set attributes of a class. It refuses everything that is not a
tensor, because torch would unpickle that too.
"""

from __future__ import annotations

import contextlib
import io
import math
import pathlib
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from enum import EnumType
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from mtasr.errors import DeviceError, InputError, ModelIntegrityError, OutputError
from mtasr.training.parallel import other_ended

_METADATA = ".metadata"

_CHECKPOINT = "torch.distributed.checkpoint"
#: What the metadata of tensors are made of, besides types of numbers.
_CLASSES = {
    *((f"{_CHECKPOINT}.metadata", name) for name in (
        "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    )),
    (f"{_CHECKPOINT}.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
}  # fmt: skip
#: The folder that was written to, by which nothing is found; the module depends on the version of Python.
_PATHS = {(module, name) for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")}

#: What reading raises of damaged files, of a disk that fails, and without enough memory.
_PROBLEMS = (
    OSError, EOFError, pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, RuntimeError,
    AssertionError, ImportError, MemoryError,
)  # fmt: skip
#: Those `OSError`s that say that the files are not as they were written. Others, such as those of a disk that does not
#: answer, say nothing about the files.
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def write_tensors(tensors: Mapping[str, Tensor], folder: Path, *, alone: bool) -> None:
    """Write tensors to a folder, which need not exist; whole ones once, and of DTensors the parts of all processes.

    Unless `alone`, all processes must call this with the same names and the same folder. Raises `OutputError` in every
    process if one of them fails, `KeyboardInterrupt` if one is interrupted, and torch's error if one has ended.
    """
    writer = FileSystemWriter(str(folder))
    planner = DefaultSavePlanner(flatten_state_dict=False)
    try:
        with _quietly():
            state_dict_saver.save(dict(tensors), storage_writer=writer, planner=planner, no_dist=alone)
    except (OSError, RuntimeError, MemoryError, CheckpointException) as exc:
        raise OutputError(f"cannot write {folder}: {_reason(_causes(exc)[0])}") from exc


def read_tensors(tensors: Mapping[str, Tensor], folder: Path, *, alone: bool) -> None:
    """Copy what a folder holds into these tensors, which may be DTensors; the folder may hold more.

    Unless `alone`, all processes must call this. Runs no code in the files. Raises as `reading` does, in every process
    if one of them cannot read its part; what the tensors hold is then undefined.
    """
    with reading(folder), _quietly():
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        state_dict_loader.load(dict(tensors), storage_reader=_Reader(folder), planner=planner, no_dist=alone)


def read_whole_tensors(folder: Path, prefixes: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """The tensors of a folder whose names begin so, whole and on the CPU. Runs no code in the files.

    Raises as `reading` does.
    """
    with reading(folder):
        described = _Reader(folder).metadata().state_dict_metadata
        tensors = {
            name: torch.empty(each.size, dtype=each.properties.dtype)
            for name, each in described.items()
            if isinstance(each, TensorStorageMetadata) and name.startswith(prefixes)
        }
    read_tensors(tensors, folder, alone=True)
    return tensors


def tensor_names(folder: Path) -> set[str]:
    """The names of the tensors in a folder whose files are as they were written. Raises as `reading` does."""
    with reading(folder):
        return set(_Reader(folder).metadata().state_dict_metadata)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tells apart why a checkpoint cannot be read, in this process or another one.

    Raises `ModelIntegrityError` if what is in it is wrong or missing, `InputError` if the disk fails, `DeviceError` if
    there is too little memory. `KeyboardInterrupt` and the like, and torch's error if another process has ended, stay
    as they are.
    """
    try:
        yield
    except (*_PROBLEMS, CheckpointException) as exc:
        causes = _causes(exc)
        for cause in causes:
            if isinstance(cause, MemoryError | torch.OutOfMemoryError):
                raise DeviceError(f"{path}: there is too little memory to read it: {_reason(cause)}") from exc
            if isinstance(cause, OSError) and not isinstance(cause, _MISSING):
                raise InputError(f"{path}: cannot be read: {_reason(cause)}") from exc
        raise ModelIntegrityError(f"{path}: is no checkpoint of a run: {_reason(causes[0])}") from exc


def _causes(exc: BaseException) -> list[BaseException]:
    """What went wrong in each process that failed.

    Raises what stops a program, which torch catches too, and what says that another process has ended.
    """
    causes = [each for each, _ in exc.failures.values()] if isinstance(exc, CheckpointException) else [exc]
    for cause in causes:
        if not isinstance(cause, Exception) or other_ended(cause):
            raise cause
    return causes


def _reason(cause: BaseException) -> str:
    """In one line."""
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(text.split())[:200] or type(cause).__name__


class _Encoding:
    """Equal to the members of an enumeration that have this value. The pickle may change it, and not those."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return self.value == getattr(other, "value", None)

    __hash__ = None  # type: ignore[assignment]


def _stand_in(make: Callable[..., Any]) -> type:
    """A class that makes what `make` returns, instead of instances."""
    return type("StandIn", (), {"__new__": lambda _, *arguments: make(*arguments)})


class _Unpickler(pickle.Unpickler):
    """Makes tensors' metadata, through classes that end with it: the pickle may set their attributes."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PATHS:
            return _stand_in(pathlib.PurePosixPath)
        if module == "torch" and isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        if (module, name) not in _CLASSES:
            raise pickle.UnpicklingError(f"{module}.{name} has no place among tensors")
        found = super().find_class(module, name)
        if isinstance(found, EnumType):
            return _stand_in(_Encoding)
        return _stand_in(partial(object.__new__, cast(type, found)) if is_dataclass(found) else found)


class _Reader(FileSystemReader):
    """Reads metadata of tensors alone, whose files lie in the folder and are as long as they must be."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._folder = folder
        self._problem: Exception | None = None

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        try:
            return self.metadata()
        except Exception as exc:  # torch would replace it, but not that of the next call
            self._problem = exc
            return Metadata({})

    def set_up_storage_reader(self, *arguments: Any, **others: Any) -> None:
        if self._problem is not None:
            raise self._problem
        super().set_up_storage_reader(*arguments, **others)

    def metadata(self) -> Metadata:
        """Raises one of `_PROBLEMS`."""
        content = (self._folder / _METADATA).read_bytes()
        try:
            metadata = _Unpickler(io.BytesIO(content)).load()
        except MemoryError as exc:  # the pickle asks for more than it can fill
            raise ValueError(f"{_METADATA} is too large") from exc
        if not isinstance(metadata, Metadata):
            raise ValueError(f"{_METADATA} describes no tensors")
        described = 0
        for name, each in metadata.state_dict_metadata.items():
            if not isinstance(each, TensorStorageMetadata):
                raise ValueError(f"{name} is no tensor")
            described += math.prod(each.size) * each.properties.dtype.itemsize
        ends: dict[str, int] = {}
        for stored in metadata.storage_data.values():
            if stored.transform_descriptors or Path(stored.relative_path).name != stored.relative_path:
                raise ValueError(f"{stored.relative_path} is no file that belongs there")
            ends[stored.relative_path] = max(ends.get(stored.relative_path, 0), stored.offset + stored.length)
        for name, end in ends.items():
            if (size := (self._folder / name).stat().st_size) < end:
                raise ValueError(f"{name} has {size} bytes instead of {end}")
        if described > sum(ends.values()):
            raise ValueError("the tensors are larger than their files")
        metadata.planner_data = None
        metadata.storage_meta = StorageMeta(load_id=self.load_id)
        return metadata


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's warning that one process alone reads or writes, which is intended."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield
