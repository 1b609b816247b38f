"""The `.safetensors` files of a Hugging Face folder: one, or several that an index names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mtasr.checkpoints.settings import read_json
from mtasr.checkpoints.weights import TensorHeader
from mtasr.errors import ModelIntegrityError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

#: For each tensor its file and what the header of that file says.
Contents = Mapping[str, tuple[Path, TensorHeader]]


def contents(folder: Path) -> Contents:
    """What the files hold, before any data are read. Raises `ModelIntegrityError`."""
    return {name: (path, header) for path in _shards(folder) for name, header in headers(path).items()}


def headers(path: Path) -> dict[str, TensorHeader]:
    """The tensors of one file, before any data are read. Raises `ModelIntegrityError`."""
    found = {}
    try:
        with safe_open(path, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118 - not a dictionary
                part = stream.get_slice(name)
                dtype = _TYPES.get(part.get_dtype(), part.get_dtype())
                found[name] = TensorHeader(tuple(part.get_shape()), dtype)
    except (OSError, SafetensorError) as exc:
        raise ModelIntegrityError(f"{path} is damaged or not a safetensors file: {exc}") from exc
    return found


def read(found: Contents, names: Collection[str]) -> dict[str, Tensor]:
    """The tensors of these names."""
    tensors: dict[str, Tensor] = {}
    for path in sorted({path for path, _ in found.values()}):
        with safe_open(path, framework="pt") as stream:
            tensors |= {name: stream.get_tensor(name) for name in names if found[name][0] == path}
    return tensors


def _shards(folder: Path) -> list[Path]:
    """The weights file, or all files that the index names."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [folder / WEIGHTS]
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ModelIntegrityError(f"{index} has no weight_map")
    outside = [name for name in names.values() if Path(name).name != name]
    if outside:  # an index may name only files of its folder
        raise ModelIntegrityError(f"{index} names a file elsewhere: {outside[0]}")
    return sorted({folder / name for name in names.values()})
