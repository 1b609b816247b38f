"""Recordings of any length, window by window, with Whisper's seek (paper, section 4.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtasr.audio import SAMPLE_RATE
from mtasr.decoding.buffer import SampleBuffer
from mtasr.decoding.engine import Encoded, Engine, Float32Array
from mtasr.decoding.fallback import Decoded, decode_with_fallback, is_silence
from mtasr.decoding.options import DecodingOptions
from mtasr.decoding.segments import Piece, fit_times, merge_pieces, milliseconds_between, split_at_timestamps
from mtasr.decoding.word_times import find_word_times, fit_words
from mtasr.features import CHUNK_SECONDS, HOP_LENGTH, log_mel
from mtasr.transcript import Segment, Word

#: Samples of a full window.
WINDOW = CHUNK_SECONDS * SAMPLE_RATE

#: No word fits into less than this; the remainder of a file below it is left alone.
_SHORTEST_WINDOW = SAMPLE_RATE // 10


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The segments of one window, and how far into the file everything is now decoded, in seconds."""

    segments: tuple[Segment, ...]
    position: float


def encode_window(engine: Engine, samples: Float32Array) -> Encoded:
    """Encode up to 30 s of samples, padded with silence to 30 s, as the models were trained."""
    padded = np.pad(samples, (0, WINDOW - len(samples)))
    return engine.encode(log_mel(padded, engine.n_mels))


class LongForm:
    """Decodes one recording. Each window starts where the last complete segment before it ended.

    `first` may hold the encoder output of the window at 0, when detecting the language has made it already.
    """

    def __init__(
        self,
        engine: Engine,
        buffer: SampleBuffer,
        language: str,
        options: DecodingOptions,
        first: Encoded | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self.buffer = buffer
        self.language = language
        self.options = options
        self._first = first
        self._most_previous = engine.max_length // 2 - 1
        self._start_tokens = self.tokenizer.sot_sequence(
            language, options.task, timestamps=not options.without_timestamps
        )
        prompt = options.initial_prompt
        self._previous: list[int] = self.tokenizer.encode(" " + prompt.strip()) if prompt and prompt.strip() else []
        self._last_end = 0.0
        self._count = 0

    def windows(self) -> Iterator[WindowResult]:
        """The results of all windows, in file order, each as soon as it is known."""
        seek = 0
        while len(samples := self.buffer.window(seek, WINDOW)) >= _SHORTEST_WINDOW:
            segments, advance = self._window(samples, seek)
            seek += advance
            yield WindowResult(tuple(segments), seek / SAMPLE_RATE)

    def _window(self, samples: Float32Array, seek: int) -> tuple[list[Segment], int]:
        """Decode one window; returns its segments and the samples to advance."""
        encoded = self._first if seek == 0 and self._first is not None else encode_window(self.engine, samples)
        self._first = None
        prompt = self._prompt()
        decoded = decode_with_fallback(
            lambda temperature: self.engine.generate(encoded, prompt, self.options, temperature),
            self.tokenizer,
            self.options,
        )
        if is_silence(decoded.hypothesis, self.options):
            return [], len(samples)
        seconds = len(samples) / SAMPLE_RATE
        pieces, advance = split_at_timestamps(decoded.hypothesis.tokens, self.tokenizer, seconds)
        segments = self._segments(pieces, decoded, seek / SAMPLE_RATE, advance)
        if self.options.word_timestamps and segments:
            segments = self._with_words(segments, encoded, seek / SAMPLE_RATE, advance)
        self._last_end = segments[-1].end if segments else self._last_end
        self._remember(segments, decoded)
        return segments, min(round(advance * SAMPLE_RATE), len(samples))

    def _prompt(self) -> tuple[int, ...]:
        """The decoder's start: as much previous text as half its context takes, then the special tokens."""
        if not self._previous:
            return self._start_tokens
        return (self.tokenizer.sot_prev, *self._previous[-self._most_previous :], *self._start_tokens)

    def _remember(self, segments: Sequence[Segment], decoded: Decoded) -> None:
        """Keep the text for the next window's prompt, unless the options or doubts about it speak against that."""
        options = self.options
        sure = decoded.passed and decoded.temperature <= options.prompt_reset_on_temperature
        if options.condition_on_previous_text and sure:
            spoken = [token for segment in segments for token in segment.tokens]
            self._previous = [*self._previous, *spoken][-self._most_previous :]
        else:
            self._previous = []

    def _segments(self, pieces: Sequence[Piece], decoded: Decoded, offset: float, reach: float) -> list[Segment]:
        if milliseconds_between(self._last_end, offset + reach) < len(pieces):
            pieces = [merge_pieces(pieces)]
        texts = self.tokenizer.decode_groups(piece.tokens for piece in pieces)
        spoken = [(piece, text) for piece, text in zip(pieces, texts, strict=True) if text.strip()]
        spans = fit_times(
            [(offset + piece.start, offset + piece.end) for piece, _ in spoken], self._last_end, offset + reach
        )
        segments = []
        for (piece, text), (start, end) in zip(spoken, spans, strict=True):
            segments.append(
                Segment(
                    id=self._count,
                    start=start,
                    end=end,
                    text=text,
                    tokens=piece.tokens,
                    avg_logprob=decoded.hypothesis.avg_logprob,
                    compression_ratio=decoded.compression_ratio,
                    no_speech_prob=decoded.hypothesis.no_speech_prob,
                    temperature=decoded.temperature,
                )
            )
            self._count += 1
        return segments

    def _with_words(self, segments: Sequence[Segment], encoded: Encoded, offset: float, reach: float) -> list[Segment]:
        """The same segments with words, each beginning with its first word and ending with its last."""
        frames = round(reach * SAMPLE_RATE) // HOP_LENGTH
        groups = [segment.tokens for segment in segments]
        words = find_word_times(
            self.engine, encoded, groups, language=self.language, options=self.options, frames=frames
        )
        # A segment for which no word was found is a unit of its own, so that nothing overlaps it.
        units = [
            found or (Word(word=segment.text, start=segment.start - offset, end=segment.end - offset, probability=0.0),)
            for segment, found in zip(segments, words, strict=True)
        ]
        fitted = fit_words(units, offset, self._last_end, offset + reach)
        return [
            replace(segment, start=spans[0].start, end=spans[-1].end, words=spans if found else ())
            if spans
            else replace(segment, words=())
            for segment, found, spans in zip(segments, words, fitted, strict=True)
        ]
