"""Checkpoints of a run: all that it takes to resume with the same losses.

A checkpoint is one file, such as `step-00000050.pt`, that appears whole or not at all.
"""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtasr.data.records import written_whole
from mtasr.errors import ModelIntegrityError
from mtasr.training.config import TrainConfig, to_document

_LOG = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8})\.pt")
#: Attributes of `RunState` that have a state of their own.
_STATEFUL = ("model", "optimizer", "scaler")


@dataclass
class RunState:
    """What changes during a run: it has taken `step` steps, and batch `batch` of epoch `epoch` comes next."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    epoch: int = 0
    batch: int = 0
    #: The objective's score of each checkpoint that was evaluated, by step; lower is better.
    scores: dict[int, float] = field(default_factory=dict)


def save_state(state: RunState, folder: Path, config: TrainConfig) -> Path:
    """Write a checkpoint and return its path. Removes all but the last `keep` and the best. Raises `OutputError`."""
    document = vars(state) | {name: getattr(state, name).state_dict() for name in _STATEFUL}
    document["config"] = to_document(config)
    path = folder / f"step-{state.step:08}.pt"
    with written_whole(path) as staging:
        torch.save(document, staging)
    found = checkpoints(folder)
    kept = {*found[-config.keep :], *best_of(found, state.scores, config.average_best)}
    for old in found:
        if old not in kept:
            old.unlink(missing_ok=True)
    return path


def best_of(paths: Sequence[Path], scores: Mapping[int, float], count: int) -> list[Path]:
    """The `count` checkpoints with the lowest scores, the earlier of equals first; without scores, the last ones."""
    scored = [path for path in paths if step_of(path) in scores]
    if not scored:
        return list(paths[-count:])
    return sorted(scored, key=lambda path: (scores[step_of(path)], step_of(path)))[:count]


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, in order of their steps."""
    return sorted(path for path in folder.glob("step-*.pt") if _NAME.fullmatch(path.name))


def step_of(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def load_document(path: Path) -> dict[str, Any]:
    """What a checkpoint holds. Runs no code in it. Raises `ModelIntegrityError` for another or a damaged file."""
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as exc:
        raise ModelIntegrityError(f"{path}: is no checkpoint of a run: {' '.join(str(exc).split())[:200]}") from exc
    if not isinstance(document, dict) or "optimizer" not in document:
        raise ModelIntegrityError(f"{path}: is no checkpoint of a run")
    return document


def usable(folder: Path) -> Iterator[dict[str, Any]]:
    """What the checkpoints in a folder hold, the last first. Skips damaged ones with a warning."""
    for path in reversed(checkpoints(folder)):
        try:
            yield load_document(path)
        except ModelIntegrityError as exc:
            _LOG.warning("%s; an earlier one is used", exc)


def restore(state: RunState, document: dict[str, Any]) -> None:
    """Put a run back to where it was when it wrote the checkpoint."""
    device = next(state.model.parameters()).device
    for name in _STATEFUL:
        getattr(state, name).load_state_dict(document[name])
    state.average = {name: tensor.to(device) for name, tensor in document["average"].items()}
    state.step, state.epoch, state.batch = document["step"], document["epoch"], document["batch"]
    state.scores = dict(document["scores"])
