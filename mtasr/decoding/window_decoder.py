"""From windows to text: windows that do not depend on each other, decoded several at a time.

    Window -> WindowInput -> Decoding (attempts, checks, retries) -> DecodedWindow

A short context makes most of the speed (`window_input.py`). Where it costs text, the checks notice and the retries
repair it.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from mtasr.decoding.checks import Attempt, Checks, attempt_of
from mtasr.decoding.language import CLEAR, CLEAR_CHANGE, TRIED, among, combined, weighed_by_text
from mtasr.decoding.prompt import Prompt
from mtasr.decoding.retries import RETRIES, Decoding, Retry, RetryFacts, decode_at_temperatures
from mtasr.decoding.submission import DecodedWindow
from mtasr.decoding.timing.segments import SHORTEST, Piece, all_pieces, readings_of, timed_segments
from mtasr.decoding.timing.translation_times import at_times_of
from mtasr.decoding.timing.words import with_words
from mtasr.decoding.window_input import WindowInput, features_of
from mtasr.decoding.windows import Window
from mtasr.engines.engine import Encoded, Engine, Hypothesis, LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.stopwatch import Stopwatch
from mtasr.transcript import Alternatives, Segment


class WindowDecoder:
    """Decodes windows with one engine and one set of options; `decode` may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        options: DecodingOptions,
        stopwatch: Stopwatch,
        checks: Checks | None = None,
        retries: tuple[Retry, ...] = RETRIES,
    ) -> None:
        self._engine, self._options, self._stopwatch = engine, options, stopwatch
        limits = engine.limits
        self.checks = (checks or Checks()).for_options(options)
        self.audio_seconds = limits.audio_seconds
        self._retries = retries
        self._facts = RetryFacts(self.checks, engine.tokenizer, limits.audio_seconds, limits.variable_length)
        self.prompts = Prompt(engine.tokenizer, options, engine.limits.max_length)
        self._before = self.prompts.before(self.prompts.initial)

    # --- inputs -----------------------------------------------------------------------------------------------------

    def input(self, window: Window, *, language: str = "", first: bool = False) -> WindowInput:
        """A window at the context that suits these options; `first` says that the recording begins with it."""
        options = self._options
        context = self._facts.context_of(window, "translate" if options.translates else "transcribe")
        return WindowInput(window=window, language=language, task=options.task, first=first, context=context)

    def encoded(self, inputs: Sequence[WindowInput]) -> list[WindowInput]:
        """The inputs with encoder output. They have one context."""
        missing = [each for each in inputs if each.encoded is None]
        with self._stopwatch.measure("features"):
            n_mels = self._engine.limits.n_mels
            features = [features_of(each.window.samples, each.context, n_mels) for each in missing]
        found: Iterator[Encoded] = iter(())
        if features:
            with self._stopwatch.measure("encode"):
                found = iter(self._engine.encode(features))
        return [replace(each, encoded=next(found)) if each.encoded is None else each for each in inputs]

    # --- decoding ---------------------------------------------------------------------------------------------------

    def decode(
        self, inputs: Sequence[WindowInput], is_wanted: Callable[[int], bool] = lambda index: True
    ) -> Iterator[tuple[int, Decoding]]:
        """Decode inputs of one context by beam search and retries; yields the indices of inputs with their decodings.

        Each comes as soon as it is done, so those that pass at once come before those that are retried. A decoding that
        is still open needs the temperatures, for which `finish` is called. Inputs no longer wanted are left out.
        """
        if not inputs:
            return
        inputs = self.encoded(inputs)
        if self._options.multilingual:
            inputs = [replace(each, language=self._language_of(each)) for each in inputs]
        decodings = self._searched([Decoding(input=each) for each in inputs])
        if self._options.also_translate:
            decodings = self._with_translations(decodings)
        for index in sorted(range(len(inputs)), key=lambda index: self._is_retried(decodings[index])):
            wanted = functools.partial(is_wanted, index)
            if not wanted():
                continue
            decoding = self.retry(decodings[index], wanted)
            if decoding.translation is not None:
                decoding = replace(decoding, translation=self.retry(decoding.translation, wanted))
            decoding = self._continued(decoding)
            if wanted():
                yield index, decoding

    def _with_translations(self, decodings: Sequence[Decoding]) -> list[Decoding]:
        """Each decoding with its translation; English needs none."""
        foreign = [each.input for each in decodings if each.input.language != "en"]
        inputs = [replace(each, task="translate", first=False) for each in foreign]
        found = iter(self._searched([Decoding(input=each) for each in inputs]))
        return [each if each.input.language == "en" else replace(each, translation=next(found)) for each in decodings]

    def _is_retried(self, decoding: Decoding) -> bool:
        decodings = [decoding] if decoding.translation is None else [decoding, decoding.translation]
        return any(each.is_open or self._facts.is_doubtful(each) for each in decodings)

    def _searched(self, decodings: Sequence[Decoding]) -> list[Decoding]:
        """The decodings after a beam search in all of them, unless the first temperature is above 0."""
        if not decodings or self._options.temperature[0] > 0:
            return list(decodings)
        prompts = [self._prompt(each.input) for each in decodings]
        found: dict[int, Hypothesis] = {}
        # The first window of a recording may have a longer prompt, and drafts have all kinds.
        shapes = [(len(prompt), prompt.index(self._engine.tokenizer.sot)) for prompt in prompts]
        for shape in dict.fromkeys(shapes):
            alike = [index for index, each in enumerate(shapes) if each == shape]
            encoded = [decodings[index].input.encoded for index in alike]
            with self._stopwatch.measure("generate"):
                hypotheses = self._engine.generate(encoded, [prompts[index] for index in alike], self._options, 0.0)
            found |= zip(alike, hypotheses, strict=True)
        return [self._checked(each, found[index]) for index, each in enumerate(decodings)]

    def retry(self, decoding: Decoding, is_wanted: Callable[[], bool] = lambda: True) -> Decoding:
        """The decoding after all retries that apply, none of which involves chance, as long as it is wanted.

        Each rule is tried once; the result of one can make an earlier one apply.
        """
        left = [] if self._options.temperature[0] > 0 else list(self._retries)
        while not decoding.parts and is_wanted():
            proposed = ((rule, inputs) for rule in left if (inputs := rule.inputs(decoding, self._facts)))
            rule, inputs = next(proposed, (None, ()))
            if rule is None:
                break
            left.remove(rule)
            decoding = rule.result(decoding, self._tried(decoding, inputs, is_wanted), self._facts) or decoding
        return decoding

    def _tried(
        self, decoding: Decoding, inputs: Sequence[WindowInput], is_wanted: Callable[[], bool]
    ) -> list[Decoding]:
        """What becomes of inputs that are decoded instead of a decoding's, up to the first that fails."""
        tried: list[Decoding] = []
        for each in inputs:
            (found,) = self._searched([Decoding(input=self.encoded([each])[0])])
            # A shorter window has retries of its own; the same window, shown otherwise, goes on with those left.
            is_part = each.window.seconds < decoding.input.window.seconds
            tried.append(self.retry(found, is_wanted) if is_part else found)
            if tried[-1].is_open:
                break
        return tried

    def _checked(self, decoding: Decoding, hypothesis: Hypothesis) -> Decoding:
        """The decoding with one more attempt, taken or failed."""
        attempt, shown = attempt_of(hypothesis, 0.0, self._engine.tokenizer), decoding.input
        # Voice activity found speech: that there is none is believed at the full length alone.
        if self.checks.is_silence(attempt) and shown.context < self.audio_seconds:
            return decoding
        attempt = self._without_echo(attempt, shown)
        if self.checks.passes(attempt, shown.window.seconds, lenient=shown.lenient):
            return replace(decoding, taken=attempt)
        return replace(decoding, failed=(*decoding.failed, attempt))

    def _continued(self, decoding: Decoding) -> Decoding:
        """Decode the rest of a window whose text ends well before its speech does.

        The rest is taken only if it passes at once: whatever else may be wrong with it, it is not worth a guess.
        """
        if decoding.parts:
            return replace(decoding, parts=tuple(map(self._continued, decoding.parts)))
        cut = self._unwritten(decoding)
        if cut is None or decoding.taken is None:
            return decoding
        written, rest = cut
        (shown,) = self.encoded([self.input(rest, language=decoding.input.language)])
        found = self._searched([Decoding(input=shown)])[0]
        if found.taken is None:
            return decoding
        # Other readings are of the whole window.
        taken = replace(decoding.taken, hypothesis=replace(decoding.taken.hypothesis, others=()))
        before = Decoding(input=replace(decoding.input, window=written), taken=taken)
        return replace(decoding, taken=taken, parts=(before, found))

    def _unwritten(self, decoding: Decoding) -> tuple[Window, Window] | None:
        """The window cut where its text ends, if a good deal of speech follows.

        Times of translations do not tell where the speech ended that they translate.
        """
        taken, window, tokenizer = decoding.taken, decoding.input.window, self._engine.tokenizer
        if taken is None or self._options.without_timestamps or decoding.input.task == "translate":
            return None
        tokens = taken.hypothesis.tokens
        if self.checks.is_silence(taken) or not tokens or not tokenizer.is_timestamp(tokens[-1]):
            return None
        end = all_pieces(tokens, tokenizer, window.seconds)[-1].end
        left = [(max(start, end), to) for start, to in window.speech_intervals() if to > end]
        # Speech that begins at the end of the text may be the end of its last word.
        left = [(start, to) for start, to in left if start > end or to - start > self.checks.last_word]
        if end <= 0 or sum(to - start for start, to in left) < self.checks.lost:
            return None
        return window.split(window.start + round(end * SAMPLE_RATE))

    def _without_echo(self, attempt: Attempt, shown: WindowInput) -> Attempt:
        """No text, if the text is what was given before the window and nobody speaks in it."""
        hypothesis = attempt.hypothesis
        if not self.prompts.given or not self.prompts.echoed_by(self._engine.tokenizer.decode(hypothesis.tokens)):
            return attempt
        if shown.window.speech and not self._is_silent(shown):
            return attempt
        return replace(attempt, hypothesis=replace(hypothesis, tokens=(), others=()))

    def _is_silent(self, shown: WindowInput) -> bool:
        """Whether the window is silent to a model that is given nothing before it."""
        with self._stopwatch.measure("generate"):
            (alone,) = self._engine.generate([shown.encoded], [self._start(shown)], self._options, 0.0)
        return self.checks.is_silence(attempt_of(alone, 0.0, self._engine.tokenizer))

    def _prompt(self, shown: WindowInput) -> tuple[int, ...]:
        before = self.prompts.before(shown.previous) if shown.previous else self._before
        return (*before, *self._start(shown), *(self.prompts.beginning if shown.first else ()), *shown.given)

    def _start(self, shown: WindowInput) -> tuple[int, ...]:
        timestamps = not self._options.without_timestamps
        return self._engine.tokenizer.sot_sequence(shown.language, shown.task, timestamps=timestamps)

    # --- the temperatures, and segments -----------------------------------------------------------------------------

    def is_settled(self, decoding: Decoding) -> bool:
        """Whether no temperature is needed for the window."""
        if decoding.is_open:
            return False
        return decoding.translation is None or not decoding.translation.is_open or not self._written(decoding)[0]

    def finish(self, decoding: Decoding, sampler: Callable[[], Engine]) -> DecodedWindow:
        """The window as segments, after trying the temperatures where they are still needed.

        `sampler` gives the engine that draws.
        """
        decoding = self._drawn(decoding, sampler)
        segments, alternatives = self._written(decoding)
        translation: Sequence[Segment] = ()
        if self._options.also_translate and segments:  # A window that is silent to one is silent to the other.
            translation = segments
            if decoding.translation is not None:
                translated, _ = self._written(self._drawn(decoding.translation, sampler))
                translation = at_times_of(segments, translated)
        window = decoding.input.window
        return DecodedWindow(
            segments=tuple(segments),
            position=window.offset + window.seconds,
            alternatives=tuple(alternatives),
            translation=tuple(translation),
        )

    def _drawn(self, decoding: Decoding, sampler: Callable[[], Engine]) -> Decoding:
        if not decoding.is_open:
            return decoding
        shown, prompt = decoding.input, self._prompt(decoding.input)
        taken = decode_at_temperatures(
            lambda temperature: sampler().generate([shown.encoded], [prompt], self._options, temperature)[0],
            self._engine.tokenizer,
            self._options,
            self.checks,
            seconds=shown.window.seconds,
            lenient=shown.lenient,
            failed=decoding.failed,
        )
        return replace(decoding, taken=self._without_echo(taken, shown))

    def _written(self, decoding: Decoding) -> tuple[list[Segment], list[Alternatives]]:
        """The segments of a window, and its other readings if there are segments and readings were asked for."""
        if decoding.parts:
            written = [self._written(part) for part in decoding.parts]
            return [each for some, _ in written for each in some], [each for _, some in written for each in some]
        taken, shown = decoding.taken, decoding.input
        if taken is None or self.checks.is_silence(taken):
            return [], []
        segments = self._segments(taken, shown)
        if not segments or self._options.n_best == 1:
            return segments, []
        window = shown.window
        readings = readings_of(taken.hypothesis, self._engine.tokenizer.decode)
        return segments, [Alternatives(start=window.offset, end=window.offset + window.seconds, readings=readings)]

    def _segments(self, taken: Attempt, shown: WindowInput) -> list[Segment]:
        window, language, options, tokenizer = shown.window, shown.language, self._options, self._engine.tokenizer
        pieces = all_pieces(taken.hypothesis.tokens, tokenizer, window.seconds)
        pieces = [_beside_speech(piece, window) for piece in pieces]
        segments = timed_segments(pieces, taken, tokenizer, window.offset, window.seconds, language)
        # Word times of a translation beside a transcript are vague; it has the times of the transcript.
        if not segments or not options.word_timestamps or shown.task != options.task:
            return segments
        with self._stopwatch.measure("align"):
            return with_words(
                segments,
                self._engine,
                shown.encoded,
                language=language,
                options=options,
                offset=window.offset,
                reach=window.seconds,
                speech=window.speech_intervals(),
            )

    # --- languages --------------------------------------------------------------------------------------------------

    def judge_language(
        self, inputs: Sequence[WindowInput], is_wanted: Callable[[], bool] = lambda: True
    ) -> list[LanguageGuess]:
        """The language of a recording from its first windows: from the first alone, if that one is clear.

        If all together are not clear, they are encoded once more at the full length; if that is not clear either, texts
        written in the most probable languages decide. What is no longer wanted is not judged to the end.
        """
        judgements: list[tuple[float, list[LanguageGuess]]] = []
        shown: list[WindowInput] = []
        for each in inputs:
            shown.extend(self.encoded([each]))
            guesses = self.guess_language(shown[-1])
            if not judgements and guesses[0].probability >= CLEAR:
                return guesses
            judgements.append((each.window.speech_seconds or SHORTEST, guesses))
        together = combined(judgements)
        return together if together[0].probability >= CLEAR else self._judge_at_full_length(shown, together, is_wanted)

    def _judge_at_full_length(
        self, inputs: Sequence[WindowInput], guesses: Sequence[LanguageGuess], is_wanted: Callable[[], bool]
    ) -> list[LanguageGuess]:
        """Guesses that are not clear, combined with those at the full length, and weighed by text if need be.

        Windows without speech tell nothing more.
        """
        speaking = (each for each in inputs if each.window.speech and is_wanted())
        shown = [self.encoded([self._at_full_length(each)])[0] for each in speaking]
        if not shown:
            return list(guesses)
        full = combined([(each.window.speech_seconds, self.guess_language(each)) for each in shown])
        both = combined([(1.0, guesses), (1.0, full)])
        return both if both[0].probability >= CLEAR else self._weighed_by_text(shown, both, is_wanted)

    def _at_full_length(self, shown: WindowInput) -> WindowInput:
        """The length most models were trained on; those of variable length were trained on any."""
        if self._engine.limits.variable_length or shown.context >= self.audio_seconds:
            return shown
        return replace(shown, context=self.audio_seconds, encoded=None)

    def _weighed_by_text(
        self,
        inputs: Sequence[WindowInput],
        guesses: Sequence[LanguageGuess],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> list[LanguageGuess]:
        """Guesses that are not clear, weighed by the texts that the model writes in the first of them."""
        first = [guess for guess in guesses[:TRIED] if guess.probability > 0]
        if len(first) < 2:
            return list(guesses)
        sequences = [self._engine.tokenizer.sot_sequence(guess.code, "transcribe") for guess in first]
        texts: list[list[Hypothesis]] = [[] for _ in first]
        size = self._engine.limits.batch_size
        with self._stopwatch.measure("language"):
            for shown in inputs:
                for begin in range(0, len(first), size):
                    if not is_wanted():
                        return list(guesses)
                    some = sequences[begin : begin + size]
                    found = self._engine.generate([shown.encoded] * len(some), some, self._options, 0.0)
                    for text, hypothesis in zip(texts[begin:], found, strict=False):
                        attempt = attempt_of(hypothesis, 0.0, self._engine.tokenizer)
                        # A model is sure of its loops.
                        looped = self.checks.loops(attempt, shown.window.seconds)
                        text.append(replace(hypothesis, avg_logprob=-math.inf) if looped else hypothesis)
        return weighed_by_text(guesses, texts)

    def guess_language(self, shown: WindowInput) -> list[LanguageGuess]:
        """The languages of one window that is encoded, the most probable first."""
        with self._stopwatch.measure("language"):
            return among(self._engine.detect_language(shown.encoded), self._options.languages)

    def _language_of(self, shown: WindowInput) -> str:
        """The language of a window in a recording of several: its own if that is clear, else the recording's."""
        guesses = self.guess_language(shown)
        is_clear = guesses[0].probability >= CLEAR or not shown.window.speech
        best = (guesses if is_clear else self._weighed_by_text([shown], guesses))[0]
        return best.code if best.probability >= CLEAR_CHANGE else shown.language


class WindowDecoders:
    """The decoders of one engine: the same for equal options, so that windows of several callers can share a batch."""

    def __init__(self, engine: Engine, stopwatch: Stopwatch, retries: tuple[Retry, ...] = RETRIES) -> None:
        self._engine, self._stopwatch, self._retries = engine, stopwatch, retries
        self._made: WeakValueDictionary[tuple[object, ...], WindowDecoder] = WeakValueDictionary()
        self._making = threading.Lock()

    def __call__(
        self, options: DecodingOptions, checks: Checks | None = None, retries: tuple[Retry, ...] | None = None
    ) -> WindowDecoder:
        """The decoder for these options, with other `retries` than usual if they are given."""
        checks, retries = checks or Checks(), self._retries if retries is None else retries
        options = replace(options, language=None, clip_timestamps=(), seed=0)
        # Rules from outside need not be hashable; the decoder keeps them, so nothing else gets their ids.
        key = options, checks, tuple(map(id, retries))
        with self._making:
            decoder = self._made.get(key)
            if decoder is None:
                self._made[key] = decoder = WindowDecoder(self._engine, options, self._stopwatch, checks, retries)
        decoder.prompts.log_cuts()
        return decoder


def _beside_speech(piece: Piece, window: Window) -> Piece:
    """Without the silence at its ends: voice activity knows better than the model's timestamps where speech lies."""
    inside = [(start, end) for start, end in window.speech_intervals() if start < piece.end and end > piece.start]
    if not inside:
        return piece
    start, end = max(piece.start, inside[0][0]), min(piece.end, inside[-1][1])
    return replace(piece, start=start, end=end) if start < end else piece
