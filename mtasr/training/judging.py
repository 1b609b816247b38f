"""How good a model is while it is trained: windows of the evaluation data, decoded greedily.

Translations are not among them: their errors are not counted in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mtasr.checkpoints.settings import GenerationSettings
from mtasr.data.excerpts import Excerpt, cut_excerpts
from mtasr.data.records import Record
from mtasr.data.samples import SampleStore
from mtasr.data.texts import character_errors, word_errors
from mtasr.decoding.window_decoder import context_for, features_of
from mtasr.edit_distance import ErrorCount
from mtasr.engines.torch import TorchEngine
from mtasr.features import CHUNK_SECONDS
from mtasr.networks.whisper import Whisper
from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer

#: From this probability on, the model says that nobody speaks.
_NO_SPEECH = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Errors in transcripts, and how often language and silence were recognised."""

    words: ErrorCount = field(default_factory=ErrorCount)
    characters: ErrorCount = field(default_factory=ErrorCount)
    #: Right and all.
    language: tuple[int, int] = (0, 0)
    no_speech: tuple[int, int] = (0, 0)

    def figures(self) -> dict[str, float]:
        """What there is of them, as rates from 0 on."""
        found: dict[str, float] = {}
        if self.words.length:
            found |= {"wer": self.words.rate, "cer": self.characters.rate}
        for name, (right, count) in (("language", self.language), ("no_speech", self.no_speech)):
            if count:
                found[f"{name}_accuracy"] = right / count
        return found


def excerpts_to_judge(records: Sequence[Record], most: int, seconds: float = CHUNK_SECONDS) -> list[Excerpt]:
    """At most so many windows, spread evenly over those of up to so many seconds that transcripts have."""
    excerpts = [excerpt.before_cut() for record in records for excerpt in cut_excerpts(record, lambda: seconds)]
    excerpts = [excerpt for excerpt in excerpts if excerpt.fits(seconds)]
    places = np.linspace(0, len(excerpts) - 1, min(most, len(excerpts))).round().astype(int)
    return [excerpts[place] for place in places]


def judge(
    model: Whisper, tokenizer: Tokenizer, settings: GenerationSettings, excerpts: Sequence[Excerpt], store: SampleStore
) -> Verdict:
    """Decode the windows with a plain model, at the lengths of decoding, in the language of their label."""
    device = model.device
    engine = TorchEngine(
        model,
        tokenizer,
        suppress_ids=settings.suppress_ids,
        suppress_ids_begin=settings.suppress_ids_begin,
        device=device.type,
        device_index=device.index or 0,
    )
    verdict = Verdict()
    for excerpt in excerpts:
        options = DecodingOptions(beam_size=1)
        context = context_for(
            excerpt.seconds, excerpt.task, engine.audio_seconds, variable_length=settings.variable_length
        )
        encoded = engine.encode(features_of(store.excerpt(excerpt), context, model.dims.n_mels))
        if not excerpt.captions:
            hypothesis = engine.generate(encoded, _start(tokenizer, excerpt), options, 0.0)
            verdict = replace(verdict, no_speech=_plus(verdict.no_speech, hypothesis.no_speech_prob > _NO_SPEECH))
            continue
        if tokenizer.is_multilingual:
            right = engine.detect_language(encoded)[0].code == excerpt.language
            verdict = replace(verdict, language=_plus(verdict.language, right))
        text = tokenizer.decode(engine.generate(encoded, _start(tokenizer, excerpt), options, 0.0).tokens)
        reference = " ".join(caption.text for caption in excerpt.captions)
        verdict = replace(
            verdict,
            words=verdict.words + word_errors(reference, text),
            characters=verdict.characters + character_errors(reference, text),
        )
    return verdict


def _start(tokenizer: Tokenizer, excerpt: Excerpt) -> tuple[int, ...]:
    language = (
        excerpt.language if excerpt.language in tokenizer.language_tokens else next(iter(tokenizer.language_tokens))
    )
    return tokenizer.sot_sequence(language, excerpt.task, timestamps=excerpt.timed)


def _plus(count: tuple[int, int], right: bool) -> tuple[int, int]:
    return count[0] + right, count[1] + 1
