"""Checkpoints of a run: all that it takes to resume with the same losses, on any number of processes.

    step-00000050/run.json      a note: where the run is, its configuration and its scores
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

from mtasr.errors import ModelIntegrityError, MtasrError, OutputError
from mtasr.training.adaptation import trained_weights
from mtasr.training.config import TrainConfig, to_document
from mtasr.training.parallel import Crew
from mtasr.training.single_file import named_tensors, read_single_file
from mtasr.training.tensor_files import read_tensors, read_whole_tensors, reading, tensor_names, write_tensors

_LOG = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8})(\.pt)?")
_NOTE = "run.json"
#: What AdamW remembers of each weight, besides the number of its updates.
_MOMENTS = ("exp_avg", "exp_avg_sq")
#: What the note of a checkpoint says, and the types of it.
_NOTED: dict[str, type] = {
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

    def follow(self, decay: float) -> None:
        """Move the averages, if there are any, towards the weights of this step."""
        for name, weight in trained_weights(self.model).items() if self.average else ():
            self.average[name].lerp_(weight, 1 - decay)

    @property
    def updates(self) -> int:
        """How often the optimiser has changed the weights: less than `step` if float16 has overflowed."""
        return self._updates(thawed=False)

    @property
    def thawed_updates(self) -> int:
        """The same for weights that were frozen at the beginning: 0 as long as they are, or if there are none."""
        return self._updates(thawed=True)

    def _updates(self, *, thawed: bool) -> int:
        weights = (
            weight for group in self.optimizer.param_groups for weight in group["params"] if _thaws(group) == thawed
        )
        return next((int(self.optimizer.state[each]["step"]) for each in weights if each in self.optimizer.state), 0)


def _thaws(group: Mapping[str, Any]) -> bool:
    """Whether a group of weights is frozen at the beginning."""
    return bool(group.get("thaws"))


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
            _finish(staging, path, set(tensors), _note_of(state, config, crew))
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


def _note_of(state: RunState, config: TrainConfig, crew: Crew) -> dict[str, Any]:
    return {
        "step": state.step,
        "epoch": state.epoch,
        "batch": state.batch,
        "updates": state.updates,
        "thawed_updates": state.thawed_updates,
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


def read_note(path: Path) -> dict[str, Any]:
    """What a checkpoint says beside its tensors: `_NOTED`. Raises as `reading` does for another or a damaged one.

    A single file has no `processes`, and is read whole, with its tensors. Notes of earlier versions have no
    `thawed_updates`.
    """
    is_file = bool(path.suffix)
    with reading(path):
        note: dict[str, Any] = read_single_file(path) if is_file else json.loads((path / _NOTE).read_bytes())
        for name, kind in _NOTED.items():
            if not (is_file and name == "processes") and type(note[name]) is not kind:
                raise ValueError(f"{name} is not of its type")
        if type(note.get("thawed_updates", 0)) is not int:
            raise ValueError("thawed_updates is not of its type")
        note["scores"] = {int(step): float(score) for step, score in note["scores"].items()}
    if not is_file:
        tensor_names(path)
    return note


def load_document(path: Path) -> dict[str, Any]:
    """The note of a checkpoint, and the tensors of `model` and `average` by name, whole and on the CPU.

    Runs no code in it. Raises as `reading` does for another or a damaged checkpoint.
    """
    document = read_note(path)
    if not path.suffix:
        tensors = read_whole_tensors(path, ("model.", "average."))
        for part in ("model", "average"):
            document[part] = {
                name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")
            }
    return document


def resume(state: RunState, folder: Path, crew: Crew, require: Callable[[Mapping[str, Any]], None]) -> None:
    """Put a run back to where its last checkpoint was written, if there is one. All processes must call this.

    `require` gets the note of the checkpoint and raises if it belongs to another run. Damaged checkpoints are skipped
    with a warning. Raises `ModelIntegrityError` if there are no others, and `InputError` for a disk that fails.
    """
    # Machines that share a folder may see its newest names at different times.
    found = crew.decided(lambda: [path.name for path in checkpoints(folder)])
    for name in reversed(found):
        path = folder / name
        try:
            note = _note_for_all(path, crew)
            require(note)
            _restore(state, path, note, crew)
        except ModelIntegrityError as exc:
            _LOG.warning("%s; an earlier one is used", exc)
        else:
            return
    if found:
        raise ModelIntegrityError(f"{folder}: no checkpoint of the run can be read; move them away to begin anew")


def _note_for_all(path: Path, crew: Crew) -> dict[str, Any]:
    """As `read_note`, raising in every process if it raises in one of them."""
    if not path.suffix:
        return crew.decided(lambda: read_note(path))
    note: dict[str, Any] = {}  # with tensors, which are too many to send
    problem = None
    try:
        note = read_note(path)
    except MtasrError as exc:
        problem = exc
    (failures,) = crew.total([problem is not None])
    if failures:
        raise problem or ModelIntegrityError(f"{path}: another process cannot read it")
    return note


def _restore(state: RunState, path: Path, note: Mapping[str, Any], crew: Crew) -> None:
    """Raises as `reading` does; what the tensors of the state hold is then undefined."""
    state.optimizer.state.clear()
    for group in state.optimizer.param_groups:
        # Earlier versions counted steps, with gradients of zero, for frozen weights too.
        count = note.get("thawed_updates", note["updates"]) if _thaws(group) else note["updates"]
        for weight in group["params"] if count else ():
            updates = torch.tensor(float(count), device=weight.device)
            moments = {name: torch.zeros_like(weight) for name in _MOMENTS}
            state.optimizer.state[weight] = {"step": updates, **moments}
    with reading(path):
        if path.suffix:
            _copy(named_tensors(note, state.model, state.optimizer), _tensors(state))
        else:
            read_tensors(_tensors(state), path, alone=crew.alone)
        state.scaler.load_state_dict(note["scaler"])
    state.step, state.epoch, state.batch = note["step"], note["epoch"], note["batch"]
    state.scores = dict(note["scores"])


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
