"""From the tokens of a window to timed pieces of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtasr.tokenizer import Tokenizer

#: The shortest time a segment with text is given, in seconds.
SHORTEST = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of tokens between two timestamps; times in seconds from the start of the window."""

    start: float
    end: float
    tokens: tuple[int, ...]


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


def fit_times(spans: Sequence[tuple[float, float]], earliest: float, latest: float) -> list[tuple[float, float]]:
    """Make spans of text follow each other within [earliest, latest], each at least 0.02 s long.

    A model's timestamps can point past the end of the audio, stand still or (across windows) step back. Spans with no
    room left share what there is at the end, so that no text is lost and 0 <= start < end always holds.
    """
    shortest = min(SHORTEST, (latest - earliest) / max(len(spans), 1))
    fitted = []
    for index, (start, end) in enumerate(spans):
        last_end = latest - shortest * (len(spans) - 1 - index)
        fitted_start = max(earliest, min(start, last_end - shortest))
        earliest = min(max(end, fitted_start + shortest), last_end)
        fitted.append((fitted_start, earliest))
    return fitted
