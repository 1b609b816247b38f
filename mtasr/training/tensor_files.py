"""Tensors in a folder, written and read by any number of processes (`torch.distributed.checkpoint`).

    .metadata       where each tensor is: a pickle
    __0_0.distcp    the tensors that process 0 wrote, and so on

A pickle can hold code, and torch reads this one without looking. So `_Reader` unpickles only the classes that such a
folder needs, and refuses everything that is not a tensor, because torch would unpickle that too.
"""

from __future__ import annotations

import contextlib
import io
import math
import pathlib
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from mtasr.errors import ModelIntegrityError, OutputError

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

#: What reading damaged files raises.
_DAMAGE = (
    OSError, EOFError, pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, RuntimeError,
    AssertionError, ImportError, MemoryError,
)  # fmt: skip


def write_tensors(tensors: Mapping[str, Tensor], folder: Path, *, alone: bool) -> None:
    """Write tensors to a folder, which need not exist; whole ones once, and of DTensors the parts of all processes.

    Unless `alone`, all processes must call this with the same names and the same folder. Raises `OutputError` in every
    process if one of them fails.
    """
    writer = FileSystemWriter(str(folder))
    planner = DefaultSavePlanner(flatten_state_dict=False)
    try:
        with _quietly():
            state_dict_saver.save(dict(tensors), storage_writer=writer, planner=planner, no_dist=alone)
    except (OSError, RuntimeError, CheckpointException) as exc:
        raise OutputError(f"cannot write {folder}: {_reason(exc)}") from exc


def read_tensors(tensors: Mapping[str, Tensor], folder: Path, *, alone: bool) -> None:
    """Copy what a folder holds into these tensors, which may be DTensors; the folder may hold more.

    Unless `alone`, all processes must call this. Runs no code in the files. Raises `ModelIntegrityError` in every
    process if one of them cannot read its part; the tensors then hold anything.
    """
    with _damage(folder), _quietly():
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        state_dict_loader.load(dict(tensors), storage_reader=_Reader(folder), planner=planner, no_dist=alone)


def read_all_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, whole and on the CPU. Runs no code in the files. Raises `ModelIntegrityError`."""
    with _damage(folder):
        described = _Reader(folder).read_metadata().state_dict_metadata
        tensors = {
            name: torch.empty(each.size, dtype=each.properties.dtype)
            for name, each in described.items()
            if isinstance(each, TensorStorageMetadata)
        }
    read_tensors(tensors, folder, alone=True)
    return tensors


def tensor_names(folder: Path) -> set[str]:
    """The names of the tensors in a folder. Raises `ModelIntegrityError` if its files are not as they were written."""
    with _damage(folder):
        return set(_Reader(folder).read_metadata().state_dict_metadata)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CLASSES:
            return super().find_class(module, name)
        if (module, name) in _PATHS:
            return pathlib.PurePosixPath
        if module == "torch" and isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} has no place among tensors")


class _Reader(FileSystemReader):
    """Reads metadata of tensors alone, whose files lie in the folder and are as long as they must be."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._folder = folder

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        metadata = _Unpickler(io.BytesIO((self._folder / _METADATA).read_bytes())).load()
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


@contextlib.contextmanager
def _damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, CheckpointException) as exc:
        raise ModelIntegrityError(f"{folder}: is no checkpoint of a run: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    """What went wrong, in one line; of several processes, what the first of them says."""
    if isinstance(exc, CheckpointException):
        exc = next(iter(exc.failures.values()))[0]
    return " ".join(str(exc).split())[:200]
