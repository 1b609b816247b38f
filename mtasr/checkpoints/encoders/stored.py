"""The tensors in a folder of Hugging Face, whatever its network: `model.safetensors`, or else `pytorch_model.bin`.

Neither can run code: the second is a pickle, which `mtasr.models.speakers.torch_file` reads without unpickling it.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from mtasr.checkpoints.huggingface import safetensors_files
from mtasr.checkpoints.weights import TensorHeader
from mtasr.errors import ModelIntegrityError
from mtasr.models.speakers.torch_file import read_tensors

PICKLED = "pytorch_model.bin"


class StoredTensors:
    """The tensors of one folder. `headers` has what the files say of each; `read` gives their values.

    Raises `ModelIntegrityError` if there is no file of weights, or it is damaged or holds more than weights.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arrays: dict[str, Tensor] = {}
        self._files: safetensors_files.Contents = {}
        if any((folder / name).is_file() for name in (safetensors_files.WEIGHTS, safetensors_files.INDEX)):
            self._files = safetensors_files.contents(folder)
            self.headers = {name: header for name, (_, header) in self._files.items()}
        elif (folder / PICKLED).is_file():
            arrays = read_tensors(folder / PICKLED)
            with warnings.catch_warnings(action="ignore"):  # of tensors that must not be written to
                self._arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
            self.headers = {name: _header(tensor) for name, tensor in self._arrays.items()}
        else:
            raise ModelIntegrityError(f"{folder} has no weights: neither {safetensors_files.WEIGHTS} nor {PICKLED}")

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        """The tensors of these names, in float32. Raises `ModelIntegrityError` for values that are not finite."""
        tensors = {name: self._arrays[name] for name in names} if self._arrays else self._from_files(names)
        # Copies, because a tensor of a file is the file: it changes with it, and how it lies in memory decides how
        # results are rounded.
        tensors = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
        if damaged := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
            raise ModelIntegrityError(f"{self.folder}: {damaged[0]} holds values that are not finite")
        return tensors

    def _from_files(self, names: Collection[str]) -> dict[str, Tensor]:
        return safetensors_files.read(self._files, names)


def _header(tensor: Tensor) -> TensorHeader:
    return TensorHeader(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
