"""What the objectives share that train a Whisper model on records with text: the model, its batches and the result."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtasr.checkpoints.checkpoint import Checkpoint, prompt_problems
from mtasr.checkpoints.convert import locate
from mtasr.checkpoints.formats import load_checkpoint
from mtasr.checkpoints.settings import GenerationSettings, default_alignment_heads, default_settings
from mtasr.data.excerpts import Excerpt, cut_excerpts
from mtasr.data.mixture import Mixture
from mtasr.data.reading import blocks_of, read_records
from mtasr.data.records import Record
from mtasr.data.samples import SampleStore
from mtasr.decoding.windows import LEAST_SECONDS
from mtasr.errors import UsageError
from mtasr.features import CHUNK_SECONDS
from mtasr.networks.dimensions import DIMENSIONS, ModelDimensions
from mtasr.networks.whisper import Whisper
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.prompt_tokens import with_prompt
from mtasr.tokenizer.vocabulary import read_vocabulary
from mtasr.training.adaptation import add_prompt, mixed, plain_copy, prepare
from mtasr.training.batches import TextBatch, make_batch
from mtasr.training.config import TrainConfig
from mtasr.training.examples import Example, ExampleSource, epoch_of, most_context
from mtasr.training.initial_encoder import whisper_encoder
from mtasr.training.objectives.lessons import LESSONS

#: Tokens of a prompt, if the configuration does not say.
_PROMPT_SIZE = 16


class WhisperObjective(ABC):
    """Loads the model and the records of a configuration. A subclass adds `loss`, `evaluate` and `export`.

    Raises `UsageError` for settings that fit neither the model nor the records, `InputError` for records that cannot be
    read, and `ModelError` for the model.
    """

    score = "wer"

    def __init__(self, config: TrainConfig) -> None:
        if config.objective_options:
            raise UsageError(f"objective={config.objective} has no objective_options")
        self.config = config
        self.initial = _initial_checkpoint(config)
        self.dims = _dimensions(self.initial, config)
        _require_room(config, self.dims)
        self._encoder = whisper_encoder(config.init_encoder, self.dims.encoder) if config.init_encoder else None
        if config.scratch is None:
            self._give_encoder(self.initial.model)
        self.tokens = list(self.initial.tokens)
        if config.method == "prompt":
            size = config.adapter_size or _PROMPT_SIZE
            self.tokens, _ = with_prompt(self.tokens, size, self.initial.settings.suppress_ids)
            if problems := prompt_problems(self.tokens, self.dims.n_text_ctx):
                raise UsageError(f"adapter_size: {problems[0]}")
        self.tokenizer = Tokenizer(self.tokens)
        data, self._found = config.data, hashlib.sha256()
        self.records = self._mixture(data.train, weights=data.weights, temperature=data.temperature)
        self.rehearsal = self._mixture(data.rehearsal)
        self.data = self._found.hexdigest()
        self.passes_per_epoch = self.records.passes_per_pool
        folder = Path(data.cache) if data.cache else Path(config.output) / "audio"
        self.store = SampleStore(folder, data.cache_gigabytes * 1e9)
        evaluation = [record for record in _records(data.evaluation) if record.task == "transcribe"]
        for record in evaluation:
            _require_language(record, self.tokenizer)
        #: What the model is judged by. Translations are left out, as their errors are not counted in words.
        self.judged = excerpts_to_judge(evaluation, config.data.evaluation_windows, self.dims.audio_seconds)

    @abstractmethod
    def lessons(self) -> Mapping[str, float]:
        """The names of the heads in `LESSONS` that the model has while it is trained, and their weights."""

    def model(self, device: torch.device) -> Whisper:
        if self.config.scratch is None:
            model = plain_copy(self.initial.model)
        else:
            model = Whisper(self.dims)
            self._give_encoder(model)
        for name in self.lessons():
            model.add_module(name, LESSONS[name](self.dims.n_audio_state, self.tokenizer))
        model = model.to(device)
        prepare(model, self.config, self.lessons())
        if self.config.method == "prompt":
            add_prompt(model, self.tokenizer.prompt, self._words_to_begin_with())
        return model

    def _words_to_begin_with(self) -> list[int]:
        """The token before previous text, and tokens of the records' texts, again from the start if need be.

        So the prompt begins as text of the kind that the model is to write, said before (benchmarks/README.md). Raises
        `UsageError` if there is none.
        """
        texts = (caption.text for record in self.records.pool(0) for caption in record.captions)
        tokens = (token for text in texts for token in self.tokenizer.encode(f" {text.strip()}"))
        count = len(self.tokenizer.prompt) - 1
        first = list(itertools.islice(tokens, max(count, 1)))
        if not first:
            raise UsageError("there is nothing to learn: no record has text")
        return [self.tokenizer.sot_prev, *itertools.islice(itertools.cycle(first), count)]

    def encoded(self, model: Whisper, batch: TextBatch) -> Tensor:
        """What the encoder makes of a batch (B, S, D), without gradients while the encoder is frozen."""
        frozen = 0 < batch.step <= self.config.optimizer.frozen_encoder_steps
        with torch.no_grad() if frozen else contextlib.nullcontext():
            return model.encode(torch.from_numpy(batch.mel).to(model.device))

    def _give_encoder(self, model: Whisper) -> None:
        """The weights of `init_encoder`, if there is one."""
        if self._encoder is not None:
            model.encoder.load_state_dict(self._encoder.state_dict())

    def epoch(self, number: int) -> list[list[Example]]:
        source = ExampleSource(
            records=self.records.pool(number),
            rehearsal=self.rehearsal.pool(number),
            tokenizer=self.tokenizer,
            text_context=self.dims.n_text_ctx,
            audio_seconds=self.dims.audio_seconds,
        )
        return epoch_of(source, self.config.data, self.config.seed, number)

    def _mixture(self, paths: Sequence[str], weights: Sequence[float] = (), temperature: float = 1.0) -> Mixture:
        """The records of these files, of which each must name a language that the model knows."""
        check = partial(_require_language, tokenizer=self.tokenizer)
        sources = [list(blocks_of(Path(path), check)) for path in paths]
        self._found.update(repr(sources).encode())
        return Mixture(
            sources,
            pool_seconds=3600 * self.config.data.pool_hours,
            seed=self.config.seed,
            weights=weights,
            temperature=temperature,
        )

    def batch(self, plan: list[Example], rng: np.random.Generator) -> TextBatch:
        return make_batch(plan, self.store, self.dims.n_mels, self.config.regularisation, rng)

    @property
    def settings(self) -> GenerationSettings:
        """How the result is decoded."""
        settings, variable = self.initial.settings.without(self.tokenizer.prompt), self.config.variable_length
        if self.config.scratch is not None:
            heads = default_alignment_heads(self.dims.n_text_layer, self.dims.n_text_head)
            settings = replace(settings, alignment_heads=heads, variable_length=False)
        return settings if variable is None else replace(settings, variable_length=variable)

    def merged(self, checkpoints: Iterable[Mapping[str, Any]]) -> Checkpoint:
        """The mean of some checkpoints of the run as a plain model, mixed with the initial one (`initial_share`)."""
        model = self.model(torch.device("cpu"))

        def plain(document: Mapping[str, Any]) -> Whisper:
            model.load_state_dict(document["model"])
            return plain_copy(model, document["average"])

        models = map(plain, checkpoints)
        result = next(models)
        for number, another in enumerate(models, start=2):
            result = mixed(result, another.state_dict(), 1 / number)
        share = self.config.regularisation.initial_share
        if share and self.config.scratch is None:
            result = mixed(result, self.initial.model.state_dict(), share)
        return Checkpoint(result, self.tokens, self.settings)


def excerpts_to_judge(records: Sequence[Record], most: int, seconds: float = CHUNK_SECONDS) -> list[Excerpt]:
    """At most `most` excerpts of up to `seconds`, spread evenly over the records."""
    excerpts = [excerpt.before_cut() for record in records for excerpt in cut_excerpts(record, lambda: seconds)]
    excerpts = [excerpt for excerpt in excerpts if excerpt.fits(seconds)]
    places = np.linspace(0, len(excerpts) - 1, min(most, len(excerpts))).round().astype(int)
    return [excerpts[place] for place in places]


def _initial_checkpoint(config: TrainConfig) -> Checkpoint:
    """The model that the run begins with. With a vocabulary of its own, it has sizes and no weights."""
    if config.vocabulary is None:
        return load_checkpoint(locate(config.model))
    if config.model not in DIMENSIONS:
        raise UsageError(f"with a vocabulary, model must be one of {', '.join(DIMENSIONS)}, not {config.model!r}")
    tokens = read_vocabulary(Path(config.vocabulary))
    dims = replace(DIMENSIONS[config.model], n_vocab=len(tokens))
    with torch.device("meta"):
        model = Whisper(dims)
    return Checkpoint(model, tokens, default_settings(tokens, dims.n_text_layer, dims.n_text_head))


def _dimensions(checkpoint: Checkpoint, config: TrainConfig) -> ModelDimensions:
    """Those of the model, or what `scratch` makes of them."""
    try:
        dims: ModelDimensions = replace(checkpoint.model.dims, **(config.scratch or {}))
    except TypeError as exc:
        raise UsageError(f"scratch: {exc}") from exc
    if dims.n_vocab != checkpoint.model.dims.n_vocab:
        raise UsageError("scratch cannot set n_vocab, which the vocabulary determines")
    if dims.audio_seconds < LEAST_SECONDS:
        least = round(50 * LEAST_SECONDS)
        raise UsageError(f"scratch: decoding needs an n_audio_ctx of at least {least}, not {dims.n_audio_ctx}")
    return dims


def _require_room(config: TrainConfig, dims: ModelDimensions) -> None:
    """Raise `UsageError` if an excerpt with its padding may be longer than a batch."""
    most = most_context(config.data, dims.audio_seconds)
    if config.data.batch_seconds < most:
        raise UsageError(
            f"data.batch_seconds={config.data.batch_seconds:g} is less than the {most:g} s that an excerpt may take "
            "with its padding; raise it, or set data.full_context=0 and data.margin=0"
        )


def _records(paths: Sequence[str]) -> list[Record]:
    return [record for path in paths for record in read_records(Path(path))]


def _require_language(record: Record, tokenizer: Tokenizer) -> None:
    """A record without captions needs no language."""
    if not record.captions or record.language in tokenizer.language_tokens:
        return
    if record.language is None:
        raise UsageError(f"the record {record.id} names no language; mtasr data filter drops such records")
    raise UsageError(f"the model does not know the language {record.language!r} of the record {record.id}")
