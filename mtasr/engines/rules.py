"""What a Whisper-style decoder may write next: one small object for each rule.

A rule takes logits (B, V), float32, for the next token of B hypotheses, and what each has written so far, tokens (B, T)
without the prompt. It returns new logits; what it forbids has the value `FORBIDDEN`.

CTranslate2 applies the same rules in the same order (version 4.8: `make_logits_processors` in `decoding.cc`,
`ApplyTimestampRules` in `whisper.cc`). Here each can be read, and tested against a plain statement of itself.

Letters in shapes:

    B  hypotheses      T  tokens written so far, none at the first step
    V  vocabulary      N  length of an n-gram
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mtasr.errors import UsageError
from mtasr.options import DecodingOptions
from mtasr.tokenizer import TIMESTAMP_STEP, Tokenizer

#: The lowest finite float32. Minus infinity would turn into NaN where everything is forbidden.
FORBIDDEN = torch.finfo(torch.float32).min

#: In `suppress_tokens`, stands for the list that came with the model.
MODELS_OWN_LIST = -1


class Rule(Protocol):
    """Changes the logits of the next token in the light of the tokens so far."""

    def apply(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, V) and tokens (B, T) -> logits (B, V): a new tensor or the one given, never changed in place."""


@dataclass(frozen=True, slots=True)
class RepetitionPenalty:
    """Makes tokens already written less likely: positive logits are divided by the penalty, negative ones multiplied.

    A token is penalised once, however often it was written (Keskar et al. 2019, section 4.1).
    """

    penalty: float

    def apply(self, logits: Tensor, tokens: Tensor) -> Tensor:
        written = logits.gather(1, tokens)
        return logits.scatter(1, tokens, torch.where(written < 0, written * self.penalty, written / self.penalty))


