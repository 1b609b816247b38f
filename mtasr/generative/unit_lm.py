"""The unit language model of GSLM: predict each unit of speech from those before it, without any text.

Source: Lakhotia et al. 2021, "On Generative Spoken Language Modeling from Raw Audio" (arXiv:2102.01192), section 3.2;
the settings of the preset `transformer_lm_big` are those that its authors published with fairseq, 128 batches of 4096
tokens a step. Units are joined: runs of the same one count once. Letters in shapes: B sequences, T tokens.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor

from mtasr.arrays import IntArray
from mtasr.errors import InputError, UsageError
from mtasr.generative.transformer import CausalTransformer, TransformerSizes
from mtasr.generative.unit_model import FOLDER, UnitModel
from mtasr.generative.unit_sequences import RecordingUnits, is_unit_file, read_unit_file
from mtasr.pretraining.audio.crop_reader import LeftOut
from mtasr.pretraining.audio.crops import LengthCheck, recordings_in
from mtasr.pretraining.objective import averaged, mean_state, require_sensible, require_used
from mtasr.pretraining.units.kmeans import MOST_UNITS, UnitCentres, read_centres
from mtasr.training.adaptation import recompute
from mtasr.training.batches import Batch
from mtasr.training.config import TrainConfig
from mtasr.training.objectives import Exported
from mtasr.training.parallel import is_first
from mtasr.training.state import checkpoints
from mtasr.training.targets import IGNORED

_USED = {
    "objective", "objective_options", "output", "steps", "seed", "device", "precision", "parallel",
    "activation_checkpointing", "compile", "resume", "save_every", "evaluate_every", "keep", "average_best",
    "tensorboard", "regularisation.ema", "data.train", "data.evaluation", "data.evaluation_windows",
    "data.batch_tokens",
}  # fmt: skip
#: Batches of sequences of about one length are put together from so many sequences at a time.
_SORTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitLmOptions:
    """The settings in `objective_options`."""

    preset: str = "tiny"
    #: The file of centres, as `mtasr units --fit` writes it. Recordings need it; files of units do not, but without it
    #: the model cannot hear a prompt.
    centres: str | None = None
    #: How many units there are, if no centres say so.
    units: int | None = None
    #: Layers, their width, attention heads, and the width of the feed-forward networks.
    layers: int = 4
    width: int = 256
    heads: int = 4
    hidden: int = 1024
    dropout: float = 0.1
    #: Most tokens of a sequence. Longer sequences are cut.
    context: int = 1024

    def __post_init__(self) -> None:
        require_sensible(
            self,
            {
                "units": self.units is None or 1 <= self.units <= MOST_UNITS,
                "dropout": 0 <= self.dropout < 1,
                "context": self.context >= 2,
            },
        )
        if (self.centres is None) == (self.units is None):
            raise UsageError("set objective_options.centres, or for units without centres objective_options.units")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBatch(Batch):
    """`tokens` (B, T) given, and the `labels` (B, T) that follow them, `IGNORED` where a sequence has ended."""

    tokens: IntArray
    labels: IntArray


class UnitLmObjective:
    """The cross-entropy of each unit given those before it, in nats, and of the end of a sequence.

    `data.train` and `data.evaluation` name files of units, or with centres also recordings, as other objectives of
    pre-training take them. Raises `UsageError` for settings that do not fit, and `InputError` for data that cannot be
    read.
    """

    score = "loss"
    passes_per_epoch = 1.0
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "steps": 1000, "data": {"batch_tokens": 4096}, "precision": "float32",
            "optimizer": {"learning_rate": 1e-3, "warmup": 100, "weight_decay": 0.01},
        },
        "transformer_lm_big": {
            "steps": 500_000, "data": {"batch_tokens": 4096}, "precision": "float16",
            "objective_options": {"layers": 12, "width": 1024, "heads": 16, "hidden": 4096, "context": 3072},
            "optimizer": {
                "learning_rate": 5e-4, "warmup": 4000, "schedule": "inverse_sqrt", "weight_decay": 0.0,
                "epsilon": 1e-8, "batches_per_step": 128,
            },
        },
    }  # fmt: skip

    def __init__(self, config: TrainConfig) -> None:
        require_used(config, _USED, "learns from units alone")
        self.config, self.options = config, config.options(UnitLmOptions)
        self.centres = read_centres(Path(self.options.centres)) if self.options.centres else None
        self.units = self.centres.units if self.centres else self.options.units or 0
        self.sizes = TransformerSizes(
            vocabulary=self.units + 1, layers=self.options.layers, width=self.options.width, heads=self.options.heads,
            hidden=self.options.hidden, context=self.options.context,
        )  # fmt: skip
        if config.data.batch_tokens < self.options.context:
            raise UsageError(
                f"data.batch_tokens={config.data.batch_tokens} has no room for "
                f"objective_options.context={self.options.context} tokens"
            )
        run = Path(config.output)
        self.left_out = LeftOut(run / "left-out.tsv")
        if is_first() and not checkpoints(run):
            self.left_out.forget()
        self._recordings = self._heard(self.centres) if self.centres else None
        self.pieces, self.held_out = self._pieces(config.data.train), self._pieces(config.data.evaluation)
        if not self.pieces:
            raise InputError("there are no units to learn from: no recording gives any")
        places = np.linspace(0, len(self.held_out) - 1, min(config.data.evaluation_windows, len(self.held_out)))
        self.held_out = [self.held_out[place] for place in places.round().astype(int)]
        digest = hashlib.sha256()
        for piece in (*self.pieces, *self.held_out):
            digest.update(piece.tobytes() + b"\n")
        self.data = digest.hexdigest()

    def model(self, device: torch.device) -> CausalTransformer:
        model = CausalTransformer(self.sizes, self.options.dropout).to(device)
        if self.config.activation_checkpointing:
            for block in model.blocks:
                recompute(block)
        return model

    def epoch(self, number: int) -> list[list[int]]:
        rng = np.random.default_rng([self.config.seed, number])
        order = rng.permutation(len(self.pieces))
        plans: list[list[int]] = []
        for start in range(0, len(order), _SORTED):
            plans += _batches(order[start : start + _SORTED].tolist(), self.pieces, self.config.data.batch_tokens)
        return [plans[place] for place in rng.permutation(len(plans))]

    def batch(self, plan: Sequence[int], rng: np.random.Generator) -> SequenceBatch:
        return make_sequence_batch([self.pieces[number] for number in plan])

    def loss(self, model: Any, batch: SequenceBatch) -> Tensor:
        device = model.embedding.weight.device
        logits = model(torch.from_numpy(batch.tokens).to(device))  # (B, T, V)
        return unit_loss(logits, torch.from_numpy(batch.labels).to(device))

    @torch.no_grad()
    def evaluate(self, model: Any, average: Mapping[str, Tensor]) -> dict[str, float] | None:
        """The loss per token and its exponential, the perplexity."""
        if not self.held_out:
            return None
        loss, targets = 0.0, 0
        with averaged(model, average):
            model.eval()
            every = range(len(self.held_out))
            for plan in _batches(list(every), self.held_out, self.config.data.batch_tokens):
                batch = make_sequence_batch([self.held_out[number] for number in plan])
                loss, targets = loss + float(self.loss(model, batch)), targets + batch.targets
        return {"loss": loss / targets, "perplexity": math.exp(min(loss / targets, 700))}

    def export(self, checkpoints: Iterable[Mapping[str, Any]], folder: Path) -> Exported:
        """Write the folder `unit-lm` (`mtasr.generative.unit_model`). Raises `OutputError`."""
        network = CausalTransformer(self.sizes)
        network.load_state_dict(mean_state(checkpoints))
        UnitModel(network=network.eval(), units=self.units, centres=self.centres).save(folder / FOLDER)
        count = len(self.left_out)
        remark = f"recordings left out: {count}; {self.left_out.path} has the reasons" if count else ""
        return Exported(path=(folder / FOLDER).absolute(), remark=remark)

    def _heard(self, centres: UnitCentres) -> RecordingUnits:
        folder = Path(self.config.output) / "units"
        return RecordingUnits(centres=centres, folder=folder, device=self.config.device, left_out=self.left_out)

    def _pieces(self, sources: Sequence[str]) -> list[IntArray]:
        """The tokens of all sequences, with the tokens around each, in pieces of the context and one label more."""
        around = np.array([self.units], np.int64)
        pieces = []
        for source in sources:
            for units in self._sequences(Path(source)):
                tokens = np.concatenate([around, units, around])
                pieces += [
                    tokens[start : start + self.options.context + 1]
                    for start in range(0, len(tokens) - 1, self.options.context)
                ]
        return pieces

    def _sequences(self, source: Path) -> Iterable[IntArray]:
        if is_unit_file(source):
            return read_unit_file(source, self.units)
        if self._recordings is None:
            raise UsageError(f"{source}: recordings need objective_options.centres; files of units are .txt or .tsv")
        run = Path(self.config.output)
        blocks = recordings_in(source, run / "recordings", again=not checkpoints(run), check=LengthCheck(0))
        return self._recordings.sequences(list(dict.fromkeys(each.audio for block in blocks for each in block.read())))


def make_sequence_batch(pieces: Sequence[IntArray]) -> SequenceBatch:
    """Each piece gives all its tokens but the last, and learns all but the first."""
    width = max(len(piece) for piece in pieces) - 1
    tokens = np.zeros((len(pieces), width), np.int64)
    labels = np.full((len(pieces), width), IGNORED, np.int64)
    for row, piece in enumerate(pieces):
        # Tokens after the end have no label, and attention looks back only: any will do.
        tokens[row, : len(piece) - 1], labels[row, : len(piece) - 1] = piece[:-1], piece[1:]
    targets = sum(len(piece) - 1 for piece in pieces)
    return SequenceBatch(targets=targets, seconds=0, padded_seconds=0, tokens=tokens, labels=labels)


def unit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum of -log p(label) over labels (B, T) that are not `IGNORED`; logits (B, T, V)."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum")


def _batches(numbers: Sequence[int], pieces: Sequence[IntArray], most: int) -> list[list[int]]:
    """Pieces of similar lengths together, at most so many tokens in a batch with the padding."""
    batches: list[list[int]] = []
    for number in sorted(numbers, key=lambda each: -len(pieces[each])):
        if batches and (len(batches[-1]) + 1) * (len(pieces[batches[-1][0]]) - 1) <= most:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches
