"""The tensors of EnCodec's files: Meta's `.th` and transformers' folders.

Both store each convolution's weight as a norm and a direction (weight norm, Salimans & Kingma 2016), which are
multiplied here. transformers has written their names in two ways.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from mtasr.checkpoints.checkpoint import require
from mtasr.checkpoints.huggingface.safetensors_files import WEIGHTS, contents, read
from mtasr.checkpoints.weights import TensorHeader, header_problems
from mtasr.errors import ModelIntegrityError
from mtasr.models.folder import sha256_of
from mtasr.models.speakers.torch_file import read_tensors

Layout = Literal["meta", "transformers"]

#: What a codebook's tensors are called.
_BOOK = {"centres": "embed", "counts": "cluster_size", "sums": "embed_avg", "begun": "inited"}
#: The layer of a tensor, if it belongs to a convolution between residual units.
_BETWEEN = re.compile(r"decoder\.layers\.(\d+)\.conv\.")
#: The end of a name of Meta's files: a hyphen and how their SHA-256 begins.
_HASH = re.compile(r"-([0-9a-f]{8})\.th")

Shape = tuple[int, ...]


def read_meta_file(path: Path, shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    """The tensors of a `.th` file by our names, of which `shapes` has all. Runs no code that the file may hold.

    A name such as encodec_24khz-d7cc33bc.th is a promise of how its SHA-256 begins, and is held to it. Raises one
    `ModelIntegrityError` that names all that is missing, unexpected or of another shape.
    """
    if (promised := _HASH.search(path.name)) and not sha256_of(path).startswith(promised[1]):
        raise ModelIntegrityError(f"{path} is damaged or another file: its SHA-256 does not begin with {promised[1]}")
    arrays = read_tensors(path)
    with warnings.catch_warnings(action="ignore"):  # of tensors that must not be written to
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    found = {
        name: TensorHeader(tuple(each.shape), str(each.dtype).removeprefix("torch.")) for name, each in tensors.items()
    }
    _require(header_problems(_stored_shapes(shapes, "meta"), found), path)
    return _folded(shapes, tensors, "meta", path)


def read_transformers_folder(folder: Path, shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    """The same of a folder with model.safetensors. Raises as `read_meta_file`."""
    stored = contents(folder)
    older = {_older_name(name): name for name in stored}
    found: dict[str, TensorHeader] = {name: stored[theirs][1] for name, theirs in older.items()}
    _require(header_problems(_stored_shapes(shapes, "transformers"), found), folder)
    tensors = read(stored, stored)
    return _folded(shapes, {name: tensors[theirs] for name, theirs in older.items()}, "transformers", folder)


def write_transformers_weights(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write `model.safetensors` from tensors by our names, as transformers reads it."""
    tensors = {}
    names = _names(state, "transformers")
    for ours, tensor in state.items():
        name = names[ours]
        if _has_norm(ours):
            tensors[f"{name}_g"], tensors[f"{name}_v"] = _norms(tensor), tensor
        else:
            tensors[name] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS, {"format": "pt"})


def _require(problems: Sequence[str], where: Path) -> None:
    require(problems, where, "a usable codec")


def _foreign_name(ours: str, last: int, layout: Layout) -> str:
    """The name of one of our tensors in a layout; `last` is the number of the decoder's last layer.

    The names of norms and directions are those of weights with `_g` and `_v` after them.
    """
    part, _, rest = ours.partition(".")
    if part == "quantizer":
        _, number, leaf = rest.split(".")
        place = "vq.layers.{}._codebook" if layout == "meta" else "layers.{}.codebook"
        return f"quantizer.{place.format(number)}.{_BOOK[leaf]}"
    if layout == "transformers":
        return ours
    between = _BETWEEN.match(ours)
    kind = "convtr" if between and 0 < int(between[1]) < last else "conv"
    return f"{part}.model.{rest.removeprefix('layers.')}".replace(".conv.", f".{kind}.{kind}.")


def _names(shapes: Iterable[str], layout: Layout) -> dict[str, str]:
    """The names in a layout of all our tensors."""
    names = list(shapes)
    last = max(int(found[1]) for name in names if (found := _BETWEEN.match(name)))
    return {name: _foreign_name(name, last, layout) for name in names}


def _older_name(name: str) -> str:
    """The name that transformers gave to norms (`_g`) and directions (`_v`) before torch's parametrisations."""
    return name.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def _has_norm(ours: str) -> bool:
    return ours.endswith(".conv.weight")


def _stored_shapes(shapes: Mapping[str, Shape], layout: Layout) -> dict[str, Shape]:
    result: dict[str, Shape] = {}
    names = _names(shapes, layout)
    for ours, shape in shapes.items():
        name = names[ours]
        if _has_norm(ours):
            result |= {f"{name}_g": (shape[0], 1, 1), f"{name}_v": shape}
        else:
            result[name] = shape
    return result


def _folded(
    shapes: Mapping[str, Shape], tensors: Mapping[str, Tensor], layout: Layout, where: Path
) -> dict[str, Tensor]:
    """The tensors by our names, in float32. Raises `ModelIntegrityError` unless all are finite."""
    result = {}
    for ours, name in _names(shapes, layout).items():
        if _has_norm(ours):
            norm, direction = tensors[f"{name}_g"].float(), tensors[f"{name}_v"].float()
            result[ours] = norm * direction / _norms(direction)
        else:
            result[ours] = tensors[name].float()
    _require(
        [f"{name} holds values that are not finite" for name, each in result.items() if not each.isfinite().all()],
        where,
    )
    return result


def _norms(weight: Tensor) -> Tensor:
    """Over all but the first dimension: the outputs, and the inputs of a transposed convolution."""
    norms: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True)
    return norms
