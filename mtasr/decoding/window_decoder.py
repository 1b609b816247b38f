"""Windows that do not depend on each other, decoded several at a time.

Each window is encoded at its own length and a little more, not at 30 s: that is most of the speed. What such a result
may lack is made up for: one that fails the checks is decoded again at the full length, and then at the temperatures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mtasr.audio.read import SAMPLE_RATE
from mtasr.decoding.checks import Decoded, check, decode_with_fallback, is_silence, loops, passes
from mtasr.decoding.language import CLEAR, CLEAR_CHANGE, TRIED, among, combined, weighed_by_text
from mtasr.decoding.longform import WindowResult
from mtasr.decoding.pauses import Stretch
from mtasr.decoding.prompt import Prompt
from mtasr.decoding.segments import SHORTEST, Piece, all_pieces, readings_of, timed_segments
from mtasr.decoding.translation_times import in_cues_of
from mtasr.decoding.windows import LOUD_NOISE, Window, is_noisy
from mtasr.decoding.words import with_words
from mtasr.engines.engine import Encoded, Engine, Float32Array, Hypothesis, LanguageGuess
from mtasr.features import CHUNK_SECONDS, log_mel
from mtasr.options import DecodingOptions
from mtasr.options import Task as TaskName
from mtasr.stopwatch import Stopwatch
from mtasr.transcript import Alternatives, Segment

#: Silence that the encoder is shown after a window: with less the models, trained on 30 s, start to loop. Figures in
#: benchmarks/README.md.
_MARGIN = 2.0
#: The shortest length encoded.
_SHORTEST = 8.0
#: Lengths are rounded up to this, so that windows of about the same length can be decoded together.
_STEP = 3.0
#: The same for models that were trained on windows of any length.
_VARIABLE_MARGIN, _VARIABLE_SHORTEST, _VARIABLE_STEP = 0.2, 3.0, 1.0

#: A text of fewer tokens than this for a second of speech may lack some, as where a sentence is said again and written
#: once; looked into from so many seconds on, and taken in two halves if these have so many times the tokens. Of 108
#: windows in five languages the thinnest had 2.5.
_THIN, _THIN_FROM, _MORE = 2.4, 2.5, 1.3

#: Seconds of speech after the end of the text that are decoded once more, and that may be the end of its last word.
_LOST, _LAST_WORD = 1.0, 0.5


@dataclass(slots=True)
class Task:
    """A window to decode. `language` may wait until it is known; `first` says that the recording begins with it."""

    window: Window
    language: Callable[[], str]
    task: TaskName = "transcribe"
    first: bool = False
    #: Seconds that the encoder is shown.
    context: float = 0.0
    encoded: Encoded | None = None

    def __post_init__(self) -> None:
        self.context = self.context or context_for(self.window.seconds, self.task)

    @property
    def improbable(self) -> bool:
        """Whether text that is no loop is taken, however improbable and wherever it begins.

        It is of translations: samples drawn in their place are no better, and take a fifth more time
        (benchmarks/README.md).
        """
        return self.task == "translate"


@dataclass(slots=True)
class Outcome:
    """What came of a task: its result, or else the attempts that failed."""

    task: Task
    decoded: Decoded | None = None
    failed: list[Decoded] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    alternatives: list[Alternatives] = field(default_factory=list)
    #: What came of translating it, where both are asked for.
    translated: Outcome | None = None
    #: What came of its parts, if it was decoded in parts.
    parts: list[Outcome] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.decoded is None and not self.parts

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to be drawn for it."""
        return not self.is_open and not (self.segments and self.translated is not None and self.translated.is_open)

    @property
    def tokens(self) -> Iterator[int]:
        """All that is written."""
        for part in self.parts:
            yield from part.tokens
        if not self.parts and self.decoded is not None:
            yield from self.decoded.hypothesis.tokens


