"""Whisper's own long form: window by window, each told the text before it (paper, section 4.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mtasr.audio.read import SAMPLE_RATE
from mtasr.decoding.checks import Decoded, decode_with_fallback, is_silence
from mtasr.decoding.language import CLEAR_CHANGE, among
from mtasr.decoding.prompt import Prompt
from mtasr.decoding.sample_buffer import SampleBuffer
from mtasr.decoding.segments import readings_of, split_at_timestamps, timed_segments
from mtasr.decoding.words import with_words
from mtasr.engines.engine import Encoded, Engine, Float32Array, Hypothesis
from mtasr.features import log_mel
from mtasr.options import DecodingOptions
from mtasr.transcript import Alternatives, Segment
from mtasr.vad.silero import SpeechTrack

#: No word fits into less than this; the remainder of a file below it is left alone.
_SHORTEST_WINDOW = SAMPLE_RATE // 10


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The segments of one window, and how far into the file everything is now decoded, in seconds.

    Other readings of it and the segments of its translation, if they were asked for.
    """

    segments: tuple[Segment, ...]
    position: float
    alternatives: tuple[Alternatives, ...] = ()
    translation: tuple[Segment, ...] = ()


def full_window(engine: Engine) -> int:
    """Samples of a window as long as the encoder takes: 30 s."""
    return round(engine.audio_seconds * SAMPLE_RATE)


def encode_window(engine: Engine, samples: Float32Array) -> Encoded:
    """Encode up to a full window of samples, padded with silence to that, as the models were trained."""
    padded = np.pad(samples, (0, full_window(engine) - len(samples)))
    return engine.encode(log_mel(padded, engine.n_mels))


class LongForm:
    """Decodes one recording. Each window starts where the last complete segment before it ended.

    `first` may hold the encoder output of the window at 0, when detecting the language has made it already. `track`
    tells where somebody speaks in what has been read.
    """

    def __init__(
        self,
        engine: Engine,
        buffer: SampleBuffer,
        language: str,
        options: DecodingOptions,
        first: Encoded | None = None,
        track: SpeechTrack | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self.buffer = buffer
        self.language = language
        self.options = options
        self._first = first
        self._track = track
        self._most_previous = engine.max_length // 2 - 1
        self._prompts = Prompt(self.tokenizer, options, engine.max_length)
        self._previous = self._prompts.initial
        self._has_spoken = False

    def windows(self) -> Iterator[WindowResult]:
        """The results of all windows, in file order, each as soon as it is known."""
        seek = 0
        while len(samples := self.buffer.window(seek, full_window(self.engine))) >= _SHORTEST_WINDOW:
            segments, advance, alternatives = self._window(samples, seek)
            seek += advance
            yield WindowResult(tuple(segments), seek / SAMPLE_RATE, alternatives)

    def _window(self, samples: Float32Array, seek: int) -> tuple[list[Segment], int, tuple[Alternatives, ...]]:
        """Decode one window; returns its segments, the samples to advance, and other readings if asked for."""
        encoded = self._first if seek == 0 and self._first is not None else encode_window(self.engine, samples)
        self._first = None
        language = self._language_of(encoded)
        start = self.tokenizer.sot_sequence(language, self.options.task, timestamps=not self.options.without_timestamps)
        beginning = () if self._has_spoken else self._prompts.beginning
        prompt = (*self._prompts.before(self._previous), *start, *beginning)
        decoded = decode_with_fallback(
            lambda temperature: self.engine.generate(encoded, prompt, self.options, temperature),
            self.tokenizer,
            self.options,
        )
        offset, seconds = seek / SAMPLE_RATE, len(samples) / SAMPLE_RATE
        if is_silence(decoded, self.options) or self._is_echo(decoded.hypothesis, offset, seconds):
            return [], len(samples), ()
        pieces, advance = split_at_timestamps(decoded.hypothesis.tokens, self.tokenizer, seconds)
        segments = timed_segments(pieces, decoded, self.tokenizer, offset, advance, language)
        if self.options.word_timestamps and segments:
            segments = with_words(
                segments,
                self.engine,
                encoded,
                language=language,
                options=self.options,
                offset=offset,
                reach=advance,
                speech=self._track.stretches(offset, offset + advance) if self._track else (),
            )
        self._has_spoken = self._has_spoken or bool(segments)
        self._remember(segments, decoded)
        alternatives = self._alternatives(decoded.hypothesis, offset, seconds, advance) if segments else ()
        return segments, min(round(advance * SAMPLE_RATE), len(samples)), alternatives

    def _is_echo(self, hypothesis: Hypothesis, offset: float, seconds: float) -> bool:
        """Whether a window in which nobody speaks says what was given before it, and no more."""
        if not self._prompts.given or self._track is None or self._track.stretches(offset, offset + seconds):
            return False
        return self._prompts.echoed_by(self.tokenizer.decode(hypothesis.tokens))

    def _alternatives(
        self, hypothesis: Hypothesis, offset: float, seconds: float, advance: float
    ) -> tuple[Alternatives, ...]:
        """Each reading up to where it is complete, as the transcript's."""
        if self.options.n_best == 1:
            return ()

        def complete(tokens: tuple[int, ...]) -> str:
            pieces, _ = split_at_timestamps(tokens, self.tokenizer, seconds)
            return self.tokenizer.decode(token for piece in pieces for token in piece.tokens)

        return (Alternatives(start=offset, end=offset + advance, readings=readings_of(hypothesis, complete)),)

    def _language_of(self, encoded: Encoded) -> str:
        """That of the recording, or of the window where it may change and is clear."""
        if not self.options.multilingual:
            return self.language
        best = among(self.engine.detect_language(encoded), self.options.languages)[0]
        return best.code if best.probability >= CLEAR_CHANGE else self.language

    def _remember(self, segments: Sequence[Segment], decoded: Decoded) -> None:
        """Keep the text for the next window's prompt, unless there are doubts about it."""
        if decoded.passed and decoded.temperature <= self.options.prompt_reset_on_temperature:
            spoken = [token for segment in segments for token in segment.tokens]
            self._previous = [*self._previous, *spoken][-self._most_previous :]
        else:
            self._previous = []
