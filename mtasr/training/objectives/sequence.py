"""Sequence to sequence: the decoder writes the text, token by token (Whisper paper, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor

from mtasr.checkpoints.adapter_file import save_adapters, save_prompt
from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.convert import write_with_parity
from mtasr.checkpoints.destination import check_destination
from mtasr.checkpoints.settings import GenerationSettings
from mtasr.data.excerpts import Excerpt
from mtasr.data.samples import SampleStore
from mtasr.data.texts import character_errors, word_errors
from mtasr.decoding.window_input import context_for, features_of
from mtasr.edit_distance import ErrorCount
from mtasr.engines.torch import TorchEngine
from mtasr.networks.adapters import adapters_of
from mtasr.networks.whisper import Whisper
from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer
from mtasr.training.adaptation import plain_copy
from mtasr.training.batches import TextBatch
from mtasr.training.config import ADAPTER_METHODS
from mtasr.training.objectives import Exported
from mtasr.training.objectives.lessons import LESSONS
from mtasr.training.objectives.whisper import WhisperObjective
from mtasr.training.targets import IGNORED

#: The file of a run with its adapters or its prompt.
ADAPTER_FILE = "adapter.safetensors"

#: Probability of the no-speech token from which the model counts as hearing no speech.
_NO_SPEECH = 0.6


class SequenceObjective(WhisperObjective):
    """Cross-entropy of the decoder's tokens, and the extra lessons that `regularisation` gives a weight."""

    def lessons(self) -> dict[str, float]:
        return {name: weight for name in LESSONS if (weight := getattr(self.config.regularisation, name))}

    def loss(self, model: Whisper, batch: TextBatch) -> Tensor:
        tokens, labels = (torch.from_numpy(each).to(model.device) for each in (batch.tokens, batch.labels))
        encoded = self.encoded(model, batch)  # (B, S, D)
        logits = model.predict(tokens, encoded)  # (B, T, V)
        loss = F.cross_entropy(
            logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.config.regularisation.label_smoothing,
            reduction="sum",
        )
        for name, weight in self.lessons().items():
            loss = loss + weight * model.get_submodule(name)(encoded, labels)
        return loss

    def evaluate(self, model: Whisper, average: Mapping[str, Tensor]) -> dict[str, float] | None:
        if not self.judged:
            return None
        plain = plain_copy(model, average).to(model.device)
        return judge(plain, self.tokenizer, self.settings, self.judged, self.store)

    def export(self, checkpoints: Iterable[Mapping[str, Any]], folder: Path) -> Exported:
        """Write the folder `model` for CTranslate2, through the parity gate of conversions.

        A trained prompt is in it, and in the file `adapter.safetensors` too. Adapters are in that file alone, because
        only torch runs them. Replaces results that are there already. Raises `OutputError`, and `ModelError` if
        CTranslate2 does not compute what torch does.
        """
        result = self.merged(checkpoints)
        if self.config.method in ADAPTER_METHODS:
            path = (folder / ADAPTER_FILE).absolute()
            share = self._save_adapter(result, path)
            if self.config.method != "prompt":
                return Exported(path=path, remark=f"adapters of {share:.2%} of the weights, for --engine torch")
        destination = (folder / "model").absolute()
        check_destination(destination, "ctranslate2", force=True)
        precision = self.config.export
        parity = write_with_parity(result, destination, "ctranslate2", precision, force=True)
        remark = f"logits: difference {parity.logits.rms:.1e} of the values between torch and {precision}"
        return Exported(path=destination, remark=remark)

    def _save_adapter(self, result: Checkpoint, path: Path) -> float:
        """Returns the share of the model's weights that it has."""
        name = str(Path(self.config.model).absolute()) if Path(self.config.model).exists() else self.config.model
        adapters = adapters_of(result.model)
        if adapters is not None:
            save_adapters(adapters, result.model, path, name)
            count = sum(each.numel() for each in adapters.parameters())
        else:
            tokens = self.tokenizer.prompt
            vectors = result.model.decoder.embedding.weight[list(tokens)]
            save_prompt(vectors, tokens, self.initial.model, path, name)
            count = vectors.numel()
        return count / sum(each.numel() for each in self.initial.model.parameters())


def judge(
    model: Whisper, tokenizer: Tokenizer, settings: GenerationSettings, excerpts: Sequence[Excerpt], store: SampleStore
) -> dict[str, float]:
    """Error rates and accuracies, from 0 on, of a plain model that decodes the excerpts greedily.

    It decodes them at the lengths of real decoding and in the language of their label. `wer` and `cer` are missing
    without a text, `language_accuracy` for an English model, `no_speech_accuracy` without an excerpt of silence.
    """
    device = model.device
    engine = TorchEngine(
        model,
        tokenizer,
        suppress_ids=settings.suppress_ids,
        suppress_ids_begin=settings.suppress_ids_begin,
        device=device.type,
        device_index=device.index or 0,
    )
    words = characters = ErrorCount()
    languages: list[bool] = []
    silences: list[bool] = []
    for excerpt in excerpts:
        context = context_for(
            excerpt.seconds, excerpt.task, engine.limits.audio_seconds, variable_length=settings.variable_length
        )
        (encoded,) = engine.encode([features_of(store.excerpt(excerpt), context, model.dims.n_mels)])
        if excerpt.captions and tokenizer.is_multilingual:
            languages.append(engine.detect_language(encoded)[0].code == excerpt.language)
        (hypothesis,) = engine.generate([encoded], [_start(tokenizer, excerpt)], DecodingOptions(beam_size=1), 0.0)
        if not excerpt.captions:
            silences.append(hypothesis.no_speech_prob > _NO_SPEECH)
            continue
        text, reference = tokenizer.decode(hypothesis.tokens), excerpt.text
        words, characters = words + word_errors(reference, text), characters + character_errors(reference, text)
    figures = {"wer": words.rate, "cer": characters.rate} if words.length else {}
    for name, right in (("language", languages), ("no_speech", silences)):
        if right:
            figures[f"{name}_accuracy"] = sum(right) / len(right)
    return figures


def _start(tokenizer: Tokenizer, excerpt: Excerpt) -> tuple[int, ...]:
    known = tokenizer.language_tokens
    language = excerpt.language if excerpt.language in known else next(iter(known))
    return tokenizer.sot_sequence(language, excerpt.task, timestamps=excerpt.timed)
