"""The contents of OpenAI's checkpoints: {"dims": ..., "model_state_dict": ...}, saved by torch.

A pickle can hold code. torch unpickles it with `weights_only=True`, which accepts only tensors and plain containers.
OpenAI's files have neither vocabulary nor settings. Ours have them under two more keys, which openai-whisper ignores.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtasr.checkpoints import weights
from mtasr.checkpoints.checkpoint import Checkpoint, Precision, checked_dimensions
from mtasr.checkpoints.openai.vocabulary import vocabulary_for
from mtasr.checkpoints.settings import GenerationSettings, plain, settings_in
from mtasr.checkpoints.tensor_names import foreign_name
from mtasr.errors import ModelIntegrityError
from mtasr.networks.dimensions import ModelDimensions

_VOCABULARY, _SETTINGS = "vocabulary", "generation"


# Reading

#: What torch and zipfile raise for damaged files.
_DAMAGE = (
    RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, MemoryError,
    zipfile.BadZipFile, NotImplementedError,
)  # fmt: skip


def load(path: Path) -> Checkpoint:
    document = _unpickle(path)
    dims = checked_dimensions(_dimensions(document, path), path)
    names = {foreign_name(name, "openai"): name for name in weights.expected_shapes(dims)}
    tensors = _tensors(document, path)
    shapes = {theirs: weights.expected_shapes(dims)[ours] for theirs, ours in names.items()}
    found = {name: weights.TensorHeader(tuple(tensor.shape), _dtype(tensor)) for name, tensor in tensors.items()}
    weights.check_headers(shapes, found, path)
    _check_size(path, tensors)
    precision = weights.common_precision(tensor.dtype for tensor in found.values())
    tokens, settings = _vocabulary(document, dims, path)
    model = weights.build(dims, {ours: tensors[theirs] for theirs, ours in names.items()}, path)
    return Checkpoint(model, tokens, settings, precision)


def _unpickle(path: Path) -> Mapping[str, Any]:
    try:
        # torch can read older layouts too, but no Whisper model uses them.
        if not zipfile.is_zipfile(path):
            raise ModelIntegrityError(f"{path} is damaged or not a torch checkpoint")
        _check_archive(path)
        with warnings.catch_warnings(action="ignore"):  # about pickles that torch did not write
            document = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise ModelIntegrityError(f"{path} holds more than weights; none of its code was run") from exc
    except OSError as exc:
        raise ModelIntegrityError(f"cannot read {path}: {exc.strerror or exc}") from exc
    except _DAMAGE as exc:
        raise ModelIntegrityError(f"{path} is damaged or not a torch checkpoint") from exc
    if not isinstance(document, dict) or not {"dims", "model_state_dict"} <= document.keys():
        raise ModelIntegrityError(f"{path} is not a Whisper checkpoint: it has no dims and model_state_dict")
    return document


def _check_archive(path: Path) -> None:
    """Check the checksums, and that the contents are not larger than the file."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ModelIntegrityError(f"{path} is compressed, unlike any checkpoint that torch writes")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ModelIntegrityError(f"{path}: its contents are larger than the file")
        if broken := archive.testzip():
            raise ModelIntegrityError(f"{path} is damaged: the checksum of {broken!r} is wrong")


def _dimensions(document: Mapping[str, Any], path: Path) -> ModelDimensions:
    dims, names = document["dims"], [field.name for field in fields(ModelDimensions)]
    if not isinstance(dims, dict) or sorted(dims) != sorted(names) or not all(type(n) is int for n in dims.values()):
        raise ModelIntegrityError(f"{path}: dims must be whole numbers under the names {', '.join(names)}")
    return ModelDimensions(**dims)


def _tensors(document: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    state = document["model_state_dict"]
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise ModelIntegrityError(f"{path}: model_state_dict is not a dictionary of tensors")
    return state


def _dtype(tensor: Tensor) -> str:
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return "a form that is not dense"
    return str(tensor.dtype).removeprefix("torch.")


def _check_size(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that the file stores every value: strides of zero would make huge tensors of a small file."""
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > path.stat().st_size:
        raise ModelIntegrityError(f"{path}: its tensors are larger than the file")


def _vocabulary(document: Mapping[str, Any], dims: ModelDimensions, path: Path) -> tuple[list[str], GenerationSettings]:
    tokens, settings = document.get(_VOCABULARY), document.get(_SETTINGS)
    if tokens is None or settings is None:
        return vocabulary_for(path, dims)
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ModelIntegrityError(f"{path}: the vocabulary in it is not a list of tokens")
    if not isinstance(settings, dict):
        raise ModelIntegrityError(f"{path}: the generation settings in it are not a dictionary")
    return tokens, settings_in(settings, path, variable_length=settings.get("variable_length") is True)


# Writing


def save(checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
    state = weights.state_of(checkpoint.model, path)
    document = {
        "dims": asdict(checkpoint.model.dims),
        "model_state_dict": {
            foreign_name(name, "openai"): weights.rounded(name, tensor, precision) for name, tensor in state.items()
        },
        _VOCABULARY: checkpoint.tokens,
        _SETTINGS: plain(checkpoint.settings),
    }
    with path.open("xb") as stream:
        torch.save(document, stream)
