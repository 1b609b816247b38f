"""What happens to a window whose first attempt fails the checks.

The rules of `RETRIES` are tried in their order, each once, until the window passes or none applies. What still fails
is decoded at the temperatures (`WindowDecoder.finish`). To add a rule, write a class with the methods of `Retry` and
add it to `RETRIES`; a program can pass its own tuple to `load_model(retries=...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mtasr.decoding.checks import Attempt, Checks, attempt_of
from mtasr.decoding.windows import Window
from mtasr.engines.engine import Encoded, Hypothesis
from mtasr.features import CHUNK_SECONDS
from mtasr.options import DecodingOptions, Task
from mtasr.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowInput:
    """A window and how it is shown to the model."""

    window: Window
    #: Code of the language spoken; empty until it is known.
    language: str = ""
    task: Task = "transcribe"
    #: Whether the recording begins with this window.
    first: bool = False
    #: Seconds that the encoder is shown: the window and silence after it.
    context: float = 0.0
    #: Encoder output, None until the window is encoded.
    encoded: Encoded | None = None

    @property
    def lenient(self) -> bool:
        """Whether any text that does not loop is taken, however improbable and wherever it begins.

        So it is for translations: samples drawn instead are no better, and take a fifth longer (benchmarks/README.md).
        """
        return self.task == "translate"


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


class RetryContext(Protocol):
    """What a retry may ask for; `WindowDecoder` provides it."""

    @property
    def checks(self) -> Checks: ...

    @property
    def audio_seconds(self) -> float: ...

    def search(self, decoding: Decoding) -> Decoding:
        """The decoding after one more attempt by beam search, encoded if it was not."""

    def retry(self, decoding: Decoding) -> Decoding:
        """The decoding after all retries that apply."""

    def context_of(self, window: Window, task: Task) -> float:
        """Seconds that the encoder should be shown of a window."""

    def text_tokens(self, decoding: Decoding) -> int:
        """Tokens of text, without timestamps."""

    def is_doubtful(self, decoding: Decoding) -> bool:
        """Whether the text loops, or is so thin that something may be missing."""


class Retry(Protocol):
    """One way to decode a window again."""

    def applies(self, decoding: Decoding, context: RetryContext) -> bool:
        """Whether this decoding should be retried in this way."""

    def decode(self, decoding: Decoding, context: RetryContext) -> Decoding | None:
        """The decoding after the retry; None if that is no better."""


class InHalves:
    """A window that loops or lacks text is replaced by its two halves, if both pass and have clearly more text."""

    def applies(self, decoding: Decoding, context: RetryContext) -> bool:
        return context.is_doubtful(decoding)

    def decode(self, decoding: Decoding, context: RetryContext) -> Decoding | None:
        whole = decoding.input
        parts = []
        for place, half in enumerate(whole.window.halves() or ()):
            shown = replace(
                whole,
                window=half,
                first=whole.first and not place,
                context=context.context_of(half, whole.task),
                encoded=None,
            )
            part = context.retry(context.search(Decoding(input=shown)))
            if part.is_open:
                return None
            parts.append(part)
        if not parts:
            return None
        found = sum(map(context.text_tokens, parts))
        if decoding.taken is not None and found < context.checks.more * context.text_tokens(decoding):
            return None
        return replace(decoding, parts=tuple(parts))


class AtFullLength:
    """A window that failed is shown to the encoder with as much silence after it as most models were trained on."""

    def applies(self, decoding: Decoding, context: RetryContext) -> bool:
        return decoding.is_open and decoding.input.context < context.audio_seconds

    def decode(self, decoding: Decoding, context: RetryContext) -> Decoding | None:
        return context.search(
            replace(decoding, input=replace(decoding.input, context=context.audio_seconds, encoded=None))
        )


#: Tried in this order.
RETRIES: tuple[Retry, ...] = (InHalves(), AtFullLength())


def retried(decoding: Decoding, context: RetryContext, retries: tuple[Retry, ...] = RETRIES) -> Decoding:
    """The decoding after all retries that apply. The result of one can make an earlier one apply; each runs once."""
    left = list(retries)
    while not decoding.parts and (rule := next((each for each in left if each.applies(decoding, context)), None)):
        left.remove(rule)
        decoding = rule.decode(decoding, context) or decoding
    return decoding


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
