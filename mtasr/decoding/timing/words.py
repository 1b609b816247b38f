"""When each word was spoken, from the decoder's cross-attention."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtasr.decoding.timing.pauses import place_words
from mtasr.decoding.timing.segments import fit_times, milliseconds_between
from mtasr.engines.engine import Encoded, Engine
from mtasr.features import HOP_LENGTH
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Interval
from mtasr.tokenizer import TIMESTAMP_STEP, Tokenizer
from mtasr.tokenizer.words import WordTokens, merge_punctuation, split_words
from mtasr.transcript import Segment, Word

#: Seconds by which the path reaches a token before its sound begins: a frame; up to two or three in some languages.
_LEAD = 0.02

#: Marks that end a sentence; the pause after them is often counted to the word.
_SENTENCE_ENDS = ".。!！?？"

#: A word is not longer than this many times the median word, nor (for the median) than `_TYPICAL_WORD` seconds.
_LONGEST_RATIO = 2.0
_TYPICAL_WORD = 0.7


def with_words(
    segments: Sequence[Segment],
    engine: Engine,
    encoded: Encoded,
    *,
    language: str,
    options: DecodingOptions,
    offset: float,
    reach: float,
    speech: Sequence[Interval] = (),
) -> list[Segment]:
    """The segments of a window with words, each beginning with its first word and ending with its last.

    The window begins `offset` seconds into the file; words lie within the `reach` seconds from there. `speech` tells
    where somebody speaks, in seconds from the start of the window, as far as that is known.
    """
    frames = round(reach * SAMPLE_RATE) // HOP_LENGTH
    groups = [segment.tokens for segment in segments]
    aligned = _align(engine, encoded, groups, language=language, options=options, frames=frames)
    words = [each.words for each in aligned]
    words = _among_pauses(words, speech) if speech else _shorten(words)
    # A segment for which no word was found is a unit of its own, so that nothing overlaps it.
    units = [
        found or (Word(word=segment.text, start=segment.start - offset, end=segment.end - offset, probability=0.0),)
        for segment, found in zip(segments, words, strict=True)
    ]
    fitted = fit_words(units, offset, offset + reach)
    return [
        replace(
            segment,
            start=spans[0].start,
            end=spans[-1].end,
            words=spans if found else (),
            heard=(segment.start, segment.end),
            token_logprobs=each.token_logprobs,
        )
        if spans
        else replace(segment, words=(), token_logprobs=each.token_logprobs)
        for segment, each, found, spans in zip(segments, aligned, words, fitted, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Aligned:
    """The words of a segment, and its text tokens with their log-probabilities."""

    words: tuple[Word, ...] = ()
    token_logprobs: tuple[tuple[int, float], ...] = ()


def find_word_times(
    engine: Engine,
    encoded: Encoded,
    groups: Sequence[Sequence[int]],
    *,
    language: str,
    options: DecodingOptions,
    frames: int,
) -> list[tuple[Word, ...]]:
    """Words of each group of tokens (a segment each), with times in seconds from the start of the window.

    `frames` is the number of feature frames that hold audio. All groups are aligned together, as they were decoded.
    """
    aligned = _align(engine, encoded, groups, language=language, options=options, frames=frames)
    return [each.words for each in aligned]


def _align(
    engine: Engine,
    encoded: Encoded,
    groups: Sequence[Sequence[int]],
    *,
    language: str,
    options: DecodingOptions,
    frames: int,
) -> list[_Aligned]:
    tokenizer = engine.tokenizer
    texts = _whole_characters(tokenizer, [[token for token in group if token < tokenizer.eot] for group in groups])
    tokens = [token for text in texts for token in text]
    if not tokens:
        return [_Aligned() for _ in groups]
    start = tokenizer.sot_sequence(language, options.task)
    alignment = engine.align(encoded, start, tokens, frames)
    starts = _token_starts(alignment.token_indices, alignment.frame_indices, len(tokens), frames)
    position, result = 0, []
    for text in texts:
        cut = split_words(tokenizer, text, "en" if options.task == "translate" else language)
        merged = merge_punctuation(cut, options.prepend_punctuations, options.append_punctuations)
        spoken = [_spoken_part(tokenizer, word) for word in merged]
        probabilities = alignment.token_probs[position : position + len(text)]
        words = _times(merged, spoken, starts[position:], probabilities)
        logprobs = [math.log(each) if each > 0 else -math.inf for each in probabilities]
        result.append(_Aligned(words, tuple(zip(text, logprobs, strict=True))))
        position += len(text)
    return result


def _whole_characters(tokenizer: Tokenizer, groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Move the first bytes of a character that two groups share to the group that completes it, like its text."""
    whole: list[list[int]] = []
    held: list[int] = []
    for group in groups:
        tokens = [*held, *group]
        texts = tokenizer.decode_groups([token] for token in tokens)
        complete = max((index + 1 for index, text in enumerate(texts) if text), default=0)
        whole.append(tokens[:complete])
        held = tokens[complete:]
    return [*whole[:-1], [*whole[-1], *held]] if whole else []


