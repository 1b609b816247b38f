"""Checkpoints of a run: all that it takes to resume with the same losses, on any number of processes.

    step-00000050/run.json      where the run is, its configuration and its scores
    step-00000050/.metadata     which tensors are where
    step-00000050/*.distcp      weights, averages, and what the optimiser remembers, a file from each process

Such a folder appears whole or not at all: it is written under a passing name and then renamed. The checkpoints of
earlier versions are single files (`mtasr.training.single_file`).
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from mtasr.errors import ModelIntegrityError, OutputError
from mtasr.training.config import TrainConfig, to_document
from mtasr.training.parallel import Crew
from mtasr.training.single_file import named_tensors, read_single_file
from mtasr.training.tensor_files import read_all_tensors, read_tensors, tensor_names, write_tensors

_LOG = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8})(\.pt)?")
_NOTE = "run.json"
#: What AdamW remembers of each weight, besides the number of its updates.
_MOMENTS = ("exp_avg", "exp_avg_sq")
#: What a checkpoint says beside its tensors, and the types of it.
_STATED: dict[str, type] = {
    "step": int, "epoch": int, "batch": int, "updates": int, "processes": int, "scores": dict, "scaler": dict,
    "config": dict,
}  # fmt: skip


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
    #: The objective's score of each checkpoint that was evaluated, by step; lower is better. Only the first process has
    #: those of its own steps.
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        """How often the optimiser has changed the weights: less than `step` if float16 has overflowed."""
        return next((int(each["step"]) for each in self.optimizer.state.values()), 0)


def save_state(state: RunState, folder: Path, config: TrainConfig, crew: Crew) -> Path:
    """Write a checkpoint and return its path. Removes all but the last `keep` and the best. Raises `OutputError`.

    All processes must call this.
    """
    path = folder / f"step-{state.step:08}"
    staging = folder / f".{path.name}.partial"
    if crew.leads:
        _removed(staging)
    crew.wait()
    tensors = _tensors(state)
    write_tensors(tensors, staging, alone=crew.alone)
    if crew.leads:
        try:
            _finish(staging, path, set(tensors), _stated_by(state, config, crew))
        except OSError as exc:
            raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc
        found = checkpoints(folder)
        kept = {*found[-config.keep :], *best_of(found, state.scores, config.average_best)}
        for old in found:
            if old not in kept:
                _removed(old)
    return path


def _finish(staging: Path, path: Path, names: set[str], note: Mapping[str, Any]) -> None:
    """Check what all processes have written, add the note, and rename the folder. Raises `OutputError`, `OSError`."""
    try:
        complete = tensor_names(staging) == names
    except ModelIntegrityError:
        complete = False
    if not complete:
        raise OutputError(
            f"cannot write {path}: files of other processes are missing; all machines must share the folder of a run"
        )
    with (staging / _NOTE).open("w", encoding="utf-8") as stream:
        json.dump(note, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    _removed(path)  # of a run that did not get to use it
    staging.rename(path)


def _removed(path: Path) -> None:
    if path.is_dir():
        doomed = path.with_name(f".{path.name.strip('.')}.doomed.partial")
        path.rename(doomed)  # so that no half of it is taken for a checkpoint
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what a run that was killed had begun to write or to remove."""
    for unfinished in folder.glob(".*.partial"):
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        else:
            unfinished.unlink()


def _tensors(state: RunState) -> dict[str, Tensor]:
    """The tensors of a run by their names in a checkpoint. They are not copies."""
    names = {id(weight): name for name, weight in state.model.named_parameters()}
    return {
        **{f"model.{name}": tensor for name, tensor in state.model.state_dict().items()},
        **{f"average.{name}": tensor for name, tensor in state.average.items()},
        **{
            f"optimizer.{names[id(weight)]}.{moment}": remembered[moment]
            for weight, remembered in state.optimizer.state.items()
            for moment in _MOMENTS
        },
    }


def _stated_by(state: RunState, config: TrainConfig, crew: Crew) -> dict[str, Any]:
    return {
        "step": state.step,
        "epoch": state.epoch,
        "batch": state.batch,
        "updates": state.updates,
        "processes": crew.size,
        "scores": {str(step): score for step, score in state.scores.items()},
        "scaler": state.scaler.state_dict(),
        "config": to_document(config),
    }


