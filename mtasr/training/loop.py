"""The training loop: one function, from a configuration to a run folder.

    run/config.json        the configuration
    run/log.jsonl          a line for each step and for each evaluation
    run/step-*.pt          checkpoints of the run
    run/curves.svg         losses and word error rates, at the end
    run/tensorboard/       the log for TensorBoard, if it is wanted
    run/audio/             decoded audio (unless data.cache says where)
    run/model/             the result, for CTranslate2

The same configuration gives the same losses to the last digit on the same machine, interrupted or not.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor

from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.convert import locate
from mtasr.checkpoints.formats import load_checkpoint
from mtasr.checkpoints.settings import GenerationSettings, default_alignment_heads, default_settings
from mtasr.data.excerpts import Excerpt
from mtasr.data.records import Record, read_records, written_whole
from mtasr.data.samples import SampleStore
from mtasr.decoding.windows import LEAST_SECONDS
from mtasr.engines.torch import choose_device
from mtasr.errors import OutputError, UsageError
from mtasr.networks.dimensions import DIMENSIONS, ModelDimensions
from mtasr.networks.whisper import Whisper
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.vocabulary import read_vocabulary
from mtasr.training.adaptation import mixed, plain_copy, prepare, trained_weights
from mtasr.training.batches import Ahead, Batch, make_batch
from mtasr.training.config import TrainConfig, make_config, to_document
from mtasr.training.curves import write_curves
from mtasr.training.examples import Example, ExampleSource, epoch_of
from mtasr.training.judging import excerpts_to_judge, judge
from mtasr.training.objectives import ctc
from mtasr.training.parallel import Crew, crew
from mtasr.training.run_log import RunLog, read_log
from mtasr.training.schedule import learning_rate, make_optimizer
from mtasr.training.state import RunState, checkpoints, restore, save_state, usable
from mtasr.training.targets import IGNORED

#: To know how long an epoch is, so many are looked at, or fewer that have so many batches.
_EPOCHS_COUNTED, _BATCHES_COUNTED = 20, 200

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}

#: Settings that may differ between a run and the one that goes on from it.
_MAY_CHANGE = {
    "resume", "output", "device", "save_every", "evaluate_every", "keep", "export", "variable_length", "tensorboard",
}  # fmt: skip

#: Told about each line of the log, as it is written.
Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the data a batch is."""

    epoch: int
    batch: int


@dataclass
class Run:
    """What a run works with, beside its state."""

    config: TrainConfig
    initial: Checkpoint
    dims: ModelDimensions
    tokenizer: Tokenizer
    source: ExampleSource
    store: SampleStore
    device: torch.device
    judged: list[Excerpt] = field(default_factory=list)
    crew: Crew = field(default_factory=Crew)

    @property
    def folder(self) -> Path:
        return Path(self.config.output)

    @property
    def settings(self) -> GenerationSettings:
        """Those of the result."""
        settings, variable = self.initial.settings, self.config.variable_length
        if self.config.scratch is not None:
            heads = default_alignment_heads(self.dims.n_text_layer, self.dims.n_text_head)
            settings = replace(settings, alignment_heads=heads, variable_length=False)
        return settings if variable is None else replace(settings, variable_length=variable)


def train(config: TrainConfig, progress: Progress = lambda _: None) -> Run:
    """Train to the last step of the configuration, going on from the last checkpoint in its folder.

    Raises `UsageError` for a configuration that does not fit the data, the model or the folder, and whatever reading
    records, recordings and models raises (see `mtasr.errors`).
    """
    with crew() as ours:
        run, state, log = begin(config, ours)
        batches = Ahead(_batches(run, state.epoch, state.batch))
        try:
            while state.step < config.steps:
                state.step += 1
                entry = _step(run, state, batches)
                judged = state.step == config.steps or _due(state.step, config.evaluate_every)
                if log is None:
                    continue
                log.write(entry)
                progress(entry)
                if judged:
                    _evaluate(run, state, log, progress)
                if judged or _due(state.step, config.save_every):
                    save_state(state, run.folder, config)
        finally:
            batches.close()
            if log is not None:
                log.close()
        if log is not None:
            write_curves(read_log(run.folder / "log.jsonl"), run.folder / "curves.svg")
        ours.wait()
    return run


def begin(config: TrainConfig, ours: Crew) -> tuple[Run, RunState, RunLog | None]:
    """Load everything, and put the state to where the last checkpoint left it. The first process alone has a log."""
    run = _load(config, ours)
    folder = run.folder
    for unfinished in folder.glob(".*.partial") if ours.leads else ():  # of a run that was killed while it wrote
        unfinished.unlink()
    if config.resume == "never" and checkpoints(folder):
        raise OutputError(f"{folder} holds a run already; take another folder, or resume=auto")
    torch.manual_seed(config.seed)
    model = _initial_model(run).to(run.device)
    prepare(model, config)
    scaler = torch.amp.GradScaler(run.device.type, enabled=config.precision == "float16" and run.device.type == "cuda")
    state = RunState(model, make_optimizer(model, config.optimizer), scaler)
    if config.regularisation.ema:
        state.average = {name: weight.clone() for name, weight in trained_weights(model).items()}
    if (document := next(usable(folder), None)) is not None:
        _require_same(config, make_config(document["config"]), folder)
        restore(state, document)
    ours.wait()  # before the first writes anything that another may be reading
    if not ours.leads:
        return run, state, None
    with written_whole(folder / "config.json") as staging:
        staging.write_text(json.dumps(to_document(config), indent=1), encoding="utf-8")
    return run, state, RunLog(folder / "log.jsonl", state.step, tensorboard=config.tensorboard)


