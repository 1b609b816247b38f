"""The training loop: one function, from a configuration to the folder of a run.

    run/config.json        the configuration
    run/log.jsonl          a line for each step and for each evaluation
    run/step-*/            checkpoints of the run (`mtasr.training.state`)
    run/curves.svg         losses and the score of evaluations, at the end
    run/tensorboard/       the log for TensorBoard, with tensorboard=true
    run/audio/             decoded audio, unless data.cache names another folder
    run/model/             the result, for CTranslate2 (see the objective)

What is learned, and from what, is the objective's (`mtasr.training.objectives`). The same configuration gives the same
losses to the last digit on the same machine, interrupted or not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from mtasr.data.records import written_whole
from mtasr.engines.torch import torch_device
from mtasr.errors import ModelError, OutputError, UsageError
from mtasr.training.adaptation import trained_weights
from mtasr.training.batches import Ahead, Batch
from mtasr.training.config import TrainConfig, make_config, named_settings, to_document
from mtasr.training.layout import Replicated, Sharded, WeightLayout, compile_layers
from mtasr.training.objectives import Exported, Objective, OwnSteps, make_objective
from mtasr.training.optimizer import (
    freeze_encoder,
    learning_rate,
    make_optimizer,
    require_end,
    set_rates,
    without_frozen,
)
from mtasr.training.parallel import Crew, accumulation, crew
from mtasr.training.run_log import RunLog, read_log, write_curves
from mtasr.training.state import (
    RunState,
    best_of,
    checkpoints,
    load_document,
    read_note,
    remove_unfinished,
    resume,
    save_state,
    whole,
)

_LOG = logging.getLogger(__name__)

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}

#: Settings in which a run may differ from the one that it resumes. Some of them change the last digits of its losses.
_MAY_CHANGE = {
    "resume", "output", "device", "save_every", "evaluate_every", "keep", "export", "variable_length", "tensorboard",
    "parallel", "activation_checkpointing", "compile", "data.cache", "data.cache_gigabytes",
    "optimizer.accumulation", "optimizer.batches_per_step",  # what these two come to must not differ
}  # fmt: skip

#: Of a few short recordings, an epoch may leave all out by chance, but hardly so many passes in a row.
_MOST_EMPTY_PASSES = 10

#: Gets each entry of the log as it is written.
Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the data a batch is."""

    epoch: int
    batch: int


@dataclass(frozen=True, slots=True)
class Run:
    """What stays the same during a run."""

    config: TrainConfig
    objective: Objective
    device: torch.device
    crew: Crew
    layout: WeightLayout
    #: Batches of a step that this process computes.
    accumulation: int

    @property
    def folder(self) -> Path:
        return Path(self.config.output)


def train(config: TrainConfig, progress: Progress = lambda _: None) -> Run:
    """Train to the last step of the configuration, resuming from the last checkpoint in its folder.

    Raises `UsageError` for a configuration that does not fit the data, the model or the folder, and what reading
    records, recordings and models raises (`mtasr.errors`). Raises `ProcessEndedError` if another process has ended.
    """
    with crew() as ours:
        run, state, log = begin(config, ours)
        step = run.objective.take_step if isinstance(run.objective, OwnSteps) else take_step
        batches = Ahead(batches_from(run, state.epoch, state.batch))
        try:
            while state.step < config.steps:
                state.step += 1
                entry = step(run, state, batches)
                evaluates = state.step == config.steps or _due(state.step, config.evaluate_every)
                if log is not None:
                    log.write(entry)
                    progress(entry)
                if evaluates:
                    _evaluate(run, state, log, progress)
                if evaluates or _due(state.step, config.save_every):
                    save_state(state, run.folder, config, ours)
        finally:
            batches.close()
            if log is not None:
                log.close()
        if log is not None:
            write_curves(read_log(run.folder / "log.jsonl"), run.folder / "curves.svg", run.objective.score)
        ours.wait()
    return run


def export(run: Run) -> Exported:
    """Write the result of a run: its best checkpoints (`average_best` of them), as the objective stores them.

    Raises `ModelError` for a run without checkpoints, and what the objective raises.
    """
    return run.objective.export(best_checkpoints(run), run.folder)


