"""The weights of a network as it was published: checked by name and shape before anything is computed with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.errors import ModelIntegrityError

_NAMES_SHOWN = 3


def checked(
    network: str, arrays: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float32Array]:
    """The arrays that `shapes` names, in float32; others are ignored.

    Raises `ModelIntegrityError`, which names every array that is missing, has another shape, or is not of finite
    floating-point numbers.
    """
    missing = [name for name in shapes if name not in arrays]
    if missing:
        raise ModelIntegrityError(f"{network}: {len(missing)} arrays are missing: {_listed(missing)}")
    wrong = [
        f"{name} {arrays[name].shape} instead of {shape}"
        for name, shape in shapes.items()
        if arrays[name].shape != shape
    ]
    if wrong:
        raise ModelIntegrityError(f"{network}: {len(wrong)} arrays have another shape: {_listed(wrong)}")
    damaged = [name for name in shapes if not _finite(arrays[name])]
    if damaged:
        raise ModelIntegrityError(f"{network}: {len(damaged)} arrays are damaged: {_listed(damaged)}")
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in shapes}


def _finite(array: npt.NDArray[Any]) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all())


def _listed(names: list[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