def _token_starts(
    token_indices: np.ndarray[tuple[int], np.dtype[np.int64]],
    frame_indices: np.ndarray[tuple[int], np.dtype[np.int64]],
    count: int,
    frames: int,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seconds at which each token begins, a little after the path reaches it; one more for the end of the last token.

    The path begins with the window, whatever is heard there.
    """
    end = frames // 2
    first = np.full(count + 1, end, dtype=np.int64)
    inside = token_indices <= count
    np.minimum.at(first, token_indices[inside], frame_indices[inside])
    # A token that the path skips begins where the next one does.
    ascending = np.minimum.accumulate(first[::-1])[::-1]
    return np.where(ascending > 0, np.minimum(ascending * TIMESTAMP_STEP + _LEAD, end * TIMESTAMP_STEP), 0.0)


def _spoken_part(tokenizer: Tokenizer, word: WordTokens) -> tuple[int, int]:
    """Which tokens of the word are said: marks at its edges are not, and the pause they stand for is none of it."""
    texts = tokenizer.decode_groups([token] for token in word.tokens)
    said = [index for index, text in enumerate(texts) if not text or any(map(str.isalnum, text))]
    return (said[0], said[-1] + 1) if said else (0, len(texts))


def _times(
    words: Sequence[WordTokens],
    spoken: Sequence[tuple[int, int]],
    starts: np.ndarray[tuple[int], np.dtype[np.float64]],
    probabilities: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> tuple[Word, ...]:
    timed, begin = [], 0
    for word, (first, last) in zip(words, spoken, strict=True):
        said = slice(begin + first, begin + last)
        timed.append(
            Word(
                word=word.text,
                start=float(starts[said.start]),
                end=float(starts[said.stop]),
                probability=float(np.mean(probabilities[said])),
                tokens=len(word.tokens),
            )
        )
        begin += len(word.tokens)
    return tuple(timed)


def _among_pauses(groups: Sequence[tuple[Word, ...]], speech: Sequence[Interval]) -> list[tuple[Word, ...]]:
    placed = iter(place_words([word for group in groups for word in group], speech))
    return [tuple(itertools.islice(placed, len(group))) for group in groups]


def _shorten(groups: Sequence[tuple[Word, ...]]) -> list[tuple[Word, ...]]:
    """Take pauses off the words beside them: the path of an alignment has no place for silence but a word."""
    lengths = [word.end - word.start for group in groups for word in group if word.end > word.start]
    if not lengths:
        return list(groups)
    longest = _LONGEST_RATIO * min(_TYPICAL_WORD, float(np.median(lengths)))
    return [tuple(_shortened(word, longest, first=index == 0) for index, word in enumerate(group)) for group in groups]


def _shortened(word: Word, longest: float, *, first: bool) -> Word:
    start, end = word.start, word.end
    if end - start > longest:
        if first:  # The pause lies before the first word of a segment, and after the last word of a sentence.
            start = end - longest
        elif word.word.rstrip()[-1:] in _SENTENCE_ENDS:
            end = start + longest
    return replace(word, start=start, end=end)


def fit_words(groups: Sequence[Sequence[Word]], offset: float, latest: float) -> list[tuple[Word, ...]]:
    """Move the words of a window's segments to file time, one after the other within [offset, latest].

    Where more words than milliseconds were written, no times can be given: the groups come back empty.
    """
    words = [word for group in groups for word in group]
    if milliseconds_between(offset, latest) < len(words):
        return [() for _ in groups]
    spans = iter(fit_times([(offset + word.start, offset + word.end) for word in words], offset, latest))
    return [
        tuple(replace(word, start=start, end=end) for word, (start, end) in zip(group, spans, strict=False))
        for group in groups
    ]
