"""Ways to choose a sequence of tokens: greedy, sampled, and beam search.

They know no model. `NextLogits` is anything that gives the next token's logits: a decoder with its cache, or a table.
They stop and score as CTranslate2 does (version 4.8, `decoding.cc`), so that both engines mean the same by an option.
The tokens `begun`, with which the text is given to begin, are part of what is found, and count as certain.

Letters in shapes:

    B  hypotheses      T  tokens written so far      V  vocabulary
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mtasr.engines.rules import Rule


class NextLogits(Protocol):
    """The model, step by step."""

    def __call__(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Tokens so far (B, T), on the CPU -> logits (B, V) of the next one, on any device.

        Each call has one token more than the call before; `rows` (B,) names, for each hypothesis, the row of that call
        which it continues. In the first call the tokens are those that the text is given to begin with, and `rows` is
        all 0.
        """


@dataclass(frozen=True, slots=True)
class Found:
    """Tokens without end of text, and the sum of their log-probabilities, that of the end of text included."""

    tokens: tuple[int, ...]
    logprob: float

    def score(self, length_penalty: float) -> float:
        """What hypotheses are compared by. The empty one has no length to divide by and loses to all others."""
        if not self.tokens:
            return self.logprob if length_penalty == 0 else -math.inf
        return self.logprob / math.pow(len(self.tokens), length_penalty)


def log_probabilities(logits: Tensor, tokens: Tensor, rules: Sequence[Rule]) -> Tensor:
    """(B, V) Normalised after the rules: what they forbid is as if the model did not have it."""
    for rule in rules:
        logits = rule.apply(logits, tokens)
    return logits.log_softmax(dim=1)


def greedy(
    next_logits: NextLogits, rules: Sequence[Rule], *, eot: int, max_tokens: int, begun: Sequence[int] = ()
) -> Found:
    """The most probable token at each step."""

    def pick(logprobs: Tensor) -> Tensor:
        return logprobs.argmax(dim=1)

    return _roll_out(next_logits, rules, pick, 1, eot=eot, max_tokens=max_tokens, begun=begun)[0]


def sample(
    next_logits: NextLogits,
    rules: Sequence[Rule],
    *,
    eot: int,
    max_tokens: int,
    temperature: float,
    count: int,
    length_penalty: float,
    generator: torch.Generator,
    begun: Sequence[int] = (),
) -> list[Found]:
    """Draw `count` sequences at this temperature; the best first. Scores are the model's own, at temperature 1."""

    def draw(logprobs: Tensor) -> Tensor:
        probabilities = (logprobs / temperature).softmax(dim=1)
        return probabilities.multinomial(1, generator=generator)[:, 0]

    drawn = _roll_out(next_logits, rules, draw, count, eot=eot, max_tokens=max_tokens, begun=begun)
    return _best_first(drawn, length_penalty)


def _best_first(found: Sequence[Found], length_penalty: float) -> list[Found]:
    return sorted(found, key=lambda each: -each.score(length_penalty))


def _roll_out(
    next_logits: NextLogits,
    rules: Sequence[Rule],
    pick: Callable[[Tensor], Tensor],
    count: int,
    *,
    eot: int,
    max_tokens: int,
    begun: Sequence[int],
) -> list[Found]:
    """`count` sequences side by side, each token by `pick` (log-probabilities (B, V) -> ids (B,))."""
    rows = torch.zeros(count, dtype=torch.long)
    tokens, totals = _beginnings(count, begun), torch.zeros(count)
    ended: list[Found] = []
    for _ in range(max_tokens - len(begun)):
        logits = next_logits(tokens, rows)
        logprobs = log_probabilities(logits, tokens.to(logits.device), rules)
        picked = pick(logprobs)
        totals = totals + logprobs.gather(1, picked[:, None])[:, 0].cpu()
        picked = picked.cpu()
        over = picked == eot
        ended += [Found(tuple(tokens[row].tolist()), float(totals[row])) for row in over.nonzero()[:, 0]]
        tokens = torch.cat([tokens, picked[:, None]], dim=1)[~over]
        rows, totals = (~over).nonzero()[:, 0], totals[~over]
        if not len(rows):
            break
    return ended + [Found(tuple(row.tolist()), float(total)) for row, total in zip(tokens, totals, strict=True)]


def beam_search(
    next_logits: NextLogits,
    rules: Sequence[Rule],
    *,
    eot: int,
    max_tokens: int,
    beam_size: int,
    patience: float,
    length_penalty: float,
    begun: Sequence[int] = (),
) -> list[Found]:
    """Keep the best `beam_size` beginnings at each step; those that ended, the best first.

    Twice as many candidates are looked at, so that the beam stays full when some of the best end. The search goes on
    until `beam_size * patience` have ended (Kasai et al. 2022, arXiv:2204.05424); without length penalty a longer
    hypothesis can only be worse, so then it stops when the best candidate ends. At the last step all count as ended.
    """
    wanted = math.floor(beam_size * patience + 0.5)
    tokens, totals = _beginnings(1, begun), torch.zeros(1)
    rows = torch.zeros(1, dtype=torch.long)
    ended: list[Found] = []
    for step in range(len(begun) + 1, max_tokens + 1):
        logits = next_logits(tokens, rows)
        logprobs = log_probabilities(logits, tokens.to(logits.device), rules)
        scores = totals.to(logprobs.device)[:, None] + logprobs
        best = scores.flatten().topk(min(2 * beam_size, scores.numel()))
        candidates = _candidates(best.values.cpu(), best.indices.cpu(), tokens, scores.shape[1])
        kept = _keep(candidates.tokens[:, -1] == eot, beam_size)
        ended += candidates.ended(eot, range(beam_size) if step == max_tokens else kept.over)
        best_is_over = kept.over[:1] == [0]
        if not kept.open or (best_is_over if length_penalty == 0 else len(ended) >= wanted):
            break
        tokens, totals, rows = (part[kept.open] for part in (candidates.tokens, candidates.totals, candidates.rows))
    return _best_first(ended, length_penalty)


def _beginnings(count: int, begun: Sequence[int]) -> Tensor:
    return torch.tensor([list(begun)] * count, dtype=torch.long)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Beginnings of one token more, best first: tokens (K, T + 1), totals (K,), and the rows (K,) they continue."""

    tokens: Tensor
    totals: Tensor
    rows: Tensor

    def ended(self, eot: int, places: Sequence[int]) -> list[Found]:
        found = []
        for place in places[: len(self.totals)]:
            tokens = self.tokens[place].tolist()
            found.append(Found(tuple(tokens[:-1] if tokens[-1] == eot else tokens), float(self.totals[place])))
        return found


def _candidates(totals: Tensor, flat: Tensor, tokens: Tensor, n_vocab: int) -> _Candidates:
    """`flat` are places in the scores (B, V) laid out as one row."""
    rows, last = flat // n_vocab, flat % n_vocab
    return _Candidates(torch.cat([tokens[rows], last[:, None]], dim=1), totals, rows)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Places of candidates: those of the beam that are over, and those that go on."""

    over: list[int]
    open: list[int]


def _keep(is_over: Tensor, beam_size: int) -> _Kept:
    """Fill the beam. Only an end among the best `beam_size` candidates counts: a later one has been overtaken."""
    flags = is_over.tolist()
    goes_on = [place for place, over in enumerate(flags) if not over]
    return _Kept([place for place, over in enumerate(flags[:beam_size]) if over], goes_on[:beam_size])
