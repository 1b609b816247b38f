"""What objectives share that learn from audio alone: recordings, batches, evaluation, and the encoder that results.

Letters in shapes: B crops, N samples, S encoder frames.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.arrays import BoolArray, Float32Array
from mtasr.checkpoints.encoders import Family, save_encoder
from mtasr.data.mixture import Mixture
from mtasr.data.reading import RecordBlock
from mtasr.data.records import written_whole
from mtasr.data.samples import SampleStore
from mtasr.errors import InputError, UsageError
from mtasr.pretraining.audio.crop_reader import CropReader, LeftOut
from mtasr.pretraining.audio.crops import (
    STEP,
    AudioPiece,
    LengthCheck,
    batches_of,
    cropped,
    pieces_of,
    recordings_in,
    spread,
)
from mtasr.spans import SAMPLE_RATE
from mtasr.training.adaptation import recompute
from mtasr.training.batches import Batch
from mtasr.training.config import DataConfig, TrainConfig, named_settings
from mtasr.training.initial_encoder import begin_with
from mtasr.training.objectives import Exported
from mtasr.training.parallel import is_first
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints

_LOG = logging.getLogger(__name__)

#: The settings that learning from audio alone uses. Others would do nothing, and are refused.
_USED = {
    "objective", "objective_options", "output", "steps", "seed", "device", "precision", "parallel",
    "activation_checkpointing", "compile", "resume", "save_every", "evaluate_every", "keep", "average_best",
    "tensorboard", "init_encoder", "regularisation.ema", "data.train", "data.weights", "data.temperature",
    "data.pool_hours", "data.evaluation", "data.evaluation_windows", "data.cache", "data.cache_gigabytes",
    "data.batch_seconds", "data.longest", "data.shortest",
}  # fmt: skip

#: Recordings that are longer than so many pieces cost more to decode than to learn from.
_LONG = 4
#: Pieces of which one at least must be audible, if all of a batch are not.
_TRIED = 1000

_Kind = TypeVar("_Kind", bound="CropBatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class CropBatch(Batch):
    """Crops of one length, `audio` (B, N) in [-1, 1] at 16 kHz; in `mask` (B, S), the frames to predict are true."""

    #: Where each row comes from.
    crops: tuple[AudioPiece, ...]
    audio: Float32Array
    mask: BoolArray | None = None

    def extended(self, kind: type[_Kind], **more: Any) -> _Kind:
        """A batch of a kind that has more: these fields, and all others as they are here."""
        return kind(**{each.name: getattr(self, each.name) for each in fields(CropBatch)} | more)


class PretrainingObjective(ABC):
    """An `Objective` of the training loop. A subclass adds a network, what a batch has beside audio, and a loss.

    `data.train` and `data.evaluation` name recordings, folders of them, records and shards; texts are not looked at.
    Recordings are cut into pieces of `data.shortest` to `data.longest` seconds, of which each batch has random crops of
    one length. What cannot be decoded, or ends before it should, is left out; `left-out.tsv` in the folder of the run
    has the reasons (`mtasr.pretraining.audio.crop_reader`). Raises `UsageError` for settings that have no effect or do
    not fit, and `InputError` for data that cannot be read.
    """

    score = "loss"
    #: Recipes by name, the default first: settings as a YAML file has them. The name becomes the setting
    #: `objective_options.preset`, by which `network` knows the sizes of the encoder.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    #: What transformers calls the encoder that results, if `save_encoder` cannot know.
    family: ClassVar[Family | None] = None
    #: Settings that the subclass uses beyond those that all do, by their names such as regularisation.ema.
    used: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: TrainConfig) -> None:
        require_used(config, _USED | self.used, "learns from audio alone")
        if config.optimizer.frozen_encoder_steps:  # there would be nothing to thaw: what is trained is the encoder
            raise UsageError(f"objective={config.objective} trains an encoder and does not use frozen_encoder_steps")
        self.config = config
        data = config.data
        sources, evaluation = (
            [self.recordings(path, data.shortest, "data.shortest") for path in paths]
            for paths in (data.train, data.evaluation)
        )
        #: All records, also those to evaluate with.
        self.blocks = [block for source in (*sources, *evaluation) for block in source]
        self.data = hashlib.sha256(repr((sources, evaluation)).encode()).hexdigest()
        self.records = Mixture(
            sources,
            pool_seconds=3600 * data.pool_hours,
            seed=config.seed,
            weights=self.weights(sources),
            temperature=data.temperature,
        )
        self.passes_per_epoch = self.records.passes_per_pool
        self._warn_of_decoding()
        folder = Path(data.cache) if data.cache else Path(config.output) / "audio"
        self.store = SampleStore(folder, data.cache_gigabytes * 1e9)
        #: What cannot be heard, of the data to learn from and of that to evaluate with.
        self.left_out = LeftOut(Path(config.output) / "left-out.tsv")
        if is_first() and not checkpoints(Path(config.output)):
            self.left_out.forget()
        self.reader = CropReader(self.store, self.left_out)
        #: Batches that the model is judged by, which never change.
        self.held_out = self._held_out(evaluation)

    @abstractmethod
    def network(self) -> nn.Module:
        """A fresh model with all its heads, on the CPU. Its part `encoder` is a `SpeechEncoder`, and the result."""

    def weights(self, sources: Sequence[Sequence[RecordBlock]]) -> Sequence[float]:
        """The share of the audio that each entry of `data.train` gets, in any unit; none if recordings are equal."""
        return self.config.data.weights

    @abstractmethod
    def completed(self, crops: CropBatch, rng: np.random.Generator) -> Batch:
        """A batch with what the loss reads beside audio, such as masks, and with its number of `targets`.

        `crops.targets` is 0 before. Calls may come from another thread. All chance comes from `rng`.
        """

    @abstractmethod
    def outputs(self, model: Any, batch: Any) -> Any:
        """What loss and figures of a batch of `completed` are computed from, by one pass through the network."""

    @abstractmethod
    def loss_of(self, outputs: Any, batch: Any) -> Tensor:
        """The loss of a batch, a float32 scalar: the SUM over its targets."""

    def figures_of(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        """What evaluation sums up over batches beside the loss: tensors, such as a number of right predictions."""
        return {}

    def conclusion(self, sums: Mapping[str, Tensor], targets: int) -> dict[str, float]:
        """The figures for the log, from the sums of `figures_of` over all batches: by default, means over targets."""
        return {name: float(value) / targets for name, value in sums.items()}

    def doubt(self, figures: Mapping[str, float]) -> str:
        """Why these figures of an evaluation, the best of a run, mean that nothing was learned; empty if they do not.

        A sentence without a full stop, for the user.
        """
        return ""

    def loss(self, model: Any, batch: Any) -> Tensor:
        return self.loss_of(self.outputs(model, batch), batch)

    def judged(self, model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the figures of a batch, of the same pass: what is random in it is so in both."""
        outputs = self.outputs(model, batch)
        return self.loss_of(outputs, batch), self.figures_of(outputs, batch)

    def prepare(self, model: nn.Module, *, resumes: bool) -> None:  # noqa: B027 - most need nothing
        """What a run needs from its data before its first batch, such as buffers of the model (on its device).

        If the run `resumes`, its state follows. By default nothing. Raises what reading recordings raises.
        """

    def model(self, device: torch.device) -> nn.Module:
        resumes = bool(checkpoints(Path(self.config.output)))
        self._compare_data(resumes=resumes)
        model = self.network()
        encoder = model.get_submodule("encoder")
        if self.config.init_encoder and not resumes:
            begin_with(encoder, self.config.init_encoder)
        model = model.to(device)
        # After the network is made: who computes units draws from torch's random numbers, and others do not.
        self.prepare(model, resumes=resumes)
        if self.config.activation_checkpointing:
            for name, module in encoder.named_modules():
                if name.rpartition(".")[2] == "blocks":
                    for block in module.children():
                        recompute(block)
        return model

    def epoch(self, number: int) -> list[list[AudioPiece]]:
        rng = np.random.default_rng([self.config.seed, number])
        return self._batches(pieces_of(self.records.pool(number), *limits(self.config.data), rng), rng)

    def batch(self, plan: Sequence[AudioPiece], rng: np.random.Generator) -> Batch:
        """Without the pieces that cannot be heard. If that is all of them, one other piece takes their place."""
        made, tried = self._heard(plan, rng), 0
        while made is None:
            if tried == _TRIED or not self._others:
                raise InputError(f"hardly any of the recordings can be heard; {self.left_out.path} has the reasons")
            made, tried = self._heard([self._others[int(rng.integers(len(self._others)))]], rng), tried + 1
        return made

    def _heard(self, plan: Sequence[AudioPiece], rng: np.random.Generator) -> Batch | None:
        crops, audio = self.reader.read(cropped(plan, rng))
        if not crops:
            return None
        together = np.stack(audio)
        seconds = together.size / SAMPLE_RATE
        made = CropBatch(targets=0, seconds=seconds, padded_seconds=seconds, crops=tuple(crops), audio=together)
        return self.completed(made, rng)

    @cached_property
    def _others(self) -> list[AudioPiece]:
        """The pieces of the first epoch, which depend on the seed alone."""
        rng = np.random.default_rng(self.config.seed)
        return pieces_of(self.records.pool(0), *limits(self.config.data), rng)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, average: Mapping[str, Tensor]) -> dict[str, float] | None:
        """The loss per target of crops of `data.evaluation`, always of the same ones with the same masks."""
        if not self.held_out:
            return None
        device = next(model.parameters()).device
        heard, targets, loss = 0, 0, 0.0
        sums: dict[str, Tensor] = {}
        with (
            averaged(model, average),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
        ):
            model.eval()
            for number, plan in enumerate(self.held_out):
                torch.manual_seed(number)
                batch = self._heard(plan, np.random.default_rng([self.config.seed, number]))
                if batch is None:
                    continue
                ours, figures = self.judged(model, batch)
                heard += 1
                targets += batch.targets
                loss += float(ours)
                for name, value in figures.items():
                    sums[name] = sums[name] + value if name in sums else value
        if not heard:
            return None
        return {"loss": loss / max(targets, 1), **self.conclusion(sums, max(targets, 1))}

    def export(self, checkpoints: Iterable[Mapping[str, Any]], folder: Path) -> Exported:
        """Write the folder `encoder`, the mean of the encoders of these checkpoints. Raises `OutputError`."""
        encoder = self.network().get_submodule("encoder")
        encoder.load_state_dict(mean_state(checkpoints, "encoder."))
        save_encoder(encoder.eval(), folder / "encoder", self.family)
        return Exported(path=(folder / "encoder").absolute(), remark="\n".join(self._remarks(folder)))

    def _remarks(self, folder: Path) -> Iterator[str]:
        """What the user should know at the end of a run: which recordings it missed, and whether it learned nothing."""
        if count := len(self.left_out):
            what = "1 recording was" if count == 1 else f"{count} recordings were"
            yield f"{what} left out, wholly or in part; {self.left_out.path} has the reasons"
        with contextlib.suppress(InputError):
            found = [entry["evaluation"] for entry in read_log(folder / "log.jsonl") if "evaluation" in entry]
            if found and (doubt := self.doubt(min(found, key=lambda figures: figures[self.score]))):
                yield doubt

    def recordings(self, path: str, shortest: float, setting: str = "") -> list[RecordBlock]:
        """The records of a path among the settings. The log tells how many are shorter than `shortest` seconds.

        Raises what `recordings_in` raises, and `UsageError` if all are; `setting` is where `shortest` comes from.
        """
        run = Path(self.config.output)
        check = LengthCheck(shortest, setting)
        blocks = list(recordings_in(Path(path), run / "recordings", again=not checkpoints(run), check=check))
        check.conclude(path)
        return blocks

    def _compare_data(self, *, resumes: bool) -> None:
        """Note what the records are when a run begins, and warn if they are others when it resumes."""
        path = Path(self.config.output) / "recordings" / "digest"
        digest = hashlib.sha256(repr([(block.place, block.sizes) for block in self.blocks]).encode()).hexdigest()
        if not resumes:
            with written_whole(path) as staging:
                staging.write_text(digest, encoding="utf-8")
        elif path.exists() and path.read_text(encoding="utf-8", errors="replace") != digest:
            _LOG.warning("%s: its records have changed; the run goes on with what there is", self.config.output)

    def _warn_of_decoding(self) -> None:
        """Warn if most crops will cost the decoding of a long recording."""
        data = self.config.data
        seconds, count = sum(block.seconds for block in self.blocks), sum(block.records for block in self.blocks)
        kept = data.cache_gigabytes * 1e9 / (2 * SAMPLE_RATE)
        if kept < seconds and seconds > _LONG * data.longest * count and is_first():
            _LOG.warning(
                "data.cache_gigabytes=%g keeps %.0f of %.0f hours of decoded audio: for most crops, a whole recording "
                "is decoded again",
                data.cache_gigabytes,
                kept / 3600,
                seconds / 3600,
            )

    def _held_out(self, sources: Iterable[Iterable[RecordBlock]]) -> list[list[AudioPiece]]:
        rng = np.random.default_rng(self.config.seed)
        records = [record for blocks in sources for block in blocks for record in block.read()]
        pieces = pieces_of(records, *limits(self.config.data), rng)
        return self._batches(spread(pieces, self.config.data.evaluation_windows), rng)

    def _batches(self, pieces: Sequence[AudioPiece], rng: np.random.Generator) -> list[list[AudioPiece]]:
        return batches_of(pieces, int(self.config.data.batch_seconds * SAMPLE_RATE), rng)