@dataclass(frozen=True, slots=True)
class NoRepeatNGram:
    """Forbids the tokens that would complete an n-gram which the hypothesis holds already."""

    size: int

    def apply(self, logits: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[1] < self.size:
            return logits
        ngrams = tokens.unfold(1, self.size, 1)  # (B, T - N + 1, N)
        beginning = tokens[:, tokens.shape[1] - self.size + 1 :]  # (B, N - 1): nothing for N = 1
        repeats = (ngrams[:, :, :-1] == beginning[:, None]).all(dim=2)
        # Several n-grams may end in one token; it is forbidden if any of them begins like this.
        counts = torch.zeros_like(logits).scatter_add(1, ngrams[:, :, -1], repeats.to(logits.dtype))
        return logits.masked_fill(counts > 0, FORBIDDEN)


@dataclass(frozen=True, slots=True)
class SuppressTokens:
    """Forbids these tokens everywhere."""

    ids: tuple[int, ...]

    def apply(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.index_fill(1, torch.tensor(self.ids, dtype=torch.long, device=logits.device), FORBIDDEN)


@dataclass(frozen=True, slots=True)
class SuppressBlank:
    """Forbids these tokens, a space and the end of text in published models, at the first step: no empty text.

    So many tokens have `begun` the text before that.
    """

    ids: tuple[int, ...]
    begun: int = 0

    def apply(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits if tokens.shape[1] != self.begun else SuppressTokens(self.ids).apply(logits, tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampRules:
    """Whisper's grammar of timestamps (Radford et al. 2022, section 2.3 and 4.5).

    - The first token is a timestamp, at most `max_initial` steps of 0.02 s after the window's start.
    - Timestamps come in pairs, the end of a segment and the start of the next. After the first of a pair comes its
      second, or the end of text; after a pair comes text. The first timestamp of all counts as a pair.
    - They never decrease. The second of a pair may equal the first; the first of a pair is later than the one before.
    - Where both may follow, a timestamp has to if all timestamps together are more probable than the best single
      text token: a time is often spread over several neighbours, none of which would win alone.
    - The token that switches timestamps off is never written.

    Tokens that have `begun` the text before it is written are, as in CTranslate2, outside of these rules: what comes
    first after them may be anything.
    """

    eot: int
    no_timestamps: int
    timestamp_begin: int
    max_initial: int
    begun: int = 0

    def apply(self, logits: Tensor, tokens: Tensor) -> Tensor:
        logits = self.grammar(logits, tokens)
        if tokens.shape[1] == self.begun:
            return logits
        # A sum of probabilities is a log-sum-exp of logits, which need no normalising to be compared.
        times, text = logits[:, self.timestamp_begin :], logits[:, : self.timestamp_begin]
        must_be_time = times.logsumexp(dim=1) > text.amax(dim=1)
        ids = torch.arange(logits.shape[1], device=logits.device)
        return logits.masked_fill((ids < self.timestamp_begin) & must_be_time[:, None], FORBIDDEN)

    def grammar(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """The rules that follow from the tokens so far: all but the comparison of timestamps with text."""
        ids = torch.arange(logits.shape[1], device=logits.device)
        if tokens.shape[1] == 0:
            first = (ids >= self.timestamp_begin) & (ids <= self.timestamp_begin + self.max_initial)
            return logits.masked_fill(~first, FORBIDDEN)
        tokens = tokens[:, self.begun :]
        if tokens.shape[1] == 0:
            return logits.index_fill(1, torch.tensor([self.no_timestamps], device=logits.device), FORBIDDEN)
        opened, closed = self._pairs(tokens)
        earliest = self._earliest(tokens, opened).masked_fill(closed, logits.shape[1])
        too_early = (ids >= self.timestamp_begin) & (ids < earliest[:, None])
        no_text = (ids < self.eot) & opened[:, None]
        return logits.masked_fill(too_early | no_text | (ids == self.no_timestamps), FORBIDDEN)

    def _pairs(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each hypothesis ends on the first timestamp of a pair, and whether on the second; each (B,)."""
        is_time = tokens[:, -2:] >= self.timestamp_begin
        return is_time[:, -1] & ~is_time[:, 0], is_time[:, -1] & is_time[:, 0]

    def _earliest(self, tokens: Tensor, opened: Tensor) -> Tensor:
        """(B,) the lowest timestamp token that does not go back in time."""
        is_time = tokens >= self.timestamp_begin
        places = torch.arange(tokens.shape[1], device=tokens.device)
        last = torch.where(is_time, places, -1).amax(dim=1)  # (B,) place of the last timestamp, -1 for none
        after = tokens.gather(1, last.clamp(min=0)[:, None])[:, 0] + (~opened).long()
        return torch.where(last >= 0, after, self.timestamp_begin)


def rules_for(
    tokenizer: Tokenizer,
    options: DecodingOptions,
    *,
    timestamps: bool,
    suppress_ids: Sequence[int] = (),
    suppress_ids_begin: Sequence[int] = (),
    begun: int = 0,
) -> tuple[Rule, ...]:
    """The rules that these options ask for, in the order in which they apply, for a text of which `begun` are given.

    The penalty comes first because it changes values; all others only forbid. The timestamp rules come last because
    they compare what the others have left. `suppress_ids` and `suppress_ids_begin` are the model's own lists.

    Raises `UsageError` for a token to suppress that the vocabulary does not have.
    """
    suppressed = set(tokenizer.never_text)
    for token in options.suppress_tokens:
        suppressed |= set(suppress_ids) if token == MODELS_OWN_LIST else {token}
    if unknown := [token for token in sorted(suppressed) if not 0 <= token < tokenizer.n_vocab]:
        raise UsageError(f"suppress_tokens: the model has tokens 0 to {tokenizer.n_vocab - 1}, not {unknown[0]}")
    rules: list[Rule] = []
    if options.repetition_penalty != 1:
        rules.append(RepetitionPenalty(options.repetition_penalty))
    if options.no_repeat_ngram_size:
        rules.append(NoRepeatNGram(options.no_repeat_ngram_size))
    rules.append(SuppressTokens(tuple(sorted(suppressed))))
    if options.suppress_blank and suppress_ids_begin:
        rules.append(SuppressBlank(tuple(suppress_ids_begin), begun))
    if timestamps:
        rules.append(
            TimestampRules(
                eot=tokenizer.eot,
                no_timestamps=tokenizer.no_timestamps,
                timestamp_begin=tokenizer.timestamp_begin,
                max_initial=round(options.max_initial_timestamp / TIMESTAMP_STEP),
                begun=begun,
            )
        )
    return tuple(rules)