def _require_same(config: TrainConfig, before: TrainConfig, folder: Path) -> None:
    ours, theirs = to_document(config), to_document(before)
    changed = [name for name in ours if ours[name] != theirs[name] and name not in _MAY_CHANGE]
    if changed:
        raise UsageError(
            f"{folder} holds a run with another {' and '.join(changed)}; take another folder, or the same settings"
        )


def _load(config: TrainConfig, ours: Crew) -> Run:
    checkpoint = _checkpoint(config)
    dims = _dimensions(checkpoint, config)
    source = _source(config, checkpoint, dims)
    store = SampleStore(Path(config.data.cache) if config.data.cache else Path(config.output) / "audio")
    if not epoch_of(source, config.data, config.seed, 0):
        raise UsageError("there is nothing to learn: none of the records makes a window")
    evaluation = [record for record in _records(config.data.evaluation) if record.task == "transcribe"]
    _require_languages(evaluation, source.tokenizer)
    judged = excerpts_to_judge(evaluation, config.data.evaluation_windows, dims.audio_seconds)
    device = ours.device(choose_device(config.device))
    return Run(config, checkpoint, dims, source.tokenizer, source, store, device, judged, ours)


def batches_in_an_epoch(config: TrainConfig) -> float:
    """How many batches an epoch has in the mean; those of little data differ most.

    Raises what `train` does, but for evaluation data.
    """
    checkpoint = _checkpoint(config)
    source = _source(config, checkpoint, _dimensions(checkpoint, config))
    counts: list[int] = []
    while len(counts) < _EPOCHS_COUNTED and sum(counts) < _BATCHES_COUNTED:
        counts.append(len(epoch_of(source, config.data, config.seed, len(counts))))
    return sum(counts) / len(counts)


def _source(config: TrainConfig, checkpoint: Checkpoint, dims: ModelDimensions) -> ExampleSource:
    tokenizer = Tokenizer(checkpoint.tokens)
    records, rehearsal = _records(config.data.train), _records(config.data.rehearsal)
    _require_languages([*records, *rehearsal], tokenizer)
    return ExampleSource(
        records=records,
        rehearsal=rehearsal,
        tokenizer=tokenizer,
        text_context=dims.n_text_ctx,
        audio_seconds=dims.audio_seconds,
    )


def _require_languages(records: Sequence[Record], tokenizer: Tokenizer) -> None:
    """Where nothing is said, no language is needed."""
    for record in records:
        if not record.captions or record.language in tokenizer.language_tokens:
            continue
        if record.language is None:
            raise UsageError(f"the record {record.id} names no language; mtasr data filter drops such records")
        raise UsageError(f"the model does not know the language {record.language!r} of the record {record.id}")


def _checkpoint(config: TrainConfig) -> Checkpoint:
    """What the run begins with; where that is a vocabulary alone, a model of the sizes of `model` that is not used."""
    if config.vocabulary is None:
        return load_checkpoint(locate(config.model))
    if config.model not in DIMENSIONS:
        raise UsageError(f"with a vocabulary, model is one of {', '.join(DIMENSIONS)}, not {config.model!r}")
    tokens = read_vocabulary(Path(config.vocabulary))
    dims = replace(DIMENSIONS[config.model], n_vocab=len(tokens))
    with torch.device("meta"):
        model = Whisper(dims)
    return Checkpoint(model, tokens, default_settings(tokens, dims.n_text_layer, dims.n_text_head))


def _records(paths: Sequence[str]) -> list[Record]:
    return [record for path in paths for record in read_records(Path(path))]


def _dimensions(checkpoint: Checkpoint, config: TrainConfig) -> ModelDimensions:
    """Those of the model, or what `scratch` makes of them."""
    try:
        dims: ModelDimensions = replace(checkpoint.model.dims, **(config.scratch or {}))
    except TypeError as exc:
        raise UsageError(f"scratch: {exc}") from exc
    if dims.n_vocab != checkpoint.model.dims.n_vocab:
        raise UsageError("scratch: n_vocab is that of the vocabulary, which comes with the model")
    if dims.audio_seconds < LEAST_SECONDS:
        least = round(50 * LEAST_SECONDS)
        raise UsageError(f"scratch: decoding needs an n_audio_ctx of at least {least}, not {dims.n_audio_ctx}")
    return dims