def best_checkpoints(run: Run) -> Iterator[dict[str, Any]]:
    """What the best checkpoints of a run hold, `average_best` of them, the best first. Raises `ModelError`."""
    found = checkpoints(run.folder)
    if not found:
        raise ModelError(f"{run.folder}: holds no checkpoint of a run")
    scores: dict[int, float] = read_note(found[-1])["scores"]
    return map(load_document, best_of(found, scores, run.config.average_best))


def begin(config: TrainConfig, ours: Crew) -> tuple[Run, RunState, RunLog | None]:
    """Load everything and restore the last checkpoint. Only the first process gets a log, and says what it resumes."""
    require_end(config)
    objective = make_objective(config)
    _require_alike(config, objective, ours)
    device, folder = ours.device(torch_device(config.device)), Path(config.output)
    if ours.leads:
        remove_unfinished(folder)
    if config.resume == "never" and ours.decided(lambda: bool(checkpoints(folder))):
        raise OutputError(f"{folder} holds a run already; take another folder, or resume=auto")
    torch.manual_seed(config.seed)
    model = objective.model(device)
    ours.share(model.buffers())  # what is computed from data may differ in the last digit between machines
    freeze_encoder(model, config)
    layout = _layout(config, objective, model, device, ours)
    run = Run(config, objective, device, ours, layout, accumulation(config.optimizer, ours.size))
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16" and device.type == "cuda")
    if isinstance(objective, OwnSteps):
        optimizer = objective.optimizer(model)
    else:
        optimizer = make_optimizer(model, config.optimizer)
    state = RunState(model, optimizer, scaler)
    if config.regularisation.ema:
        state.average = {name: weight.clone() for name, weight in trained_weights(model).items()}
    resume(state, folder, ours, lambda note: _require_same(run, note))
    ours.wait()  # before the first process writes what another may be reading
    if not ours.leads:
        return run, state, None
    if state.step:
        _LOG.info("continues from step %d/%d", state.step, config.steps)
    with written_whole(folder / "config.json") as staging:
        staging.write_text(json.dumps(to_document(config), indent=1), encoding="utf-8")
    return run, state, RunLog(folder / "log.jsonl", state.step, tensorboard=config.tensorboard)


def _require_alike(config: TrainConfig, objective: Objective, ours: Crew) -> None:
    """Raise `UsageError` in all processes unless they have the same settings and data."""
    if ours.differs({**to_document(config), "device": None}):
        raise UsageError("the processes have different settings; start all of them with the same")
    if ours.differs(objective.data):
        raise UsageError(
            "the processes have different data; all machines must have the same files of records under the same paths"
        )


def _layout(
    config: TrainConfig, objective: Objective, model: nn.Module, device: torch.device, ours: Crew
) -> WeightLayout:
    """Lays the model out, in place."""
    if config.compile:
        compile_layers(model)
    if config.parallel == "data" or ours.alone:
        return Replicated(model, objective.loss, ours)
    precision = torch.bfloat16 if config.precision == "bfloat16" else None
    return Sharded(model, objective.loss, device, ours, precision)


