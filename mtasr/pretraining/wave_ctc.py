"""Few labels after pre-training: an encoder of the waveform learns to spell (wav2vec 2.0, sections 3.3 and 4.3).

A linear layer on the encoder says which letter each frame has, by the CTC loss (Graves et al. 2006). The convolutions
are frozen. Frames and channels are masked in training, so that few labels are not learned by heart.

Each recording passes through the network alone. Encoders that normalise over time, and attention without a mask, would
hear the padding that batches of several lengths need.

Letters in shapes: N samples, S frames, D width, V tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.arrays import BoolArray, Float32Array
from mtasr.checkpoints.encoders import save_speller
from mtasr.data.excerpts import Excerpt, cut_excerpts
from mtasr.data.mixture import Mixture
from mtasr.data.reading import blocks_of, read_records
from mtasr.data.records import Record
from mtasr.data.samples import SampleStore, samples_in
from mtasr.data.texts import character_errors, word_errors
from mtasr.edit_distance import ErrorCount
from mtasr.encoders import load_encoder
from mtasr.errors import UsageError
from mtasr.networks.wave import WaveEncoder
from mtasr.pretraining.audio.masking import span_mask
from mtasr.pretraining.letters import Letters, spelling
from mtasr.pretraining.objective import averaged, mean_state, require_sensible, require_used
from mtasr.training.batches import Batch
from mtasr.training.config import TrainConfig
from mtasr.training.objectives import Exported
from mtasr.training.objectives.whisper import excerpts_to_judge

#: Not `parallel`: processes that share weights call the layers equally often, which batches here do not.
_USED = frozenset({
    "objective", "objective_options", "output", "steps", "seed", "device", "precision", "resume", "save_every",
    "evaluate_every", "keep", "average_best", "tensorboard", "init_encoder", "regularisation.ema", "data.train",
    "data.weights", "data.temperature", "data.pool_hours", "data.evaluation", "data.evaluation_windows", "data.cache",
    "data.cache_gigabytes", "data.batch_seconds", "data.longest",
})  # fmt: skip

#: Masked spans of an excerpt at least, unless nothing is masked.
_LEAST_SPANS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveCtcOptions:
    """The settings in `objective_options`. The defaults are those of wav2vec 2.0 Base with ten minutes of labels."""

    #: Spans of frames that are masked (`mtasr.pretraining.audio.masking`): the share, were there no overlaps, and the
    #: frames.
    masked: float = 0.65
    span: int = 10
    #: The same for channels, which are set to 0.
    masked_channels: float = 0.25
    channel_span: int = 64
    #: The probability that a block is left out.
    layerdrop: float = 0.1

    def __post_init__(self) -> None:
        checks = {
            "masked": 0 <= self.masked <= 1,
            "span": self.span >= 1,
            "masked_channels": 0 <= self.masked_channels <= 1,
            "channel_span": self.channel_span >= 1,
            "layerdrop": 0 <= self.layerdrop < 1,
        }
        require_sensible(self, checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpelledExcerpt:
    """An excerpt and the tokens that spell it."""

    excerpt: Excerpt
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AudibleExcerpt:
    """`audio` (N,), the tokens it has, and masks: of frames (S,) and of channels (D,)."""

    audio: Float32Array
    numbers: tuple[int, ...]
    mask: BoolArray
    channels: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SpelledBatch(Batch):
    heard: tuple[AudibleExcerpt, ...]


class Speller(nn.Module):
    """An encoder, and a layer that says which token each frame has."""

    def __init__(self, encoder: WaveEncoder, tokens: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.spelling = nn.Linear(encoder.width, tokens)
        nn.init.xavier_uniform_(self.spelling.weight)
        nn.init.zeros_(self.spelling.bias)

    def forward(
        self, audio: Tensor, mask: Tensor | None = None, channels: Tensor | None = None, *, frozen: bool = False
    ) -> Tensor:
        """Audio (1, N), masks (1, S) and (1, D) -> log-probabilities (1, S, V), float32.

        `frozen`: no gradients for the encoder. Its convolutions never get any.
        """
        with torch.no_grad():
            features = self.encoder.convolved(audio)
        with torch.no_grad() if frozen else contextlib.nullcontext():
            states = self.encoder.contextualised(features, mask, channels)[-1]
        with torch.autocast(states.device.type, enabled=False):
            return F.log_softmax(self.spelling(states.float()), dim=2)


class WaveCtcObjective:
    """An `Objective`: the CTC loss, summed over excerpts. Targets are the letters of the texts.

    `init_encoder` names the encoder to begin with. Raises `UsageError` for settings that have no effect or do not fit,
    `InputError` for records that cannot be read, and `ModelError` for the encoder.
    """

    score = "wer"

    def __init__(self, config: TrainConfig) -> None:
        require_used(config, _USED, "spells what an encoder of the waveform hears")
        self.options = config.options(WaveCtcOptions)
        self.config = config
        self._encoder = _initial_encoder(config)
        data, said = config.data, set[str]()

        def collect(record: Record) -> None:
            if _teaches(record):
                said.update(spelling(record.text))

        sources = [list(blocks_of(Path(path), collect)) for path in data.train]
        self.letters = Letters.of(said)
        if not said:
            raise UsageError("there is nothing to learn: no record has a text that is what is said")
        self.data = hashlib.sha256(repr((sources, self.letters)).encode()).hexdigest()
        self.records = Mixture(
            sources,
            pool_seconds=3600 * data.pool_hours,
            seed=config.seed,
            weights=data.weights,
            temperature=data.temperature,
        )
        self.passes_per_epoch = self.records.passes_per_pool
        folder = Path(data.cache) if data.cache else Path(config.output) / "audio"
        self.store = SampleStore(folder, data.cache_gigabytes * 1e9)
        judged = [record for path in data.evaluation for record in read_records(Path(path)) if _teaches(record)]
        self.judged = [each for each in excerpts_to_judge(judged, data.evaluation_windows, data.longest) if each.text]

    def model(self, device: torch.device) -> Speller:
        sizes = replace(self._encoder.config, layerdrop=self.options.layerdrop)
        model = Speller(WaveEncoder(sizes, self._encoder.name), len(self.letters.tokens))
        model.encoder.load_state_dict(self._encoder.state_dict())
        model.encoder.convolutions.requires_grad_(False)
        return model.to(device)

    def epoch(self, number: int) -> list[list[SpelledExcerpt]]:
        rng = np.random.default_rng([self.config.seed, number])
        spelled = [each for record in self.records.pool(number) if _teaches(record) for each in self._spelled(record)]
        batches: list[list[SpelledExcerpt]] = []
        room = 0.0
        for each in (spelled[index] for index in rng.permutation(len(spelled))):
            if each.excerpt.seconds > room:
                batches.append([])
                room = self.config.data.batch_seconds
            batches[-1].append(each)
            room -= each.excerpt.seconds
        return batches

    def batch(self, plan: Sequence[SpelledExcerpt], rng: np.random.Generator) -> SpelledBatch:
        heard = tuple(self._heard(each, rng) for each in plan)
        seconds = sum(each.excerpt.seconds for each in plan)
        targets = sum(len(each.numbers) for each in plan)
        return SpelledBatch(targets=targets, seconds=seconds, padded_seconds=seconds, heard=heard)

    def loss(self, model: Speller, batch: SpelledBatch) -> Tensor:
        device = model.spelling.weight.device
        frozen = 0 < batch.step <= self.config.optimizer.frozen_encoder_steps
        losses = []
        for each in batch.heard:
            arrays = (each.audio, each.mask, each.channels)
            scores = model(*(torch.from_numpy(array)[None].to(device) for array in arrays), frozen=frozen)
            numbers = torch.tensor([each.numbers], device=device)
            lengths = torch.tensor([scores.shape[1]]), torch.tensor([numbers.shape[1]])
            losses.append(
                F.ctc_loss(scores.transpose(0, 1), numbers, *lengths, blank=self.letters.blank, reduction="sum")
            )
        return torch.stack(losses).sum()

    @torch.no_grad()
    def evaluate(self, model: Speller, average: Mapping[str, Tensor]) -> dict[str, float] | None:
        """Error rates of the most probable token of each frame, repetitions and blanks removed."""
        if not self.judged:
            return None
        words = characters = ErrorCount()
        with averaged(model, average):
            model.eval()
            for excerpt in self.judged:
                audio = torch.from_numpy(self.store.excerpt(excerpt))[None].to(model.spelling.weight.device)
                text = self.letters.text(model(audio)[0].argmax(dim=1).tolist())
                words += word_errors(excerpt.text, text)
                characters += character_errors(excerpt.text, text)
        return {"wer": words.rate, "cer": characters.rate}

    def export(self, checkpoints: Iterable[Mapping[str, Any]], folder: Path) -> Exported:
        """Write the folder `encoder`: the mean of these checkpoints, with its head and vocabulary."""
        model = self.model(torch.device("cpu"))
        model.load_state_dict(mean_state(checkpoints))
        save_speller(model.encoder.eval(), model.spelling, self.letters.tokens, folder / "encoder")
        return Exported(path=(folder / "encoder").absolute(), remark=f"it spells {len(self.letters.tokens)} tokens")

    def _spelled(self, record: Record) -> Iterable[SpelledExcerpt]:
        """The excerpts of a record that are long enough for their letters."""
        for whole in cut_excerpts(record, lambda: self.config.data.longest):
            excerpt = whole.before_cut()
            numbers = self.letters.numbers(excerpt.text)
            frames = self._encoder.frames(samples_in(excerpt))
            if numbers and excerpt.fits(self.config.data.longest) and self.letters.frames_needed(numbers) <= frames:
                yield SpelledExcerpt(excerpt=excerpt, numbers=tuple(numbers))

    def _heard(self, spelled: SpelledExcerpt, rng: np.random.Generator) -> AudibleExcerpt:
        audio = self.store.excerpt(spelled.excerpt)
        options = self.options
        frames = self._encoder.frames(len(audio))
        return AudibleExcerpt(
            audio=audio,
            numbers=spelled.numbers,
            mask=_masked(frames, options.masked, options.span, _LEAST_SPANS, rng),
            channels=_masked(self._encoder.width, options.masked_channels, options.channel_span, 0, rng),
        )


def _masked(size: int, share: float, span: int, least: int, rng: np.random.Generator) -> BoolArray:
    if share == 0:
        return np.zeros(size, bool)
    mask: BoolArray = span_mask(1, size, share, min(span, size), least, rng)[0]
    return mask


def _teaches(record: Record) -> bool:
    """Whether it has a text, and the text is what is said."""
    return bool(record.captions) and record.task == "transcribe"


def _initial_encoder(config: TrainConfig) -> WaveEncoder:
    if config.init_encoder is None:
        raise UsageError("objective=wave-ctc needs init_encoder: an encoder of the waveform to begin with")
    encoder = load_encoder(config.init_encoder, "cpu")
    if not isinstance(encoder, WaveEncoder) or encoder.config.recurrent:
        raise UsageError(f"init_encoder: {config.init_encoder} is no transformer over the waveform, as wave-ctc needs")
    return encoder
