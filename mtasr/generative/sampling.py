"""How a language model continues a sequence, token by token, each drawn from what the model expects.

Letters in shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtasr.errors import UsageError
from mtasr.generative.transformer import CausalTransformer, TokenCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. Raises `UsageError` for values that make no sense."""

    #: What logits are divided by: below 1, likely tokens are the more likely; 0 always takes the likeliest.
    temperature: float = 1.0
    #: Draw only from so many likeliest tokens; None draws from all.
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise UsageError(f"the temperature must be between 0 and 100, not {self.temperature:g}")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"at least one token must be left to draw from, not {self.top_k}")


def drawn(logits: Tensor, how: Sampling, chance: torch.Generator) -> Tensor:
    """A token for each row, (B, V) -> (B,); `chance` is a generator on the CPU, where they are drawn."""
    logits = logits.double().cpu()
    if not how.temperature:
        return logits.argmax(dim=1)
    if how.top_k is not None and how.top_k < logits.shape[1]:
        least = logits.topk(how.top_k, dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    # Less the largest, so that a low temperature does not overflow.
    likeliest = logits.amax(dim=1, keepdim=True)
    return torch.multinomial(((logits - likeliest) / how.temperature).softmax(dim=1), 1, generator=chance)[:, 0]


@torch.inference_mode()
def continuations(
    model: CausalTransformer,
    prefix: Sequence[int],
    count: int,
    most: int,
    end: int,
    how: Sampling,
    *,
    repeats: bool = True,
) -> list[list[int]]:
    """`count` sequences of up to `most` tokens, each of which could follow `prefix`; the token `end` ends one early.

    They contain neither the prefix nor the end. Without `repeats`, no token follows itself, as in joined units. The
    model is in evaluation mode. Raises `UsageError` for an empty prefix, and if prefix and continuation are longer than
    the context of the model.
    """
    if not prefix or count < 1 or most < 0:
        raise UsageError("there must be a prefix of at least one token, and at least one continuation of 0 or more")
    if len(prefix) + most > model.sizes.context:
        raise UsageError(f"{len(prefix)} tokens and {most} more are over the model's {model.sizes.context}")
    device = model.embedding.weight.device
    chance = torch.Generator().manual_seed(how.seed)
    # The prefix is read once, for all rows.
    logits, cache = model.extend(torch.tensor([list(prefix)], device=device), None)
    last, cache = logits[:, -1].expand(count, -1), _repeated(cache, count)
    tokens = torch.full((count,), prefix[-1])
    found: list[list[int]] = [[] for _ in range(count)]
    open_rows = set(range(count))
    for number in range(most):
        legal = last if repeats else last.scatter(1, tokens[:, None].to(device), -torch.inf)
        tokens = drawn(legal, how, chance)
        for row, token in enumerate(tokens.tolist()):
            if row in open_rows and token == end:
                open_rows.discard(row)
            elif row in open_rows:
                found[row].append(token)
        if not open_rows or number == most - 1:
            break
        logits, cache = model.extend(tokens[:, None].to(device), cache)
        last = logits[:, -1]
    return found


def _repeated(cache: TokenCache, count: int) -> TokenCache:
    return tuple((keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1)) for keys, values in cache)
