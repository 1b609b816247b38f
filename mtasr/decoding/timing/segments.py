"""From the tokens of a window to timed pieces of text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtasr.decoding.checks import Attempt
from mtasr.engines.engine import Hypothesis
from mtasr.tokenizer import Tokenizer
from mtasr.transcript import Reading, Segment

#: The shortest time a segment with text is given, in seconds.
SHORTEST = 0.02

#: In milliseconds: what floating point may be off by at a boundary.
_TINY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of tokens between two timestamps; times in seconds from the start of the window."""

    start: float
    end: float
    tokens: tuple[int, ...]


def all_pieces(tokens: Sequence[int], tokenizer: Tokenizer, window_seconds: float) -> list[Piece]:
    """Cut a window's tokens where two timestamps meet. The text after the last one ends with the window."""
    if not tokens:
        return []
    stamps = [tokenizer.is_timestamp(token) for token in tokens]
    cuts = [0, *(i for i in range(1, len(tokens)) if stamps[i - 1] and stamps[i]), len(tokens)]
    pieces, last = [], 0.0
    for begin, end in itertools.pairwise(cuts):
        part = tuple(tokens[begin:end])
        start = tokenizer.seconds(part[0]) if stamps[begin] else last
        closed = stamps[end - 1] and end - begin > 1
        last = tokenizer.seconds(part[-1]) if closed else window_seconds
        pieces.append(Piece(start=start, end=last, tokens=part))
    return pieces


def split_at_timestamps(
    tokens: Sequence[int], tokenizer: Tokenizer, window_seconds: float
) -> tuple[list[Piece], float]:
    """Cut a window's tokens where two timestamps meet, and say how far into the window the text reaches.

    Returns the pieces and the seconds to advance before the next window starts. Text after the last pair of timestamps
    was cut off by the window's end: it is not among the pieces, and the advance stops before it, so that the next
    window hears it whole (Whisper paper, section 4.5).
    """
    stamps = [tokenizer.is_timestamp(token) for token in tokens]
    pairs = [i for i in range(1, len(tokens)) if stamps[i - 1] and stamps[i]]
    closed = len(tokens) >= 2 and stamps[-2:] == [False, True]
    if not pairs:
        last = tokenizer.seconds(tokens[-1]) if stamps and stamps[-1] else 0.0
        first = tokenizer.seconds(tokens[0]) if stamps and stamps[0] else 0.0
        return [Piece(start=first, end=last or window_seconds, tokens=tuple(tokens))], window_seconds
    pieces, begin = [], 0
    for end in [*pairs, len(tokens)] if closed else pairs:
        part = tuple(tokens[begin:end])
        start = tokenizer.seconds(part[0]) if tokenizer.is_timestamp(part[0]) else 0.0
        pieces.append(Piece(start=start, end=tokenizer.seconds(part[-1]), tokens=part))
        begin = end
    advance = window_seconds if closed else min(max(piece.end for piece in pieces), window_seconds)
    # A window whose only closed piece ends at 0 would be decoded for ever.
    return pieces, advance if advance > 0 else window_seconds


def merge_pieces(pieces: Sequence[Piece]) -> Piece:
    """One piece with all the text."""
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Piece(start=pieces[0].start, end=max(piece.end for piece in pieces), tokens=tokens)


def milliseconds_between(earliest: float, latest: float) -> int:
    """Whole milliseconds in [earliest, latest]: as many spans as `fit_times` can fit there."""
    return math.floor(latest * 1000 + _TINY) - math.ceil(earliest * 1000 - _TINY)


def timed_segments(
    pieces: Sequence[Piece],
    attempt: Attempt,
    tokenizer: Tokenizer,
    offset: float,
    reach: float,
    language: str | None = None,
) -> list[Segment]:
    """The segments of a window that begins `offset` seconds into the file, all within the `reach` seconds from there.

    Their ids count from 0. Pieces without text are left out.
    """
    if milliseconds_between(offset, offset + reach) < len(pieces):
        pieces = [merge_pieces(pieces)]
    texts = tokenizer.decode_groups(piece.tokens for piece in pieces)
    spoken = [(piece, text) for piece, text in zip(pieces, texts, strict=True) if text.strip()]
    spans = fit_times([(offset + piece.start, offset + piece.end) for piece, _ in spoken], offset, offset + reach)
    return [
        Segment(
            id=index,
            start=start,
            end=end,
            text=text,
            tokens=piece.tokens,
            avg_logprob=attempt.hypothesis.avg_logprob,
            compression_ratio=attempt.compression_ratio,
            no_speech_prob=attempt.hypothesis.no_speech_prob,
            temperature=attempt.temperature,
            language=language,
        )
        for index, ((piece, text), (start, end)) in enumerate(zip(spoken, spans, strict=True))
    ]


def readings_of(hypothesis: Hypothesis, text_of: Callable[[tuple[int, ...]], str]) -> tuple[Reading, ...]:
    """The readings of a window as different texts, the chosen one first."""
    found: dict[str, float] = {}
    for tokens, logprob in ((hypothesis.tokens, hypothesis.avg_logprob), *hypothesis.others):
        found.setdefault(text_of(tokens).strip(), logprob)
    return tuple(Reading(text=text, avg_logprob=logprob) for text, logprob in found.items())


def fit_times(spans: Sequence[tuple[float, float]], earliest: float, latest: float) -> list[tuple[float, float]]:
    """Make spans of text follow each other within [earliest, latest], in whole milliseconds, 0.02 s long at least.

    A model's timestamps can point past the end of the audio, stand still or (across windows) step back. Spans with no
    room left share what there is at the end, so that no text is lost and 0 <= start < end always holds. There must be
    at least a millisecond for each.
    """
    begin, room = math.ceil(earliest * 1000 - _TINY), milliseconds_between(earliest, latest)
    shortest = min(round(SHORTEST * 1000), room // max(len(spans), 1))
    fitted = []
    for index, (start, end) in enumerate(spans):
        last_end = math.floor(latest * 1000 + _TINY) - shortest * (len(spans) - 1 - index)
        fitted_start = max(begin, min(round(start * 1000), last_end - shortest))
        begin = min(max(round(end * 1000), fitted_start + shortest), last_end)
        fitted.append((fitted_start / 1000, begin / 1000))
    return fitted
