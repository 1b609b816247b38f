"""CTranslate2 model folders: config.json, model.bin and the vocabulary.

Matrices in int8 are stored as CTranslate2 does it: each row (output) times 127 / its largest absolute value, rounded
to the nearest integer, ties to even; the factors beside it in float32, under the name of the matrix and `_scale`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mtasr.checkpoints import weights
from mtasr.checkpoints.checkpoint import Checkpoint, Precision, checked_dimensions, require
from mtasr.checkpoints.ctranslate2 import binary
from mtasr.checkpoints.ctranslate2.binary import ModelFile, Record, Variable
from mtasr.checkpoints.ctranslate2.documents import write_documents
from mtasr.checkpoints.ctranslate2.info import dimensions_of, expected_shapes, precision_of, read_settings
from mtasr.checkpoints.settings import default_alignment_heads
from mtasr.checkpoints.tensor_names import FusedTensor, fused
from mtasr.errors import ModelIntegrityError
from mtasr.networks.whisper import ModelDimensions, Whisper
from mtasr.tokenizer.vocabulary import read_vocabulary

_EMBEDDING, _PROJECTION = "decoder/embeddings/weight", "decoder/projection/weight"

#: Variables that are not weights: type and the value that they must have if they are there.
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
_TORCH_TYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
}


# Reading


def load(folder: Path, /) -> Checkpoint:
    file = binary.read_contents(folder / "model.bin")
    dims = checked_dimensions(dimensions_of(file), folder)
    layout = fused(weights.expected_shapes(dims))
    _check(file, dims)
    tensors = {name: tensor for group in layout for name, tensor in _split(file, group)}
    settings = read_settings(folder, default_alignment_heads(dims.n_text_layer, dims.n_text_head))
    model = weights.build(dims, tensors, folder)
    return Checkpoint(model, read_vocabulary(folder), settings, precision_of(file))


def _check(file: ModelFile, dims: ModelDimensions) -> None:
    """Raise one error for everything in the file that is not as it must be."""
    expected = {name: shape for name, shape in expected_shapes(dims).items() if name != _PROJECTION}
    found = {}
    problems = []
    for name, variable in file.variables.items():
        if name in _HEADS or name == _PROJECTION or name.removesuffix("_scale") == _PROJECTION:
            continue
        if name in _SCALARS:
            if file.scalar(name) != _SCALARS[name][1]:
                problems.append(f"{name} is {file.scalar(name)} instead of {_SCALARS[name][1]}")
        elif name.endswith("_scale") and name.removesuffix("_scale") in expected:
            matrix = file.variables.get(name.removesuffix("_scale"))
            if matrix is not None and matrix.dtype not in {"int8", "int16"}:
                problems.append(f"{name} does not belong to a matrix in {matrix.dtype}")
            problems += _scale_problems(name, variable, expected[name.removesuffix("_scale")])
        else:
            quantized = variable.dtype in {"int8", "int16"} and f"{name}_scale" in file.variables
            found[name] = weights.Found(variable.shape, "float32" if quantized else variable.dtype)
    problems += _projection_problems(file)
    try:
        weights.compare(expected, found, file.path)
    except ModelIntegrityError as exc:
        problems.insert(0, str(exc).partition("not a usable Whisper model: ")[2])
    require(problems, file.path)


def _scale_problems(name: str, variable: Variable, matrix: tuple[int, ...]) -> list[str]:
    """int8 has a factor for each row, int16 one for all."""
    if variable.dtype != "float32" or variable.shape not in {(), matrix[:1]}:
        return [f"{name} has the shape {variable.shape} and type {variable.dtype}"]
    return []


def _projection_problems(file: ModelFile) -> list[str]:
    """The output projection is the embedding, once more or under another name."""
    if _PROJECTION not in file.variables:
        return [f"{_PROJECTION} is missing"]
    names = [(_PROJECTION, _EMBEDDING), (f"{_PROJECTION}_scale", f"{_EMBEDDING}_scale")]
    return [f"{ours} is not that of the embedding" for ours, theirs in names if not _same(file, ours, theirs)]


def _same(file: ModelFile, name: str, other: str) -> bool:
    """Whether two variables hold the same; a matrix stored once may have its scale stored once as well."""
    one, two = file.variables.get(name), file.variables.get(other)
    if one is None or two is None or one == two:
        return True
    return (one.dtype, one.shape) == (two.dtype, two.shape) and file.read(one) == file.read(two)


def _split(file: ModelFile, group: FusedTensor) -> Iterator[tuple[str, Tensor]]:
    """Our tensors in one of the file, by name."""
    whole = _tensor(file, group.name)
    for part, tensor in zip(group.parts, whole.chunk(len(group.parts)), strict=True):
        if part:
            yield part, tensor.clone() if len(group.parts) > 1 else tensor
        elif tensor.any():
            raise ModelIntegrityError(f"{file.path}: {group.name} has a bias for keys, which Whisper has not")


def _tensor(file: ModelFile, name: str) -> Tensor:
    tensor = _raw(file, name)
    if f"{name}_scale" not in file.variables:
        return tensor
    scale = _raw(file, f"{name}_scale")
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise ModelIntegrityError(f"{file.path}: {name}_scale holds a factor that is none")
    return tensor.float() / scale.reshape(-1, *[1] * (tensor.ndim - 1))


def _raw(file: ModelFile, name: str) -> Tensor:
    variable = file.variables[name]
    return torch.frombuffer(file.read(variable), dtype=_TORCH_TYPES[variable.dtype]).reshape(variable.shape)


# Writing


def save(checkpoint: Checkpoint, folder: Path, precision: Precision, /) -> None:
    model = checkpoint.model
    state = weights.state_of(model, folder)
    layout = fused(state)
    rest = precision.removeprefix("int8").removeprefix("_") or "float32"
    quantized = {group.name for group in layout if precision.startswith("int8") and _is_matrix(group, state)}
    names = sorted(
        [group.name for group in layout] + [f"{name}_scale" for name in quantized] + list(_SCALARS) + list(_HEADS)
    )
    by_name = {group.name: group for group in layout}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.bin").open("xb") as stream:
        records = _records(names, by_name, state, model, rest, quantized)
        binary.write(stream, len(names), records, {_PROJECTION: _EMBEDDING})
    write_documents(folder, checkpoint.tokens, checkpoint.settings, model.dims)


def _records(
    names: Sequence[str],
    layout: Mapping[str, FusedTensor],
    state: Mapping[str, Tensor],
    model: Whisper,
    rest: str,
    quantized: set[str],
) -> Iterator[Record]:
    """All variables in order. A quantised matrix comes right before its scales, so only one is held at a time."""
    heads = {_HEADS[0]: model.dims.n_audio_head, _HEADS[1]: model.dims.n_text_head}
    scale = torch.empty(0)
    for name in names:
        if name in heads:
            yield Record(name, "int16", (), heads[name].to_bytes(2, "little"))
        elif name in _SCALARS:
            dtype, value = _SCALARS[name]
            yield Record(name, dtype, (), value.to_bytes(binary.TYPES[dtype], "little", signed=True))
        elif name.removesuffix("_scale") in quantized and name not in layout:
            yield _record(name, "float32", scale)
        elif name in quantized:
            matrix, scale = quantize(_join(layout[name], state))
            yield _record(name, "int8", matrix)
        else:
            yield _record(name, rest, weights.rounded(name, _join(layout[name], state), rest))


def _record(name: str, dtype: str, tensor: Tensor) -> Record:
    return Record(name, dtype, tuple(tensor.shape), tensor.contiguous().view(torch.uint8).numpy().tobytes())


def quantize(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, ...) -> int8 of the same shape, and the factor of each row, as CTranslate2 computes them."""
    rows = matrix.float().flatten(1)
    largest = rows.abs().amax(dim=1)
    largest[largest == 0] = 127.0
    # Divided as tensors: torch computes a number / a tensor through the reciprocal, which rounds twice.
    full = torch.tensor(127.0)
    smallest = full / torch.finfo(torch.float32).max  # with less the factor would not be finite
    scale = full / largest.maximum(smallest)
    return (rows * scale[:, None]).round().to(torch.int8).reshape(matrix.shape), scale


def _is_matrix(group: FusedTensor, state: Mapping[str, Tensor]) -> bool:
    return group.name.endswith("/weight") and state[group.parts[0] or ""].ndim > 1


def _join(group: FusedTensor, state: Mapping[str, Tensor]) -> Tensor:
    like = next(state[part] for part in group.parts if part)
    parts = [state[part] if part else torch.zeros_like(like) for part in group.parts]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
