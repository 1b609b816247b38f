"""Checkpoints of earlier versions: one file, such as `step-00000050.pt`, that one process wrote. They are only read.

The optimiser's part has numbers instead of the names of weights, in the order of its groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtasr.training.tensor_files import reading


def read_single_file(path: Path) -> dict[str, Any]:
    """What a file holds: the step, the configuration and so on, and the tensors of `model`, `average` and `optimizer`.

    Runs no code in it. Raises as `reading` does for another or a damaged file.
    """
    with reading(path):
        document = torch.load(path, map_location="cpu", weights_only=True)
        for part in ("model", "average"):
            if not all(isinstance(tensor, Tensor) for tensor in document[part].values()):
                raise ValueError(f"{part} has more than tensors")
        updates = max((int(each["step"]) for each in document["optimizer"]["state"].values()), default=0)
        result: dict[str, Any] = document | {"updates": updates}
    return result


def named_tensors(document: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of a file by the names that they have in folders. Raises `LookupError` if it is of another model."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = {
        f"optimizer.{names[id(weights[number])]}.{moment}": tensor
        for number, remembered in document["optimizer"]["state"].items()
        for moment, tensor in remembered.items()
        if moment != "step"
    }
    stored = {f"{part}.{name}": tensor for part in ("model", "average") for name, tensor in document[part].items()}
    return stored | moments