def _initial_model(run: Run) -> Whisper:
    model = plain_copy(run.initial.model) if run.config.scratch is None else Whisper(run.dims)
    if run.config.regularisation.ctc:
        model.add_module(ctc.NAME, ctc.CtcHead(run.dims.n_audio_state, run.tokenizer))
    return model


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _batches(run: Run, epoch: int, batch: int) -> Iterator[tuple[Position, int, Batch]]:
    """Endless, from this batch of this epoch on: where the data go on after it, its seed, and the batch.

    Of as many batches in a row as there are processes, each takes one. Chance depends on the place of a batch alone.
    """
    places = _places(run, epoch, batch)
    while True:
        row = [next(places) for _ in range(run.crew.size)]
        place, examples = row[run.crew.rank]
        sequence = np.random.SeedSequence([run.config.seed, place.epoch, place.batch])
        made = make_batch(
            examples, run.store, run.dims.n_mels, run.config.regularisation, np.random.default_rng(sequence)
        )
        yield Position(row[-1][0].epoch, row[-1][0].batch + 1), int(sequence.generate_state(1)[0]), made


def _places(run: Run, epoch: int, batch: int) -> Iterator[tuple[Position, list[Example]]]:
    while True:
        groups = epoch_of(run.source, run.config.data, run.config.seed, epoch)
        for index in range(batch, len(groups)):
            yield Position(epoch, index), groups[index]
        epoch, batch = epoch + 1, 0


def _step(run: Run, state: RunState, batches: Iterator[tuple[Position, int, Batch]]) -> dict[str, Any]:
    """One step of the optimiser; the line about it for the log."""
    began = time.perf_counter()
    config, model, optimizer = run.config, state.model, state.optimizer
    positions, seeds, group = zip(*(next(batches) for _ in range(config.optimizer.accumulation)), strict=True)
    waited = time.perf_counter() - began
    rate = learning_rate(state.step, config.steps, config.optimizer)
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate
    model.train()
    (lessons,) = run.crew.total([sum(batch.lessons for batch in group)])
    loss_here = 0.0
    for seed, batch in zip(seeds, group, strict=True):
        torch.manual_seed(seed)  # so that a batch has the same chances in any process, and whatever was drawn before
        # Each token counts the same, in whichever batch it is.
        loss = loss_of(model, batch, config) / lessons
        torch.autograd.backward(state.scaler.scale(loss))
        loss_here += float(loss.detach())
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    run.crew.add_gradients(trained)
    state.scaler.unscale_(optimizer)
    norm = float(torch.nn.utils.clip_grad_norm_(trained, config.optimizer.clip))
    state.scaler.step(optimizer)
    state.scaler.update()
    optimizer.zero_grad(set_to_none=True)
    for name, weight in trained_weights(model).items() if state.average else ():
        state.average[name].lerp_(weight, 1 - config.regularisation.ema)
    state.epoch, state.batch = positions[-1].epoch, positions[-1].batch
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
        "padding": round(1 - audio / padded, 4),
        "seconds": round(seconds, 4),
        "waited": round(waited, 4),
    }


def loss_of(model: Whisper, batch: Batch, config: TrainConfig) -> Tensor:
    """The cross-entropy of a batch, summed over its lessons, and what the encoder is taught beside that."""
    device = model.device
    tokens, labels = torch.from_numpy(batch.tokens).to(device), torch.from_numpy(batch.labels).to(device)
    with _precision(config, device):
        encoded = model.encode(torch.from_numpy(batch.mel).to(device))  # (B, S, D)
        logits = model.decode(tokens, encoded).logits  # (B, T, V)
    loss = F.cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=config.regularisation.label_smoothing if model.training else 0.0,
        reduction="sum",
    )
    weight = config.regularisation.ctc
    return loss + weight * model.get_submodule(ctc.NAME)(encoded, labels) if weight else loss


def _precision(config: TrainConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if config.precision == "float32" or (config.precision == "float16" and device.type != "cuda"):
        return contextlib.nullcontext()
    return torch.autocast(device.type, _DTYPES[config.precision])


def _evaluate(run: Run, state: RunState, log: RunLog, progress: Progress) -> None:
    if not run.judged:
        return
    began = time.perf_counter()
    model = plain_copy(state.model, state.average).to(run.device)
    figures = judge(model, run.tokenizer, run.settings, run.judged, run.store).figures()
    if "wer" in figures:
        state.scores[state.step] = figures["wer"]
    entry = {"step": state.step, "evaluation": figures, "seconds": round(time.perf_counter() - began, 2)}
    log.write(entry)
    progress(entry)


def mean_of(run: Run, documents: Iterable[dict[str, Any]]) -> Checkpoint:
    """The model of some checkpoints of the run, as it is to be used: merged, averaged, mixed with the initial one."""
    model = _initial_model(run)
    prepare(model, run.config)

    def merged(document: dict[str, Any]) -> Whisper:
        model.load_state_dict(document["model"])
        return plain_copy(model, document["average"])

    models = map(merged, documents)
    plain = next(models)
    for number, another in enumerate(models, start=2):
        plain = mixed(plain, another.state_dict(), 1 / number)
    share = run.config.regularisation.initial_share
    if share and run.config.scratch is None:
        plain = mixed(plain, run.initial.model.state_dict(), share)
    return Checkpoint(plain, run.initial.tokens, run.settings)