def context_for(
    seconds: float, task: TaskName = "transcribe", most: float = CHUNK_SECONDS, *, variable_length: bool = False
) -> float:
    """How many seconds the encoder is shown for a window of so many; `most` is what it takes.

    Models trained on windows of `variable_length` need hardly any silence after them. Translation, which the models do
    less surely, is shown what they were trained on: without, it is worse in most languages (benchmarks/README.md).
    """
    if task == "translate":
        return float(most)
    margin, shortest, step = _MARGIN, _SHORTEST, _STEP
    if variable_length:
        margin, shortest, step = _VARIABLE_MARGIN, _VARIABLE_SHORTEST, _VARIABLE_STEP
    longer = max(shortest, seconds + margin)
    return min(math.ceil(longer / step) * step, float(most))


def features_of(samples: Float32Array, context: float, n_mels: int) -> Float32Array:
    """What the encoder is shown for a window: its log-mel with silence after it, up to `context` seconds."""
    length = round(context * SAMPLE_RATE)
    return log_mel(np.pad(samples[:length], (0, max(0, length - len(samples)))), n_mels)


class WindowDecoder:
    """Decodes tasks with one engine and one set of options; `run` from any thread, `finish` from one."""

    def __init__(self, engine: Engine, options: DecodingOptions, stopwatch: Stopwatch) -> None:
        self._engine, self._options, self._stopwatch = engine, options, stopwatch
        #: What the encoder takes at most.
        self.audio_seconds = engine.audio_seconds
        self._prompts = Prompt(engine.tokenizer, options, engine.max_length)
        self._before = self._prompts.before(self._prompts.initial)

    def task(self, window: Window, language: Callable[[], str], *, first: bool = False) -> Task:
        """A window as a task, with the length that is right for these options; `first` in its recording."""
        options = self._options
        kind: TaskName = "translate" if options.translates else "transcribe"
        return Task(window, language, options.task, first, self._context(window, kind))

    def _context(self, window: Window, task: TaskName) -> float:
        """How many seconds the encoder is shown: all that it takes in loud noise, of which it hears more then."""
        if is_noisy(window.samples, LOUD_NOISE):
            return self.audio_seconds
        return context_for(window.seconds, task, self.audio_seconds, variable_length=self._engine.variable_length)

    def encode(self, tasks: Sequence[Task]) -> None:
        """Fill in what is not encoded yet. The tasks have the same context."""
        missing = [task for task in tasks if task.encoded is None]
        with self._stopwatch.measure("features"):
            features = [features_of(task.window.samples, task.context, self._engine.n_mels) for task in missing]
        if features:
            with self._stopwatch.measure("encode"):
                for task, encoded in zip(missing, self._engine.encode_batch(features), strict=True):
                    task.encoded = encoded

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Decode tasks of the same context by all means that involve no chance; each comes as soon as it is done.

        So those that pass the checks at once come before those that are tried again.
        """
        self.encode(tasks)
        if self._options.multilingual:
            for task in tasks:
                self._follow_language(task)
        outcomes = [Outcome(task) for task in tasks]
        self._try(outcomes)
        if self._options.also_translate:
            for outcome in outcomes:
                if outcome.task.language() != "en":
                    outcome.translated = Outcome(replace(outcome.task, task="translate", first=False))
        self._try([outcome.translated for outcome in outcomes if outcome.translated is not None])
        for outcome in sorted(outcomes, key=self._is_doubtful):
            self._try_again(outcome)
            if outcome.translated is not None:
                self._try_again(outcome.translated)
            self._finish_early_ended(outcome)
            self._write(outcome)
            if outcome.translated is not None:
                self._write(outcome.translated)
            yield outcome

    def _try(self, outcomes: Sequence[Outcome]) -> None:
        """Take what the beam search finds, if that passes the checks."""
        if outcomes and self._options.temperature[0] == 0:
            for outcome, hypothesis in zip(outcomes, self._search([each.task for each in outcomes]), strict=True):
                self._accept(outcome, hypothesis)

    def _is_doubtful(self, outcome: Outcome) -> bool:
        """Whether it is to be tried again, or its translation."""
        tries = [outcome] if outcome.translated is None else [outcome, outcome.translated]
        return any(each.is_open or self._repeats(each) for each in tries)

    def _try_again(self, outcome: Outcome) -> None:
        """What the beam search finds in two halves or at the full length, where it has been tried in vain."""
        if self._options.temperature[0] > 0:
            return
        taken, repeats = not outcome.is_open, self._repeats(outcome)
        if repeats and self._in_halves(outcome):
            return
        if not taken and self._again_at_full_length(outcome) and not repeats and self._repeats(outcome):
            self._in_halves(outcome)

    def _repeats(self, outcome: Outcome) -> bool:
        """Whether the text is a loop, or so thin that something said again may have been left out."""
        decoded, task = outcome.decoded or next(reversed(outcome.failed), None), outcome.task
        if decoded is None:
            return False
        if loops(decoded, self._options, task.window.seconds, improbable=task.improbable):
            return True
        if task.task == "translate" or is_silence(decoded, self._options):
            return False
        speech = task.window.speech_seconds
        return speech >= _THIN_FROM and self._count(decoded.hypothesis.tokens) < _THIN * speech

    def _count(self, tokens: Iterable[int]) -> int:
        """Tokens of text."""
        return sum(token < self._engine.tokenizer.eot for token in tokens)

    def _in_halves(self, outcome: Outcome) -> bool:
        """Take the two halves of a window in its place, if all of them passes and there is more of it."""
        halves = outcome.task.window.halves()
        if halves is None:
            return False
        task = outcome.task
        parts = [
            Outcome(
                replace(
                    task,
                    window=half,
                    first=task.first and not place,
                    context=self._context(half, task.task),
                    encoded=None,
                )
            )
            for place, half in enumerate(halves)
        ]
        for part in parts:
            self.encode([part.task])
            self._try([part])
            self._try_again(part)
            if part.is_open:
                return False
        found = sum(self._count(part.tokens) for part in parts)
        if outcome.decoded is not None and found < _MORE * self._count(outcome.tokens):
            return False
        outcome.parts = parts
        return True

    def judge_language(self, tasks: Sequence[Task]) -> list[LanguageGuess]:
        """The language of a recording from its first windows: the first alone, if that one is clear.

        If all together are not, they are encoded once more at the full length; if that does not make it clear, what
        the model writes for them in the most probable languages decides.
        """
        judgements: list[tuple[float, list[LanguageGuess]]] = []
        for task in tasks:
            guesses = self._guesses(task)
            if not judgements and guesses[0].probability >= CLEAR:
                return guesses
            judgements.append((task.window.speech_seconds or SHORTEST, guesses))
        together = combined(judgements)
        return together if together[0].probability >= CLEAR else self._more_surely(tasks, together)

    def _more_surely(self, tasks: Sequence[Task], guesses: Sequence[LanguageGuess]) -> list[LanguageGuess]:
        """Guesses in place of some that are not clear: those at the full length count as much, and if that is not
        clear either, texts written from it are asked. Where nobody speaks, neither tells more.
        """
        tasks = [self._at_full_length(task) for task in tasks if task.window.speech]
        if not tasks:
            return list(guesses)
        self.encode(tasks)
        full = combined([(task.window.speech_seconds, self._guesses(task)) for task in tasks])
        both = combined([(1.0, guesses), (1.0, full)])
        return both if both[0].probability >= CLEAR else self._by_text(tasks, both)

    def _at_full_length(self, task: Task) -> Task:
        """The length that most models were trained on; those of variable length were trained on any."""
        if self._engine.variable_length or task.context >= self.audio_seconds:
            return task
        return replace(task, context=self.audio_seconds, encoded=None)

    def _by_text(self, tasks: Sequence[Task], guesses: Sequence[LanguageGuess]) -> list[LanguageGuess]:
        """Guesses that are not clear, weighed by texts in the first of them."""
        first = [guess for guess in guesses[:TRIED] if guess.probability > 0]
        if len(first) < 2:
            return list(guesses)
        sequences = [self._engine.tokenizer.sot_sequence(guess.code, "transcribe") for guess in first]
        texts: list[list[Hypothesis]] = [[] for _ in first]
        with self._stopwatch.measure("language"):
            for task in tasks:
                for begin in range(0, len(first), self._engine.batch_size):
                    some = sequences[begin : begin + self._engine.batch_size]
                    found = self._engine.generate_batch([task.encoded] * len(some), some, self._options, 0.0)
                    for text, hypothesis in zip(texts[begin:], found, strict=False):
                        decoded = check(hypothesis, 0.0, self._engine.tokenizer)
                        # A model is sure of its loops.
                        looped = loops(decoded, self._options, task.window.seconds)
                        text.append(replace(hypothesis, avg_logprob=-math.inf) if looped else hypothesis)
        return weighed_by_text(guesses, texts)

    def _guesses(self, task: Task) -> list[LanguageGuess]:
        self.encode([task])
        with self._stopwatch.measure("language"):
            return among(self._engine.detect_language(task.encoded), self._options.languages)

    def _follow_language(self, task: Task) -> None:
        """Take the window to be in the language it is in, if that is clear."""
        guesses = self._guesses(task)
        is_clear = guesses[0].probability >= CLEAR or not task.window.speech
        best = (guesses if is_clear else self._by_text([task], guesses))[0]
        if best.probability >= CLEAR_CHANGE:
            task.language = lambda: best.code

    def finish(self, outcome: Outcome, sampler: Callable[[], Engine]) -> WindowResult:
        """What has become of a window, after trying the temperatures if they are still to be tried."""
        self._draw(outcome, sampler)
        if outcome.translated is not None and outcome.segments:  # What is silent to one is to the other.
            self._draw(outcome.translated, sampler)
        return self.result(outcome)

    def result(self, outcome: Outcome) -> WindowResult:
        """What has become of a window for which nothing is left to be drawn."""
        segments, window = outcome.segments, outcome.task.window
        translation: Sequence[Segment] = ()
        if self._options.also_translate and segments:
            translation = segments
            if outcome.translated is not None:
                translation = in_cues_of(segments, outcome.translated.segments)
        return WindowResult(
            tuple(segments), window.offset + window.seconds, tuple(outcome.alternatives), tuple(translation)
        )

    def _draw(self, outcome: Outcome, sampler: Callable[[], Engine]) -> None:
        if outcome.is_open:
            task, prompt = outcome.task, self._prompt(outcome.task)
            decoded = decode_with_fallback(
                lambda temperature: sampler().generate(task.encoded, prompt, self._options, temperature),
                self._engine.tokenizer,
                self._options,
                seconds=task.window.seconds,
                improbable=task.improbable,
                tried=outcome.failed,
            )
            outcome.decoded = self._without_echo(decoded, task)
            self._write(outcome)

    def _finish_early_ended(self, outcome: Outcome) -> None:
        """Decode what is left of a window whose text ends well before its speech does.

        Only what passes the checks at once is taken: whatever else may be wrong with it, it is not worth a guess.
        """
        for part in outcome.parts:
            self._finish_early_ended(part)
        rest, decoded = self._rest(outcome), outcome.decoded
        if rest is None or decoded is None:
            return
        before, after = rest
        found = Outcome(self.task(after, outcome.task.language))
        self.encode([found.task])
        if self._accept(found, self._search([found.task])[0]):
            # Other readings are of the whole window.
            decoded = replace(decoded, hypothesis=replace(decoded.hypothesis, others=()))
            outcome.parts = [Outcome(replace(outcome.task, window=before), decoded), found]

    def _rest(self, outcome: Outcome) -> tuple[Window, Window] | None:
        """The window cut where its text ends, if a good deal of speech follows.

        Times of translations do not tell where the speech ended that they translate.
        """
        decoded, window, tokenizer = outcome.decoded, outcome.task.window, self._engine.tokenizer
        if outcome.parts or decoded is None or self._options.without_timestamps or outcome.task.task == "translate":
            return None
        if is_silence(decoded, self._options):
            return None
        tokens = decoded.hypothesis.tokens
        if not tokens or not tokenizer.is_timestamp(tokens[-1]):
            return None
        end = all_pieces(tokens, tokenizer, window.seconds)[-1].end
        left = [(max(start, end), to) for start, to in _stretches(window) if to > end]
        # What begins with the end of a stretch is the last word still.
        left = [(start, to) for start, to in left if start > end or to - start > _LAST_WORD]
        if end <= 0 or sum(to - start for start, to in left) < _LOST:
            return None
        return window.split(window.start + round(end * SAMPLE_RATE))

    def _prompt(self, task: Task) -> tuple[int, ...]:
        return (*self._before, *self._start(task), *(self._prompts.beginning if task.first else ()))

    def _start(self, task: Task) -> tuple[int, ...]:
        return self._engine.tokenizer.sot_sequence(
            task.language(), task.task, timestamps=not self._options.without_timestamps
        )

    def _search(self, tasks: Sequence[Task]) -> list[Hypothesis]:
        prompts = [self._prompt(task) for task in tasks]
        found: dict[int, Hypothesis] = {}
        for length in dict.fromkeys(map(len, prompts)):  # The first window of a recording may have a longer one.
            alike = [place for place, prompt in enumerate(prompts) if len(prompt) == length]
            encoded = [tasks[place].encoded for place in alike]
            with self._stopwatch.measure("generate"):
                hypotheses = self._engine.generate_batch(
                    encoded, [prompts[place] for place in alike], self._options, 0.0
                )
            found |= zip(alike, hypotheses, strict=True)
        return [found[place] for place in range(len(tasks))]

    def _again_at_full_length(self, outcome: Outcome) -> bool:
        """Whether that was still to be tried."""
        task = outcome.task
        if task.context >= self.audio_seconds:
            return False
        task.context, task.encoded = self.audio_seconds, None
        self.encode([task])
        self._accept(outcome, self._search([task])[0])
        return True

    def _accept(self, outcome: Outcome, hypothesis: Hypothesis) -> bool:
        decoded, task = check(hypothesis, 0.0, self._engine.tokenizer), outcome.task
        # Voice activity says that somebody speaks: that nobody does is believed of the full length alone.
        if is_silence(decoded, self._options) and task.context < self.audio_seconds:
            return False
        decoded = self._without_echo(decoded, task)
        if passes(decoded, self._options, task.window.seconds, improbable=task.improbable):
            outcome.decoded = decoded
            return True
        outcome.failed.append(decoded)
        return False

    def _without_echo(self, decoded: Decoded, task: Task) -> Decoded:
        """No text, if it is what was given before the window and nobody speaks in it."""
        hypothesis = decoded.hypothesis
        if not self._prompts.given or not self._prompts.echoed_by(self._engine.tokenizer.decode(hypothesis.tokens)):
            return decoded
        if task.window.speech and not self._is_silent(task):
            return decoded
        return replace(decoded, hypothesis=replace(hypothesis, tokens=(), others=()))

    def _is_silent(self, task: Task) -> bool:
        """Whether the window is silent to a model that is told nothing."""
        with self._stopwatch.measure("generate"):
            untold = self._engine.generate(task.encoded, self._start(task), self._options, 0.0)
        return is_silence(check(untold, 0.0, self._engine.tokenizer), self._options)

    def _write(self, outcome: Outcome) -> None:
        """Turn the result into segments, and let go of what is not needed for that any longer."""
        decoded, task = outcome.decoded, outcome.task
        if outcome.parts:
            for part in outcome.parts:
                self._write(part)
            outcome.segments = [segment for part in outcome.parts for segment in part.segments]
            outcome.alternatives = [each for part in outcome.parts for each in part.alternatives]
            task.encoded = None
            return
        if decoded is None:
            return
        if not is_silence(decoded, self._options):
            window, tokenizer = task.window, self._engine.tokenizer
            pieces = all_pieces(decoded.hypothesis.tokens, tokenizer, window.seconds)
            pieces = [_beside_speech(piece, window) for piece in pieces]
            language, options = task.language(), self._options
            segments = timed_segments(pieces, decoded, tokenizer, window.offset, window.seconds, language)
            # Those of a translation beside a transcript are vague, and it has the transcript's times.
            if options.word_timestamps and segments and task.task == options.task:
                with self._stopwatch.measure("align"):
                    segments = with_words(
                        segments,
                        self._engine,
                        task.encoded,
                        language=language,
                        options=options,
                        offset=window.offset,
                        reach=window.seconds,
                        speech=_stretches(window),
                    )
            outcome.segments = segments
            if segments and options.n_best > 1:
                outcome.alternatives = [self._alternatives(decoded.hypothesis, window)]
        task.encoded = None

    def _alternatives(self, hypothesis: Hypothesis, window: Window) -> Alternatives:
        readings = readings_of(hypothesis, self._engine.tokenizer.decode)
        return Alternatives(start=window.offset, end=window.offset + window.seconds, readings=readings)


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