def best_of(paths: Sequence[Path], scores: Mapping[int, float], count: int) -> list[Path]:
    """The `count` checkpoints with the lowest scores, the earlier of equals first; without scores, the last ones."""
    scored = [path for path in paths if step_of(path) in scores]
    if not scored:
        return list(paths[-count:])
    return sorted(scored, key=lambda path: (scores[step_of(path)], step_of(path)))[:count]


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, in order of their steps."""
    return sorted((path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)), key=step_of)


def step_of(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def stated(path: Path) -> dict[str, Any]:
    """What a checkpoint says beside its tensors: `_STATED`. Raises `ModelIntegrityError` for another or a damaged one.

    A single file has no `processes`, and is read whole.
    """
    if path.suffix:
        return read_single_file(path)
    try:
        document = json.loads((path / _NOTE).read_bytes())
        for name, kind in _STATED.items():
            if type(document[name]) is not kind:
                raise ValueError(f"{name} in {_NOTE} is not of its type")
        document["scores"] = {int(step): float(score) for step, score in document["scores"].items()}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise ModelIntegrityError(f"{path}: is no checkpoint of a run: {' '.join(str(exc).split())[:200]}") from exc
    tensor_names(path)
    result: dict[str, Any] = document
    return result


def load_document(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds, its tensors whole and on the CPU: `model` and `average` by name, and `stated`.

    Runs no code in it. Raises `ModelIntegrityError` for another or a damaged checkpoint.
    """
    document = stated(path)
    if not path.suffix:
        tensors = read_all_tensors(path)
        for part in ("model", "average"):
            document[part] = {
                name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")
            }
    return document


def resume(state: RunState, folder: Path, crew: Crew, require: Callable[[Mapping[str, Any]], None]) -> None:
    """Put a run back to where its last checkpoint was written, if there is one. All processes must call this.

    `require` gets what the checkpoint says (`stated`) and raises if it belongs to another run. Damaged checkpoints are
    skipped with a warning. Raises `ModelIntegrityError` if there are no others.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            document = _stated_to_all(path, crew)
            require(document)
            _restore(state, path, document, crew)
        except ModelIntegrityError as exc:
            _LOG.warning("%s; an earlier one is used", exc)
        else:
            return
    if found:
        raise ModelIntegrityError(f"{folder}: no checkpoint of the run can be read; move them away to begin anew")


def _stated_to_all(path: Path, crew: Crew) -> dict[str, Any]:
    """As `stated`, raising in every process if one of them cannot read it."""
    document: dict[str, Any] = {}
    problem = None
    try:
        document = stated(path)
    except ModelIntegrityError as exc:
        problem = exc
    (failures,) = crew.total([problem is not None])
    if failures:
        raise problem or ModelIntegrityError(f"{path}: another process cannot read it")
    return document


def _restore(state: RunState, path: Path, document: Mapping[str, Any], crew: Crew) -> None:
    """Raises `ModelIntegrityError`; the tensors of the state then hold anything."""
    state.optimizer.state.clear()
    if document["updates"]:
        for group in state.optimizer.param_groups:
            for weight in group["params"]:
                updates = torch.tensor(float(document["updates"]), device=weight.device)
                moments = {name: torch.zeros_like(weight) for name in _MOMENTS}
                state.optimizer.state[weight] = {"step": updates, **moments}
    try:
        if path.suffix:
            _copy(named_tensors(document, state.model, state.optimizer), _tensors(state))
        else:
            read_tensors(_tensors(state), path, alone=crew.alone)
        state.scaler.load_state_dict(document["scaler"])
    except (LookupError, TypeError, AttributeError, RuntimeError) as exc:
        raise ModelIntegrityError(f"{path}: is no checkpoint of this run: {' '.join(str(exc).split())[:200]}") from exc
    state.step, state.epoch, state.batch = document["step"], document["epoch"], document["batch"]
    state.scores = dict(document["scores"])


@torch.no_grad()
def _copy(sources: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy whole tensors on the CPU into others that may be sharded."""
    for name, tensor in tensors.items():
        source = sources[name].to(tensor.device)
        if isinstance(tensor, DTensor):
            source = distribute_tensor(source, tensor.device_mesh, tensor.placements, src_data_rank=None)
        tensor.copy_(source)


def whole(tensors: Mapping[str, Tensor], crew: Crew) -> dict[str, Tensor]:
    """Tensors that may be sharded, whole and on the CPU, for the first process; the others get none.

    All processes must call this.
    """
    result = {}
    for name, tensor in tensors.items():
        together = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if crew.leads:
            result[name] = together.detach().cpu()
    return result