def _require_same(run: Run, note: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless a checkpoint with this note belongs to the run."""
    before = make_config(note["config"])
    ours, theirs = named_settings(run.config), named_settings(before)
    changed = sorted(name for name in {*ours, *theirs} - _MAY_CHANGE if ours.get(name) != theirs.get(name))
    if changed:
        raise UsageError(
            f"{run.folder} holds a run that began with other settings ({', '.join(changed)}); "
            "go on with its settings, or name another folder as output"
        )
    # A single file of an earlier version does not say how many processes there were.
    processes = note.get("processes", run.crew.size)
    batches = processes * accumulation(before.optimizer, processes)
    if batches != run.crew.size * run.accumulation:
        raise UsageError(
            f"{run.folder} holds a run with {batches} batches per step instead of {run.crew.size * run.accumulation}; "
            f"set optimizer.batches_per_step={batches}"
        )


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def batches_from(run: Run, epoch: int, batch: int) -> Iterator[tuple[Position, int, Batch]]:
    """Batches without end, beginning with this one: the position after it, the seed of its loss, and the batch.

    Of each row of as many batches as there are processes, each process takes one. The random numbers of a batch depend
    on its position alone.
    """
    plans = _plans(run, epoch, batch)
    while True:
        row = [next(plans) for _ in range(run.crew.size)]
        place, plan = row[run.crew.rank]
        sequence = np.random.SeedSequence([run.config.seed, place.epoch, place.batch])
        made = run.objective.batch(plan, np.random.default_rng(sequence))
        yield Position(row[-1][0].epoch, row[-1][0].batch + 1), int(sequence.generate_state(1)[0]), made


def _plans(run: Run, epoch: int, batch: int) -> Iterator[tuple[Position, Any]]:
    """Raises `UsageError` if the data is passed over again and again without an example."""
    empty = 0
    while True:
        plans = run.objective.epoch(epoch)
        empty = 0 if plans else empty + 1
        if empty * run.objective.passes_per_epoch >= _MOST_EMPTY_PASSES:
            raise UsageError("there is nothing to learn: no record gives an example")
        for index in range(batch, len(plans)):
            yield Position(epoch, index), plans[index]
        epoch, batch = epoch + 1, 0


def take_step(run: Run, state: RunState, batches: Iterator[tuple[Position, int, Batch]]) -> dict[str, Any]:
    """Take the step `state.step` of the optimiser with the next batches of `batches_from`.

    Returns its entry for the log.
    """
    began = time.perf_counter()
    config, model, optimizer = run.config, state.model, state.optimizer
    positions, seeds, group = zip(*(next(batches) for _ in range(run.accumulation)), strict=True)
    waited = time.perf_counter() - began
    rate = learning_rate(state.step, config.steps, config.optimizer)
    set_rates(optimizer, rate)
    model.train()
    (targets,) = run.crew.total([sum(batch.targets for batch in group)])
    losses = []
    for number, (seed, batch) in enumerate(zip(seeds, group, strict=True), start=1):
        run.layout.expect(last=number == len(group))
        torch.manual_seed(seed)  # so that a batch has the same chances in any process, whatever was drawn before
        with _precision(run):
            loss = run.layout.loss(replace(batch, step=state.step))
        loss = loss / max(targets, 1)  # so that each target weighs the same, in any batch
        if loss.requires_grad:  # not so for a batch without targets
            torch.autograd.backward(state.scaler.scale(loss))
        losses.append(loss.detach())
    run.layout.complete()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    with without_frozen(optimizer, state.step):
        state.scaler.unscale_(optimizer)
        norm = _clip(trained, config.optimizer.clip)
        state.scaler.step(optimizer)
    state.scaler.update()
    run.layout.clear()
    state.follow(config.regularisation.ema)
    state.epoch, state.batch = positions[-1].epoch, positions[-1].batch
    loss_here = sum(float(loss) for loss in losses)
    total, audio, padded = run.crew.total(
        [loss_here, sum(batch.seconds for batch in group), sum(batch.padded_seconds for batch in group)]
    )
    seconds = time.perf_counter() - began
    return {
        "step": state.step,
        "epoch": state.epoch,
        "loss": total,
        "learning_rate": rate,
        "gradient_norm": norm,
        "audio_seconds": round(audio, 3),
        "padding": round(1 - audio / padded, 4) if padded else 0.0,
        "seconds": round(seconds, 4),
        "waited": round(waited, 4),
    }


def _clip(weights: Sequence[nn.Parameter], most: float) -> float:
    """Scale gradients down to this norm, taken over all of them in all processes. Returns the norm before."""
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    torch.nn.utils.clip_grads_with_norm_(weights, most, norm)
    return float(norm)


def _precision(run: Run) -> contextlib.AbstractContextManager[Any]:
    precision = run.config.precision
    if precision == "float32" or (precision == "float16" and run.device.type != "cuda"):
        return contextlib.nullcontext()
    return torch.autocast(run.device.type, _DTYPES[precision])


def _evaluate(run: Run, state: RunState, log: RunLog | None, progress: Progress) -> None:
    """The first process evaluates, with a model of its own if the others hold parts of that of the run."""
    began = time.perf_counter()
    model, average = state.model, state.average
    if isinstance(run.layout, Sharded):
        weights, average = whole(model.state_dict(), run.crew), whole(average, run.crew)
        if log is not None:
            model = run.objective.model(run.device)
            model.load_state_dict(weights)
    if log is None:
        return
    figures = run.objective.evaluate(model, average)
    if figures is None:
        return
    if run.objective.score in figures:
        state.scores[state.step] = figures[run.objective.score]
    entry = {"step": state.step, "evaluation": figures, "seconds": round(time.perf_counter() - began, 2)}
    log.write(entry)
    progress(entry)
