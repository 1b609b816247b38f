"""What happens to a window whose first attempt fails the checks.

The decoder tries the rules of `RETRIES` in their order, each once, until none applies (`WindowDecoder.retry`). What
still fails it decodes at the temperatures (`WindowDecoder.finish`). To add a rule, write a class with the methods of
`Retry` and add it to `RETRIES`; a program can pass its own tuple to `load_model(retries=...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mtasr.decoding.checks import Attempt, Checks, Lack, attempt_of
from mtasr.decoding.timing.segments import all_pieces
from mtasr.decoding.window_input import WindowInput, context_for
from mtasr.decoding.windows import LOUD_NOISE, Window, is_noisy
from mtasr.engines.engine import Hypothesis
from mtasr.features import CHUNK_SECONDS
from mtasr.options import DecodingOptions, Task
from mtasr.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """A window and what decoding it has given so far: failed attempts, the one taken, or parts decoded instead."""

    input: WindowInput
    taken: Attempt | None = None
    failed: tuple[Attempt, ...] = ()
    parts: tuple[Decoding, ...] = ()
    #: The translation beside the transcript, if both are asked for.
    translation: Decoding | None = None

    @property
    def is_open(self) -> bool:
        """Whether no attempt has been taken yet."""
        return self.taken is None and not self.parts

    @property
    def last(self) -> Attempt | None:
        """The attempt taken, else the last that failed."""
        return self.taken or next(reversed(self.failed), None)

    def tokens(self) -> Iterator[int]:
        """All tokens of the text, timestamps included."""
        for part in self.parts:
            yield from part.tokens()
        if not self.parts and self.taken is not None:
            yield from self.taken.hypothesis.tokens


@dataclass(frozen=True, slots=True)
class RetryFacts:
    """What a rule knows besides the decoding."""

    checks: Checks
    tokenizer: Tokenizer
    #: Seconds that the encoder takes.
    audio_seconds: float
    #: Whether the model was trained on windows of any length.
    variable_length: bool = False

    def context_of(self, window: Window, task: Task) -> float:
        """Seconds to show the encoder: in loud noise all it takes, since it understands more of more."""
        if is_noisy(window.samples, LOUD_NOISE):
            return self.audio_seconds
        return context_for(window.seconds, task, self.audio_seconds, variable_length=self.variable_length)

    def text_tokens(self, tokens: Iterable[int]) -> int:
        """How many tokens are text, not timestamps."""
        return sum(token < self.tokenizer.eot for token in tokens)

    def letters(self, tokens: Iterable[int]) -> int:
        """How many letters and digits the text has. Unlike tokens, they grow neither with marks nor with rare words."""
        return sum(map(str.isalnum, self.tokenizer.decode(list(tokens))))

    def is_doubtful(self, decoding: Decoding) -> bool:
        """Whether the text loops, or words said twice may be missing from it."""
        attempt, shown = decoding.last, decoding.input
        if attempt is None:
            return False
        return self.checks.loops(attempt, shown.window.seconds, lenient=shown.lenient) or self.growth(decoding) > 1

    def growth(self, decoding: Decoding) -> float:
        """How many times its letters a text should have that lacks none; 1 if it seems to be whole."""
        attempt, shown = decoding.last, decoding.input
        if attempt is None or shown.task == "translate" or self.checks.is_silence(attempt):
            return 1.0
        tokens = self.text_tokens(attempt.hypothesis.tokens)
        if self.checks.is_thin(tokens, shown.window.speech_seconds, shown.pace):
            return self.checks.more
        lack = self.lack(decoding)
        # What is found may be shorter than what seems to be missing.
        return 1 + lack.tokens / (2 * tokens) if lack is not None else 1.0

    def lack(self, decoding: Decoding) -> Lack | None:
        """What seems to be missing from one segment of the text."""
        attempt, window = decoding.last, decoding.input.window
        if attempt is None:
            return None
        pieces = all_pieces(attempt.hypothesis.tokens, self.tokenizer, window.seconds)
        return self.checks.lack(
            [(self.text_tokens(piece.tokens), window.speech_between(piece.start, piece.end)) for piece in pieces]
        )


class Retry(Protocol):
    """One way to decode a window again. It says what to decode, and what comes of it; the decoder decodes."""

    def inputs(self, decoding: Decoding, facts: RetryFacts) -> Sequence[WindowInput]:
        """What to decode instead, not encoded yet; empty if the rule does not apply.

        A shorter window gets retries of its own, this rule among them: leave alone what is too short to be divided.
        """

    def result(self, decoding: Decoding, tried: Sequence[Decoding], facts: RetryFacts) -> Decoding | None:
        """The decoding after the retry; None if that is no better.

        `tried` is what became of the inputs, up to the first that failed.
        """


class InHalves:
    """A window that loops or lacks text is replaced by its two halves, if both pass and have clearly more text."""

    def inputs(self, decoding: Decoding, facts: RetryFacts) -> Sequence[WindowInput]:
        if not facts.is_doubtful(decoding):
            return ()
        whole, lack = decoding.input, facts.lack(decoding)
        return [
            replace(
                whole,
                window=half,
                first=whole.first and not index,
                context=facts.context_of(half, whole.task),
                pace=whole.pace if lack is None else lack.pace,
                encoded=None,
            )
            for index, half in enumerate(whole.window.halves() or ())
        ]

    def result(self, decoding: Decoding, tried: Sequence[Decoding], facts: RetryFacts) -> Decoding | None:
        if any(half.is_open for half in tried):
            return None
        before, found = facts.letters(decoding.tokens()), sum(facts.letters(half.tokens()) for half in tried)
        enough = min(facts.growth(decoding) * before, before + facts.checks.more_letters)
        if decoding.taken is not None and found < enough:
            return None
        return replace(decoding, parts=tuple(tried))


class AtFullLength:
    """A window that failed is shown to the encoder with as much silence after it as most models were trained on."""

    def inputs(self, decoding: Decoding, facts: RetryFacts) -> Sequence[WindowInput]:
        if not decoding.is_open or decoding.input.context >= facts.audio_seconds:
            return ()
        return [replace(decoding.input, context=facts.audio_seconds, encoded=None)]

    def result(self, decoding: Decoding, tried: Sequence[Decoding], facts: RetryFacts) -> Decoding | None:
        (full,) = tried
        return replace(decoding, input=full.input, taken=full.taken, failed=(*decoding.failed, *full.failed))


#: Tried in this order.
RETRIES: tuple[Retry, ...] = (InHalves(), AtFullLength())


def decode_at_temperatures(
    decode: Callable[[float], Hypothesis],
    tokenizer: Tokenizer,
    options: DecodingOptions,
    checks: Checks,
    *,
    seconds: float = CHUNK_SECONDS,
    lenient: bool = False,
    failed: Sequence[Attempt] = (),
) -> Attempt:
    """Call `decode(temperature)` at one temperature after the other until an attempt passes (paper, section 4.5).

    If none passes, the most probable attempt that does not loop is taken. With attempts that `failed` before, the
    first temperature is not tried again.
    """
    attempts = list(failed)
    for temperature in options.temperature[1:] if failed else options.temperature:
        attempt = attempt_of(decode(temperature), temperature, tokenizer)
        if checks.passes(attempt, seconds, lenient=lenient):
            return attempt
        attempts.append(attempt)
    sound = [attempt for attempt in attempts if not checks.loops(attempt, seconds, lenient=lenient)]
    best = max(sound or attempts, key=lambda attempt: attempt.hypothesis.avg_logprob)
    return replace(best, passed=False)
