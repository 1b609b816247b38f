"""From checked tensors to a network, and back in a precision to store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mtasr.checkpoints.checkpoint import Precision, require
from mtasr.errors import ModelError, ModelIntegrityError
from mtasr.networks.whisper import ModelDimensions, Whisper

FLOATS: dict[torch.dtype, str] = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}
DTYPES = {name: dtype for dtype, name in FLOATS.items()}


class TensorHeader(NamedTuple):
    """Shape and type of a tensor according to its file, before its data are read."""

    shape: tuple[int, ...]
    dtype: str


@cache
def expected_shapes(dims: ModelDimensions) -> Mapping[str, tuple[int, ...]]:
    """The shape of every tensor of such a model, by our name. Allocates no tensors."""
    return {name: tuple(tensor.shape) for name, tensor in _hollow(dims).state_dict().items()}


def _hollow(dims: ModelDimensions) -> Whisper:
    with torch.device("meta"):
        return Whisper(dims).eval()


def check_headers(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, TensorHeader], where: Path) -> None:
    """Raise one `ModelIntegrityError` that lists all that `header_problems` finds."""
    require(header_problems(expected, found), where)


def header_problems(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, TensorHeader]) -> list[str]:
    """All tensors that are missing or unexpected, and those that have another shape or are not floats."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} does not belong there" for name in found if name not in expected]
    for name, tensor in found.items():
        shape = expected.get(name, tensor.shape)
        if tensor.shape != shape:
            problems.append(f"{name} has the shape {tensor.shape} instead of {shape}")
        if tensor.dtype not in DTYPES:
            problems.append(f"{name} is of type {tensor.dtype}")
    return problems


def common_precision(dtypes: Iterable[str]) -> Precision:
    """The least precise of the types in a file, to which the model was rounded."""
    present = set(dtypes)
    if "bfloat16" in present:
        return "bfloat16"
    return "float16" if "float16" in present else "float32"


def build(dims: ModelDimensions, tensors: Mapping[str, Tensor], where: Path) -> Whisper:
    """A model in float32 made of these tensors, whose names and shapes were checked.

    Raises `ModelIntegrityError` if a weight is not a finite number.
    """
    state = {name: tensor.detach().to(torch.float32) for name, tensor in tensors.items()}
    require([f"{name} holds values that are not finite" for name in state if not _finite(state[name])], where)
    model = _hollow(dims)
    model.load_state_dict(state, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def rounded(name: str, tensor: Tensor, precision: str) -> Tensor:
    """The tensor in a floating-point precision, contiguous. Raises `ModelError` if a value exceeds its range."""
    stored = tensor.detach().cpu().to(DTYPES[precision]).contiguous()
    if not _finite(stored):
        raise ModelError(f"{name} has values that {precision} cannot hold")
    return stored


def state_of(model: Whisper, where: Path) -> dict[str, Tensor]:
    """The tensors of a model. Raises `ModelError` if it has adapters, `ModelIntegrityError` if they do not fit it."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    expected = expected_shapes(model.dims)
    if state.keys() - expected.keys():
        raise ModelError(f"{where}: the model has adapters, which no format of models holds; only torch runs them")
    wrong = [name for name, shape in expected.items() if name not in state or tuple(state[name].shape) != shape]
    if wrong:
        raise ModelIntegrityError(f"{where}: the model's own tensors do not fit its dimensions: {', '.join(wrong)}")
    return state


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
