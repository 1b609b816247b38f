"""Decoding one window until its result passes the checks (Whisper paper, section 4.5)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mtasr.engines.engine import Hypothesis
from mtasr.features import CHUNK_SECONDS
from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer

#: More tokens than this are not said in a window. The languages that need most take some 20 for a second of speech.
_FREE_TOKENS, _TOKENS_PER_SECOND = 20, 25

#: Tokens at the end that are the same as those one period earlier; the longest period looked at.
_LOOP_TOKENS, _LONGEST_PERIOD = 24, 12

#: Text that begins so many seconds after the end of a window was not said in it.
_LATE = 1.0

#: What Whisper models write where nobody speaks, from their training on subtitles; without marks at the end.
_PHANTOMS = frozenset(
    {
        "you", "thank you", "thank you very much", "thank you so much", "thanks", "thanks for watching",
        "thank you for watching", "please subscribe", "bye", "bye-bye", "so", "okay", "the end", "subscribe",
        "subtitles by the amara.org community", "merci", "merci d'avoir regardé cette vidéo", "sous-titrage st' 501",
        "sous-titres réalisés par la communauté d'amara.org", "gracias", "gracias por ver el video", "suscríbete",
        "subtítulos realizados por la comunidad de amara.org", "grazie", "grazie a tutti",
        "sottotitoli creati dalla comunità amara.org", "vielen dank", "untertitel der amara.org-community",
        "untertitel im auftrag des zdf für funk, 2017", "obrigado", "legendas pela comunidade amara.org",
        "продолжение следует", "субтитры сделал dimatorzok", "спасибо за просмотр", "спасибо", "дякую за перегляд",
        "dziękuję", "ご視聴ありがとうございました", "谢谢观看", "谢谢大家", "請不吝點贊訂閱轉發打賞支持明鏡與點點欄目",
        "시청해주셔서 감사합니다", "감사합니다",
    }
)  # fmt: skip
#: Above this mean log-probability they are taken for said.
_CONFIDENT_PHANTOM = -0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The chosen hypothesis of a window, with what its checks measured."""

    hypothesis: Hypothesis
    compression_ratio: float
    temperature: float
    #: Seconds into the window at which its last text begins, by the timestamp before it; 0 if there is none.
    last_start: float = 0.0
    #: Whether the text is one that models write where nobody speaks.
    phantom: bool = False
    #: False when no temperature gave a result that passes the checks, and this is the best of them.
    passed: bool = True


def compression_ratio(text: str) -> float:
    """Bytes of the text over bytes of its zlib form: high for loops. 0 for no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def is_silence(decoded: Decoded, options: DecodingOptions) -> bool:
    """Whether the window holds no speech: likely silent by the no-speech token, and no confident text against it.

    What models write where nobody speaks is text against it only if it is more confident than usual.
    """
    hypothesis = decoded.hypothesis
    if options.no_speech_threshold is None or hypothesis.no_speech_prob <= options.no_speech_threshold:
        return False
    if options.logprob_threshold is None or hypothesis.avg_logprob <= options.logprob_threshold:
        return True
    return decoded.phantom and hypothesis.avg_logprob <= _CONFIDENT_PHANTOM


def check(hypothesis: Hypothesis, temperature: float, tokenizer: Tokenizer) -> Decoded:
    """Measure what the checks look at."""
    text = tokenizer.decode(hypothesis.tokens).strip()
    return Decoded(
        hypothesis=hypothesis,
        compression_ratio=compression_ratio(text),
        temperature=temperature,
        last_start=_last_start(hypothesis.tokens, tokenizer),
        phantom=text.casefold().strip(" .!…。！") in _PHANTOMS,
    )


def _last_start(tokens: Sequence[int], tokenizer: Tokenizer) -> float:
    starts = (before for before, token in pairwise(tokens) if tokenizer.is_timestamp(before) and token < tokenizer.eot)
    return max(map(tokenizer.seconds, starts), default=0.0)


def passes(decoded: Decoded, options: DecodingOptions, seconds: float, *, improbable: bool = False) -> bool:
    """Whether a result for a window of so many seconds can be taken: silence, or probable text that is no loop.

    With `improbable`, which is for translations, any text that is no loop.
    """
    if is_silence(decoded, options):
        return True
    threshold = None if improbable else options.logprob_threshold
    probable = threshold is None or decoded.hypothesis.avg_logprob >= threshold
    return probable and not loops(decoded, options, seconds, improbable=improbable)


def decode_with_fallback(
    decode: Callable[[float], Hypothesis],
    tokenizer: Tokenizer,
    options: DecodingOptions,
    *,
    seconds: float = CHUNK_SECONDS,
    improbable: bool = False,
    tried: Sequence[Decoded] = (),
) -> Decoded:
    """Call `decode(temperature)` for one temperature after the other until the result passes.

    When none `passes`, the most probable result that does not look like a loop is taken. `tried` are results that have
    failed before, the first of them at the first temperature, which is then not tried again.
    """
    failed = list(tried)
    for temperature in options.temperature[1:] if tried else options.temperature:
        decoded = check(decode(temperature), temperature, tokenizer)
        if passes(decoded, options, seconds, improbable=improbable):
            return decoded
        failed.append(decoded)
    sound = [decoded for decoded in failed if not loops(decoded, options, seconds, improbable=improbable)]
    best = max(sound or failed, key=lambda decoded: decoded.hypothesis.avg_logprob)
    return replace(best, passed=False)


def loops(decoded: Decoded, options: DecodingOptions, seconds: float, *, improbable: bool = False) -> bool:
    """Whether a result says the same again and again, or more than can be said in so many seconds, or after them.

    The times of translations are vague: with `improbable`, text may begin at any.
    """
    threshold = options.compression_ratio_threshold
    if threshold is None:
        return False
    tokens = decoded.hypothesis.tokens
    too_many = len(tokens) > _FREE_TOKENS + _TOKENS_PER_SECOND * seconds
    late = not improbable and decoded.last_start > seconds + _LATE
    return decoded.compression_ratio > threshold or too_many or late or ends_in_loop(tokens)


def ends_in_loop(tokens: Sequence[int]) -> bool:
    """Whether the tokens end by saying the same again and again: over 24 tokens, a phrase five times and more.

    Short loops of short words, which compress no better than speech, are seen here.
    """
    for period in range(1, _LONGEST_PERIOD + 1):
        run = 0
        while run + period < len(tokens) and tokens[-1 - run] == tokens[-1 - run - period]:
            run += 1
        if run >= max(_LOOP_TOKENS, 4 * period):
            return True
    return False
