"""Whisper's own long form: window by window, each given the text before it (paper, section 4.5)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.clips import Clips
from mtasr.decoding.checks import Attempt, Checks
from mtasr.decoding.groups import closed_early
from mtasr.decoding.language import CLEAR_CHANGE, among
from mtasr.decoding.prompt import Prompt
from mtasr.decoding.retries import decode_at_temperatures
from mtasr.decoding.sample_buffer import SampleBuffer
from mtasr.decoding.submission import Audio, DecodedWindow, Listener, PlacedResult
from mtasr.decoding.timing.segments import readings_of, split_at_timestamps, timed_segments
from mtasr.decoding.timing.words import with_words
from mtasr.engines.engine import Encoded, Engine, Hypothesis, LanguageGuess
from mtasr.features import log_mel
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Interval
from mtasr.transcript import Alternatives, Segment
from mtasr.vad import MakeDetector, SpeechTrack

#: The shortest window in samples: no word fits into less.
_SHORTEST_WINDOW = SAMPLE_RATE // 10


def full_window(engine: Engine) -> int:
    """Samples of a window as long as the encoder takes: 30 s."""
    return round(engine.limits.audio_seconds * SAMPLE_RATE)


def encode_window(engine: Engine, samples: Float32Array) -> Encoded:
    """Encode up to a full window of samples (n,), padded with silence to that, as the models were trained."""
    padded = np.pad(samples, (0, full_window(engine) - len(samples)))
    return engine.encode([log_mel(padded, engine.limits.n_mels)])[0]


class LongForm:
    """A recording decoded in Whisper's own way: the `Submission` of `condition_on_previous_text`.

    `language` is the code of the language, None to detect it in the first window. Each window starts where the last
    complete segment before it ended. Work happens in the thread that asks for results.
    """

    def __init__(
        self,
        engine: Engine,
        open_audio: Callable[[], Audio],
        language: str | None,
        options: DecodingOptions,
        checks: Checks,
        detector: MakeDetector,
        listener: Listener | None = None,
    ) -> None:
        self._engine, self._open, self._options, self._detector = engine, open_audio, options, detector
        self._checks = checks.for_options(options)
        self._language, self._listener = language, listener
        self._guesses: list[LanguageGuess] | None = None
        #: Encoder output of the first window, if detecting the language has made it.
        self._first: Encoded | None = None
        self.audio: Audio | None = None
        #: Without effect: its windows are decoded one after the other, by the caller.
        self.priority = 0
        self.samples = 0
        self._closed = False
        #: Held while the caller asks for results: no other thread may close the audio that is being read.
        self._reading = threading.Lock()

    @functools.cached_property
    def _track(self) -> SpeechTrack:
        return SpeechTrack(self._options.vad_threshold, self._detector())

    @functools.cached_property
    def _buffer(self) -> SampleBuffer:
        return SampleBuffer(self._track.follow(self._blocks()))

    def open(self) -> None:
        if self.audio is None and not self._closed:
            self.audio = self._open()
        if self._closed:  # perhaps while it was opened
            self.close()
            raise closed_early()

    def _blocks(self) -> Iterator[Float32Array]:
        self.open()
        clips = Clips(self._options.clip_timestamps)
        for block in self.audio or ():
            masked = clips.mask(block, self.samples)
            self.samples += len(block)
            if self._listener is not None:
                self._listener.add(masked)
            yield masked

    def guesses(self) -> list[LanguageGuess] | None:
        if self._language is None and self._guesses is None:
            samples = self._buffer.window(0, full_window(self._engine))
            self._guesses = []
            if len(samples):
                self._first = encode_window(self._engine, samples)
                self._guesses = among(self._engine.detect_language(self._first), self._options.languages)
        return self._guesses

    def language(self) -> str:
        guesses = self.guesses()
        return self._language or (guesses[0].code if guesses else "en")

    def results(self) -> Iterator[DecodedWindow]:
        with self._reading:
            try:
                yield from self._results()
            finally:
                if self.audio is not None:
                    self.audio.close()

    def _results(self) -> Iterator[DecodedWindow]:
        language = self.language()
        with self._engine.sampler(self._options.seed) as engine:
            windows = _Windows(engine, self._options, self._checks, language, self._track)
            start = 0
            while len(samples := self._buffer.window(start, full_window(engine))) >= _SHORTEST_WINDOW:
                encoded = self._first if start == 0 and self._first is not None else encode_window(engine, samples)
                self._first = None
                result, advance = windows.decode(encoded, start / SAMPLE_RATE, len(samples) / SAMPLE_RATE)
                start += min(round(advance * SAMPLE_RATE), len(samples))
                yield DecodedWindow(result.segments, start / SAMPLE_RATE, result.alternatives)

    def placed(self) -> Iterator[PlacedResult]:
        return (PlacedResult(None, each) for each in self.results())

    def speech(self) -> dict[str | None, list[Interval]]:
        return {None: self._track.intervals()}

    def turns(self) -> None:
        return None

    def close(self) -> None:
        self._closed = True
        if self.audio is not None:
            self.audio.abort()
            if self._reading.acquire(blocking=False):
                try:
                    self.audio.close()
                finally:
                    self._reading.release()


class _Windows:
    """Decodes the windows of one recording in turn, and keeps the text that the next one is given."""

    def __init__(
        self, engine: Engine, options: DecodingOptions, checks: Checks, language: str, track: SpeechTrack
    ) -> None:
        self._engine, self._tokenizer = engine, engine.tokenizer
        self._options, self._checks, self._language, self._track = options, checks, language, track
        self._most_previous = engine.limits.max_length // 2 - 1
        self._prompts = Prompt(engine.tokenizer, options, engine.limits.max_length)
        self._prompts.log_cuts()
        self._previous = self._prompts.initial
        self._has_spoken = False

    def decode(self, encoded: Encoded, offset: float, seconds: float) -> tuple[DecodedWindow, float]:
        """Decode the window at `offset`; returns its result and the seconds to advance to the next one."""
        language = self._language_of(encoded)
        start = self._tokenizer.sot_sequence(
            language, self._options.task, timestamps=not self._options.without_timestamps
        )
        beginning = () if self._has_spoken else self._prompts.beginning
        prompt = (*self._prompts.before(self._previous), *start, *beginning)
        taken = decode_at_temperatures(
            lambda temperature: self._engine.generate([encoded], [prompt], self._options, temperature)[0],
            self._tokenizer,
            self._options,
            self._checks,
        )
        if self._checks.is_silence(taken) or self._is_echo(taken.hypothesis, offset, seconds):
            return DecodedWindow((), offset + seconds), seconds
        pieces, advance = split_at_timestamps(taken.hypothesis.tokens, self._tokenizer, seconds)
        segments = timed_segments(pieces, taken, self._tokenizer, offset, advance, language)
        if self._options.word_timestamps and segments:
            segments = with_words(
                segments,
                self._engine,
                encoded,
                language=language,
                options=self._options,
                offset=offset,
                reach=advance,
                speech=self._track.intervals(offset, offset + advance),
            )
        self._has_spoken = self._has_spoken or bool(segments)
        self._remember(segments, taken)
        alternatives = self._alternatives(taken.hypothesis, offset, seconds, advance) if segments else ()
        return DecodedWindow(tuple(segments), offset + advance, alternatives), advance

    def _is_echo(self, hypothesis: Hypothesis, offset: float, seconds: float) -> bool:
        """Whether a window in which nobody speaks says what was given before it, and no more."""
        if not self._prompts.given or self._track.intervals(offset, offset + seconds):
            return False
        return self._prompts.echoed_by(self._tokenizer.decode(hypothesis.tokens))

    def _alternatives(
        self, hypothesis: Hypothesis, offset: float, seconds: float, advance: float
    ) -> tuple[Alternatives, ...]:
        """Each reading up to where it is complete, as in the transcript."""
        if self._options.n_best == 1:
            return ()

        def complete(tokens: tuple[int, ...]) -> str:
            pieces, _ = split_at_timestamps(tokens, self._tokenizer, seconds)
            return self._tokenizer.decode(token for piece in pieces for token in piece.tokens)

        return (Alternatives(start=offset, end=offset + advance, readings=readings_of(hypothesis, complete)),)

    def _language_of(self, encoded: Encoded) -> str:
        """That of the recording, or of the window if it may change and is clear."""
        if not self._options.multilingual:
            return self._language
        best = among(self._engine.detect_language(encoded), self._options.languages)[0]
        return best.code if best.probability >= CLEAR_CHANGE else self._language

    def _remember(self, segments: Sequence[Segment], taken: Attempt) -> None:
        """Keep the text for the prompt of the next window, unless it is doubtful."""
        if taken.passed and taken.temperature <= self._options.prompt_reset_on_temperature:
            spoken = [token for segment in segments for token in segment.tokens]
            self._previous = [*self._previous, *spoken][-self._most_previous :]
        else:
            self._previous = []
