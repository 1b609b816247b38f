"""Decoding one window until its result passes the checks (Whisper paper, section 4.5)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from mtasr.decoding.engine import Hypothesis
from mtasr.decoding.options import DecodingOptions
from mtasr.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The chosen hypothesis of a window, with what its checks measured."""

    hypothesis: Hypothesis
    compression_ratio: float
    temperature: float
    #: False when no temperature gave a result that passes the checks, and this is the best of them.
    passed: bool = True


def compression_ratio(text: str) -> float:
    """Bytes of the text over bytes of its zlib form: high for loops. 0 for no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def is_silence(hypothesis: Hypothesis, options: DecodingOptions) -> bool:
    """Whether the window holds no speech: likely silent by the no-speech token, and no confident text against it."""
    if options.no_speech_threshold is None or hypothesis.no_speech_prob <= options.no_speech_threshold:
        return False
    return options.logprob_threshold is None or hypothesis.avg_logprob <= options.logprob_threshold


def decode_with_fallback(
    decode: Callable[[float], Hypothesis], tokenizer: Tokenizer, options: DecodingOptions
) -> Decoded:
    """Call `decode(temperature)` for one temperature after the other until the result passes.

    When none passes, the most probable result that does not look like a loop is taken.
    """
    tried: list[Decoded] = []
    for temperature in options.temperature:
        hypothesis = decode(temperature)
        ratio = compression_ratio(tokenizer.decode(hypothesis.tokens).strip())
        decoded = Decoded(hypothesis=hypothesis, compression_ratio=ratio, temperature=temperature)
        if is_silence(hypothesis, options) or _passes(decoded, options):
            return decoded
        tried.append(decoded)
    sound = [decoded for decoded in tried if not _loops(decoded, options)]
    best = max(sound or tried, key=lambda decoded: decoded.hypothesis.avg_logprob)
    return replace(best, passed=False)


def _loops(decoded: Decoded, options: DecodingOptions) -> bool:
    threshold = options.compression_ratio_threshold
    return threshold is not None and decoded.compression_ratio > threshold


def _passes(decoded: Decoded, options: DecodingOptions) -> bool:
    threshold = options.logprob_threshold
    probable = threshold is None or decoded.hypothesis.avg_logprob >= threshold
    return probable and not _loops(decoded, options)
