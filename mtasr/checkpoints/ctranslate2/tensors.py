"""The weights of a CTranslate2 folder, to torch and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtasr.arrays import Float32Array
from mtasr.checkpoints import weights
from mtasr.checkpoints.checkpoint import Checkpoint, Precision, checked_dimensions, require
from mtasr.checkpoints.ctranslate2 import stored_weights
from mtasr.checkpoints.ctranslate2.documents import write_documents
from mtasr.checkpoints.ctranslate2.info import (
    EMBEDDING,
    PROJECTION,
    dimensions_of,
    expected_shapes,
    precision_of,
    projection_problems,
    read_settings,
    rest_of,
)  # fmt: skip
from mtasr.checkpoints.settings import default_alignment_heads
from mtasr.checkpoints.tensor_names import FusedTensor, fused
from mtasr.errors import ModelIntegrityError
from mtasr.models import model_bin
from mtasr.models.model_bin import ModelFile, StoredVariable, Variable
from mtasr.networks.whisper import ModelDimensions
from mtasr.tokenizer.vocabulary import read_vocabulary

#: Variables that are not weights: type and required value. A file may lack them.
_SCALARS: dict[str, tuple[str, int]] = {
    "decoder/activation": ("int8", 3),  # GELU
    "decoder/alibi": ("int8", 0),
    "decoder/alibi_use_positive_positions": ("int8", 0),
    "decoder/alignment_heads": ("int16", 1),  # unused by Whisper, which has its own in config.json
    "decoder/alignment_layer": ("int16", -1),
    "decoder/pre_norm": ("int8", 1),
    "decoder/scale_alibi": ("int8", 0),
    "decoder/scale_embeddings": ("int8", 0),
    "decoder/start_from_zero_embedding": ("int8", 0),
}
_HEADS = ("encoder/num_heads", "decoder/num_heads")
#: The largest int8 value of a stored matrix.
_LARGEST = 127


# Reading


def load(folder: Path) -> Checkpoint:
    file = model_bin.read_contents(folder / "model.bin")
    dims = checked_dimensions(dimensions_of(file), folder)
    _check(file, dims)
    layout = fused(weights.expected_shapes(dims))
    tensors = {name: tensor for group in layout for name, tensor in _split(file, group)}
    settings = read_settings(folder, default_alignment_heads(dims.n_text_layer, dims.n_text_head))
    model = weights.build(dims, tensors, folder)
    return Checkpoint(model, read_vocabulary(folder), settings, precision_of(file))


def _check(file: ModelFile, dims: ModelDimensions) -> None:
    """Raise one `ModelIntegrityError` for everything in the file that is wrong."""
    expected = {name: shape for name, shape in expected_shapes(dims).items() if name != PROJECTION}
    found = {}
    others = []
    for name, variable in file.variables.items():
        matrix = name.removesuffix("_scale")
        if name in _HEADS or matrix == PROJECTION:
            continue
        if name in _SCALARS:
            if file.scalar(name) != _SCALARS[name][1]:
                others.append(f"{name} is {file.scalar(name)} instead of {_SCALARS[name][1]}")
        elif name != matrix and matrix in expected:
            others += _scale_problems(name, variable, file.variables.get(matrix), expected[matrix])
        else:
            quantized = variable.dtype in {"int8", "int16"} and f"{name}_scale" in file.variables
            found[name] = weights.TensorHeader(variable.shape, "float32" if quantized else variable.dtype)
    require(weights.header_problems(expected, found) + others + projection_problems(file), file.path)


def _scale_problems(name: str, scale: Variable, matrix: Variable | None, shape: tuple[int, ...]) -> list[str]:
    """int8 has a factor for each row, int16 one for all."""
    problems = []
    if matrix is not None and matrix.dtype not in {"int8", "int16"}:
        problems.append(f"{name} does not belong to a matrix in {matrix.dtype}")
    if scale.dtype != "float32" or scale.shape not in {(), shape[:1]}:
        problems.append(f"{name} has the shape {scale.shape} and type {scale.dtype}")
    return problems


def _split(file: ModelFile, group: FusedTensor) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the network that a stored one holds, by name."""
    whole = torch.from_numpy(stored_weights.decoded(file, group.name))
    for part, tensor in zip(group.parts, whole.chunk(len(group.parts)), strict=True):
        if part:
            yield part, tensor.clone() if len(group.parts) > 1 else tensor
        elif tensor.any():
            raise ModelIntegrityError(f"{file.path}: {group.name} has a bias for keys, unlike Whisper")


# Writing


def save(checkpoint: Checkpoint, folder: Path, precision: Precision) -> None:
    dims = checkpoint.model.dims
    state = weights.state_of(checkpoint.model, folder)
    layout = {group.name: group for group in fused(state)}
    matrices = {name for name in layout if precision.startswith("int8") and _is_matrix(layout[name], state)}
    heads = dict(zip(_HEADS, (dims.n_audio_head, dims.n_text_head), strict=True))
    scalars = _SCALARS | {name: ("int16", count) for name, count in heads.items()}

    def variables() -> Iterator[StoredVariable]:
        """One at a time, so that only one matrix is in memory. The factors follow a quantised matrix."""
        for name in sorted([*layout, *scalars]):
            if name in scalars:
                dtype, value = scalars[name]
                yield StoredVariable(name, dtype, (), value.to_bytes(model_bin.TYPES[dtype], "little", signed=True))
            elif name in matrices:
                yield from stored_weights.quantized(name, _join(layout[name], state), _LARGEST)
            else:
                yield stored_weights.stored(name, _join(layout[name], state), rest_of(precision))

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.bin").open("xb") as stream:
        model_bin.write(stream, variables(), {PROJECTION: EMBEDDING})
    write_documents(folder, checkpoint.tokens, checkpoint.settings, dims)


def _is_matrix(group: FusedTensor, state: Mapping[str, Tensor]) -> bool:
    return group.name.endswith("/weight") and state[group.parts[0] or ""].ndim > 1


def _join(group: FusedTensor, state: Mapping[str, Tensor]) -> Float32Array:
    parts = [state[part].cpu().float().numpy() if part else None for part in group.parts]
    if len(parts) == 1 and parts[0] is not None:
        return parts[0]
    zeros = np.zeros_like(next(part for part in parts if part is not None))
    return np.concatenate([zeros if part is None else part for part in parts])
