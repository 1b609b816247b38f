"""An excerpt -> the tokens that the model is to write for it (Whisper paper, section 2.3 and figure 1).

    [startofprev, previous text ...] startoftranscript, language, task, [notimestamps], text and times, endoftext
    startoftranscript, nospeech, endoftext                                  without speech

Before the start of transcript stands the model's trained prompt, if it has one.

`mtasr.decoding.timing.segments` does the inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mtasr.data.excerpts import Excerpt
from mtasr.data.texts import spaced
from mtasr.tokenizer import TIMESTAMP_STEP, Tokenizer

#: Text -> ids of its tokens.
Encode = Callable[[str], list[int]]

#: The last timestamp token of a vocabulary, 30 s, counted from the first.
_LAST_STEP = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`tokens` is the whole sequence. The model is taught all of it after the first `given` tokens.

    Those are the text before the excerpt, the model's trained prompt, and the start of transcript.
    """

    tokens: tuple[int, ...]
    given: int

    @property
    def labels(self) -> tuple[int, ...]:
        """What follows each token but the last, or `IGNORED` where it is not taught."""
        return (*(IGNORED for _ in range(self.given - 1)), *self.tokens[self.given :])


#: The label of a token that is not taught, by default that of `torch.nn.functional.cross_entropy`.
IGNORED = -100


def target_of(
    excerpt: Excerpt,
    tokenizer: Tokenizer,
    *,
    timestamps: bool,
    previous: bool,
    context: int,
    encode: Encode | None = None,
) -> Target | None:
    """The tokens for an excerpt, or None where they do not fit a decoder of `context` tokens.

    `timestamps` applies only to an excerpt with times, `previous` only to one with text before it. Half of the context
    is for that text and the other half for the excerpt's own, as in decoding. `encode` tokenizes what is taught; it
    is the tokenizer's by default.

    Raises `UsageError` for a language that the vocabulary lacks.
    """
    timestamps = timestamps and excerpt.timed
    if not excerpt.captions:
        if tokenizer.no_speech < 0:
            return None
        tokens = (*tokenizer.prompt, tokenizer.sot, tokenizer.no_speech, tokenizer.eot)
        return Target(tokens=tokens, given=len(tokenizer.prompt) + 1)
    before: list[int] = []
    if previous and excerpt.previous.strip():
        room = context // 2 - 1 - len(tokenizer.prompt)
        before = [tokenizer.sot_prev, *tokenizer.encode(_spaced(excerpt.previous, excerpt))[-room:]]
    start = tokenizer.sot_sequence(excerpt.language or "", excerpt.task, timestamps=timestamps)
    encode = encode or tokenizer.encode
    text = list(_timed(excerpt, tokenizer, encode) if timestamps else _untimed(excerpt, encode))
    tokens = (*before, *start, *text, tokenizer.eot)
    given = len(before) + len(tokenizer.prompt) + 1
    if len(text) > context // 2 or len(tokens) > context:
        return None
    return Target(tokens=tokens, given=given)


def steps_of(excerpt: Excerpt) -> list[tuple[int, int]]:
    """Start and end of each caption in steps of 0.02 s, as the rules of decoding allow them.

    Times never go back, every caption lasts at least a step, and all lie within the excerpt as far as there is room.
    """
    last = min(round(excerpt.seconds / TIMESTAMP_STEP), _LAST_STEP)
    steps, reached = [], 0
    for index, caption in enumerate(excerpt.captions):
        latest = max(reached + 1, last - (len(excerpt.captions) - 1 - index))
        start = min(max(reached, round(caption.start / TIMESTAMP_STEP)), latest - 1)
        reached = min(max(start + 1, round(caption.end / TIMESTAMP_STEP)), latest)
        steps.append((start, reached))
    return steps


def _timed(excerpt: Excerpt, tokenizer: Tokenizer, encode: Encode) -> Iterator[int]:
    steps = steps_of(excerpt)
    begin = tokenizer.timestamp_begin
    for caption, (start, end) in zip(excerpt.captions, steps, strict=True):
        yield begin + start
        yield from encode(_spaced(caption.text, excerpt))
        yield begin + end
    if excerpt.cut is not None:
        yield begin + min(max(steps[-1][1], round(excerpt.cut / TIMESTAMP_STEP)), _LAST_STEP)


def _untimed(excerpt: Excerpt, encode: Encode) -> list[int]:
    return [token for caption in excerpt.captions for token in encode(_spaced(caption.text, excerpt))]


def _spaced(text: str, excerpt: Excerpt) -> str:
    return spaced(text, "en" if excerpt.task == "translate" else excerpt.language)


def with_dropout(tokenizer: Tokenizer, probability: float, rng: np.random.Generator) -> Encode:
    """Tokenize with BPE dropout (Provilkov et al. 2020, arXiv:1910.13267): the same text in other tokens each time.

    Each merge of bytes is skipped with the probability, within the tokens that the text has otherwise.
    """

    def encode(text: str) -> list[int]:
        return [piece for token in tokenizer.encode(text) for piece in split(token)]

    def split(token: int) -> list[int]:
        ranks = tokenizer.ranks
        *_, parts = tokenizer.merges(tokenizer.token_bytes(token), lambda: rng.random() < probability)
        # A vocabulary may lack some bytes.
        return [ranks[part] for part in parts] if ranks.keys() >= set(parts) else [token]

    return encode
