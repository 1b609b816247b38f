"""CTC alone: the encoder spells what is said, without a decoder (Graves et al. 2006).

The result is a Whisper model with a trained encoder and the decoder that it began with: a start for `sequence`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtasr.checkpoints.convert import write_with_parity
from mtasr.checkpoints.destination import check_destination
from mtasr.data.texts import character_errors, word_errors
from mtasr.decoding.window_input import features_of
from mtasr.edit_distance import ErrorCount
from mtasr.errors import UsageError
from mtasr.networks.whisper import Whisper
from mtasr.training.batches import TextBatch
from mtasr.training.config import ADAPTER_METHODS, TrainConfig
from mtasr.training.examples import Example
from mtasr.training.objectives import Exported
from mtasr.training.objectives.lessons import CtcHead, spelled
from mtasr.training.objectives.whisper import WhisperObjective

_NAME = "ctc"


class CtcObjective(WhisperObjective):
    """The CTC loss of the encoder's head, summed over examples; targets are the text tokens of those that teach."""

    def __init__(self, config: TrainConfig) -> None:
        if config.method == "decoder":
            raise UsageError("objective=ctc trains the encoder, but method=decoder trains only the decoder")
        if config.method in ADAPTER_METHODS:
            raise UsageError(f"objective=ctc trains the encoder itself, which method={config.method} leaves as it is")
        super().__init__(config)

    def lessons(self) -> dict[str, float]:
        return {_NAME: 1.0}

    def model(self, device: torch.device) -> Whisper:
        model = super().model(device)
        model.decoder.requires_grad_(False)
        return model

    def batch(self, plan: list[Example], rng: np.random.Generator) -> TextBatch:
        made = super().batch(plan, rng)
        return replace(made, targets=int(spelled(torch.from_numpy(made.labels), self.tokenizer).sum()))

    def loss(self, model: Whisper, batch: TextBatch) -> Tensor:
        encoded = self.encoded(model, batch)  # (B, S, D)
        loss: Tensor = model.get_submodule(_NAME)(encoded, torch.from_numpy(batch.labels).to(model.device))
        return loss

    @torch.no_grad()
    def evaluate(self, model: Whisper, average: Mapping[str, Tensor]) -> dict[str, float] | None:
        """Error rates of the most probable token of each frame, repetitions and blanks removed."""
        head = model.get_submodule(_NAME)
        assert isinstance(head, CtcHead)  # noqa: S101 - for the type checker
        spoken = [excerpt for excerpt in self.judged if excerpt.captions]
        if not spoken:
            return None
        weights = {name: weight.clone() for name, weight in model.state_dict().items() if name in average}
        model.load_state_dict(dict(average), strict=False)
        model.eval()
        words = characters = ErrorCount()
        for excerpt in spoken:
            mel = features_of(self.store.excerpt(excerpt), excerpt.seconds, self.dims.n_mels)
            frames = head.scores(model.encode(torch.from_numpy(mel)[None].to(model.device)))[0].argmax(dim=1)
            tokens = [token for token, _ in itertools.groupby(frames.tolist()) if token != head.blank]
            text, reference = self.tokenizer.decode(tokens), excerpt.text
            words, characters = words + word_errors(reference, text), characters + character_errors(reference, text)
        model.load_state_dict(weights, strict=False)
        return {"wer": words.rate, "cer": characters.rate}

    def export(self, checkpoints: Iterable[Mapping[str, Any]], folder: Path) -> Exported:
        """Write `model.pt`, which the setting `model` of another run takes, replacing one that is there already."""
        destination = (folder / "model.pt").absolute()
        check_destination(destination, "openai", force=True)
        write_with_parity(self.merged(checkpoints), destination, "openai", "float32", force=True)
        return Exported(path=destination, remark="the encoder is trained, the decoder is the initial one")