def limits(config: DataConfig) -> tuple[int, int]:
    """The least and the most samples of a piece, multiples of 20 ms."""
    shortest, longest = (int(seconds * SAMPLE_RATE) // STEP * STEP for seconds in (config.shortest, config.longest))
    return shortest, longest


def require_used(config: TrainConfig, used: Set[str], what: str) -> None:
    """Raise `UsageError` if a setting has another value than by default and is not among those in use.

    The optimiser's and `objective_options` always are. `what` is what the message says that the objective does.
    """
    ours = named_settings(config)
    defaults = named_settings(TrainConfig(output=config.output, steps=config.steps, data=DataConfig(train=("",))))
    for name, value in ours.items():
        known = name in used or name.partition(".")[0] in {"optimizer", "objective_options"}
        if value != defaults.get(name) and not known:
            raise UsageError(f"objective={config.objective} {what} and does not use {name}")


def require_sensible(options: object, checks: Mapping[str, bool]) -> None:
    """Raise `UsageError` for the first of the settings in `objective_options` whose check has failed."""
    for name, fine in checks.items():
        if not fine:
            raise UsageError(f"objective_options.{name} cannot be {getattr(options, name)!r}")


@contextlib.contextmanager
def averaged(model: nn.Module, average: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block, the model has the averages in place of its weights."""
    weights = {name: weight.clone() for name, weight in model.state_dict().items() if name in average}
    model.load_state_dict(dict(average), strict=False)
    try:
        yield
    finally:
        model.load_state_dict(weights, strict=False)


def mean_state(checkpoints: Iterable[Mapping[str, Any]], part: str = "") -> dict[str, Tensor]:
    """The mean of the states of models, tensor by tensor; the averages of a run replace its weights.

    Only of those tensors whose names begin with `part`, and without it.
    """
    mean: dict[str, Tensor] = {}
    for number, document in enumerate(checkpoints, start=1):
        for name, tensor in {**document["model"], **document["average"]}.items():
            if name.startswith(part):
                rest = name.removeprefix(part)
                mean[rest] = torch.lerp(mean[rest], tensor, 1 / number) if rest in mean else tensor
    return mean
