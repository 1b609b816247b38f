"""Windows that do not depend on each other, decoded several at a time.

Each window is encoded at its own length and a little more, not at 30 s: that is most of the speed. What such a result
may lack is made up for: one that fails the checks is decoded again at the full length, and then at the temperatures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mtasr.audio import SAMPLE_RATE
from mtasr.decoding.engine import Encoded, Engine, Hypothesis
from mtasr.decoding.fallback import Decoded, check, decode_with_fallback, is_silence, passes
from mtasr.decoding.options import DecodingOptions
from mtasr.decoding.pauses import Stretch
from mtasr.decoding.segments import Piece, all_pieces, timed_segments
from mtasr.decoding.windows import Window
from mtasr.decoding.word_times import with_words
from mtasr.features import CHUNK_SECONDS, log_mel
from mtasr.stopwatch import Stopwatch
from mtasr.transcript import Segment

#: Silence that the encoder is shown after a window: with less the models, trained on 30 s, start to loop. Figures in
#: benchmarks/README.md.
_MARGIN = 2.0
#: The shortest length encoded.
_SHORTEST = 8.0
#: Lengths are rounded up to this, so that windows of about the same length can be decoded together.
_STEP = 3.0


@dataclass(slots=True)
class Task:
    """A window to decode. `language` may wait until it is known."""

    window: Window
    language: Callable[[], str]
    #: Seconds that the encoder is shown.
    context: float = 0.0
    encoded: Encoded | None = None

    def __post_init__(self) -> None:
        self.context = self.context or context_for(self.window.seconds)


@dataclass(slots=True)
class Outcome:
    """What came of a task: its result, or else the attempts that failed."""

    task: Task
    decoded: Decoded | None = None
    failed: list[Decoded] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


def context_for(seconds: float) -> float:
    """How many seconds the encoder is shown for a window of so many."""
    longer = max(_SHORTEST, seconds + _MARGIN)
    return min(math.ceil(longer / _STEP) * _STEP, float(CHUNK_SECONDS))


class WindowDecoder:
    """Decodes tasks with one engine and one set of options; `run` from any thread, `finish` from one."""

    def __init__(self, engine: Engine, options: DecodingOptions, stopwatch: Stopwatch) -> None:
        self._engine, self._options, self._stopwatch = engine, options, stopwatch
        tokenizer = engine.tokenizer
        prompt = (options.initial_prompt or "").strip()
        most = engine.max_length // 2 - 1
        self._prefix = (tokenizer.sot_prev, *tokenizer.encode(" " + prompt)[-most:]) if prompt else ()

    def encode(self, tasks: Sequence[Task]) -> None:
        """Fill in what is not encoded yet. The tasks have the same context."""
        missing = [task for task in tasks if task.encoded is None]
        with self._stopwatch.measure("features"):
            features = []
            for task in missing:
                samples = task.window.samples
                length = round(task.context * SAMPLE_RATE)
                padded = np.pad(samples[:length], (0, max(0, length - len(samples))))
                features.append(log_mel(padded, self._engine.n_mels))
        if features:
            with self._stopwatch.measure("encode"):
                for task, encoded in zip(missing, self._engine.encode_batch(features), strict=True):
                    task.encoded = encoded

    def run(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Decode tasks of the same context by all means that involve no chance."""
        self.encode(tasks)
        outcomes = [Outcome(task) for task in tasks]
        if self._options.temperature[0] == 0:
            for outcome, hypothesis in zip(outcomes, self._search(tasks), strict=True):
                if not self._accept(outcome, hypothesis):
                    self._again_at_full_length(outcome)
        for outcome in outcomes:
            self._write(outcome)
        return outcomes

    def finish(self, outcome: Outcome) -> list[Segment]:
        """The segments of an outcome, after trying the temperatures if they are still to be tried."""
        if outcome.decoded is None:
            alone, task = self._engine.alone(), outcome.task
            prompt = self._prompt(task)
            outcome.decoded = decode_with_fallback(
                lambda temperature: alone.generate(task.encoded, prompt, self._options, temperature),
                self._engine.tokenizer,
                self._options,
                seconds=task.window.seconds,
                tried=outcome.failed,
            )
            self._write(outcome)
        return outcome.segments

    def _prompt(self, task: Task) -> tuple[int, ...]:
        options = self._options
        start = self._engine.tokenizer.sot_sequence(
            task.language(), options.task, timestamps=not options.without_timestamps
        )
        return (*self._prefix, *start)

    def _search(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        prompts = [self._prompt(task) for task in tasks]
        with self._stopwatch.measure("generate"):
            return self._engine.generate_batch([task.encoded for task in tasks], prompts, self._options, 0.0)

    def _again_at_full_length(self, outcome: Outcome) -> None:
        task = outcome.task
        if task.context < CHUNK_SECONDS:
            task.context, task.encoded = float(CHUNK_SECONDS), None
            self.encode([task])
            self._accept(outcome, self._search([task])[0])

    def _accept(self, outcome: Outcome, hypothesis: Hypothesis) -> bool:
        decoded, task = check(hypothesis, 0.0, self._engine.tokenizer), outcome.task
        # Voice activity says that somebody speaks: that nobody does is believed of the full length alone.
        if is_silence(decoded, self._options) and task.context < CHUNK_SECONDS:
            return False
        if passes(decoded, self._options, task.window.seconds):
            outcome.decoded = decoded
            return True
        outcome.failed.append(decoded)
        return False

    def _write(self, outcome: Outcome) -> None:
        """Turn the result into segments, and let go of what is not needed for that any longer."""
        decoded, task = outcome.decoded, outcome.task
        if decoded is None:
            return
        if not is_silence(decoded, self._options):
            window, tokenizer = task.window, self._engine.tokenizer
            pieces = all_pieces(decoded.hypothesis.tokens, tokenizer, window.seconds)
            pieces = [_beside_speech(piece, window) for piece in pieces]
            segments = timed_segments(pieces, decoded, tokenizer, window.offset, window.seconds)
            if self._options.word_timestamps and segments:
                with self._stopwatch.measure("align"):
                    segments = with_words(
                        segments,
                        self._engine,
                        task.encoded,
                        language=task.language(),
                        options=self._options,
                        offset=window.offset,
                        reach=window.seconds,
                        speech=_stretches(window),
                    )
            outcome.segments = segments
        task.encoded = None


def _stretches(window: Window) -> list[Stretch]:
    """Where somebody speaks, in seconds from the start of the window."""
    return [
        ((span.start - window.start) / SAMPLE_RATE, (span.end - window.start) / SAMPLE_RATE) for span in window.speech
    ]


def _beside_speech(piece: Piece, window: Window) -> Piece:
    """Without the silence at its ends. A model's times are often those of the window; speech is known better."""
    inside = [(start, end) for start, end in _stretches(window) if start < piece.end and end > piece.start]
    if not inside:
        return piece
    start, end = max(piece.start, inside[0][0]), min(piece.end, inside[-1][1])
    return Piece(start=start, end=end, tokens=piece.tokens) if start < end else piece
