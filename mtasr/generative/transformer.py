"""The decoder-only transformer: each token is predicted from those before it.

Sizes and details are those of fairseq's `transformer_lm`, which GSLM trains on units (Lakhotia et al. 2021,
arXiv:2102.01192): norms before each part and at the end, ReLU, sinusoidal positions, tied input and output vectors.

Letters in shapes: B rows, T tokens given, P tokens in all, D width, H heads, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.errors import UsageError
from mtasr.networks.whisper import Attention, LayerNorm, sinusoids

#: The keys and values of each layer, (B, H, P, D/H), of the tokens so far. A value: a step returns a longer one.
TokenCache = tuple[tuple[Tensor, Tensor], ...]

#: Larger than any model of this kind, so that a damaged file cannot ask for all memory.
_MOST = {
    "vocabulary": 1 << 20,
    "layers": 200,
    "width": 1 << 15,
    "heads": 1 << 10,
    "hidden": 1 << 17,
    "context": 1 << 20,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerSizes:
    """Raises `UsageError` for sizes that make no network."""

    vocabulary: int
    layers: int
    width: int
    heads: int
    #: Width of the feed-forward networks.
    hidden: int
    #: Most tokens of a sequence.
    context: int

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise UsageError(f"{name} must be a whole number between 1 and {most}, not {value!r}")
        if self.width % (2 * self.heads):
            raise UsageError(f"width={self.width} must be an even multiple of heads={self.heads}")


class CausalBlock(nn.Module):
    """A layer: attention to a token and those before it, then a feed-forward network."""

    def __init__(self, sizes: TransformerSizes, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention_norm = LayerNorm(sizes.width)
        self.attention = Attention(sizes.width, sizes.heads)
        self.mlp_norm = LayerNorm(sizes.width)
        self.up = nn.Linear(sizes.width, sizes.hidden)
        self.down = nn.Linear(sizes.hidden, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        """All tokens at once, (B, T, D) -> (B, T, D)."""
        return self.extend(x, None)[0]

    def extend(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Tokens (B, T, D) after others with these keys and values; returns them and the keys and values of all."""
        normed = self.attention_norm(x)
        keys, values = self.attention.project(normed)
        mask = None
        if past is not None:
            given, before = x.shape[1], past[0].shape[2]
            keys, values = (torch.cat([one, other], dim=2) for one, other in zip(past, (keys, values), strict=True))
            mask = torch.ones(given, before + given, dtype=torch.bool, device=x.device).tril(before)  # (T, P)
        mixed = F.scaled_dot_product_attention(
            self.attention.split(self.attention.query(normed)), keys, values,
            attn_mask=mask, is_causal=past is None, dropout_p=self.dropout if self.training else 0.0,
        )  # fmt: skip
        x = x + self._dropped(self.attention.merge(mixed))
        x = x + self._dropped(self.down(F.relu(self.up(self.mlp_norm(x)))))
        return x, (keys, values)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class CausalTransformer(nn.Module):
    """(B, T) tokens -> (B, T, V) logits, float32, of the token after each. `dropout` counts in training only."""

    def __init__(self, sizes: TransformerSizes, dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes, self.dropout = sizes, dropout
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        # The vectors are multiplied by the root of the width where they are read, and not where they are compared.
        nn.init.normal_(self.embedding.weight, std=sizes.width**-0.5)
        self.blocks = nn.ModuleList(CausalBlock(sizes, dropout) for _ in range(sizes.layers))
        self.norm = LayerNorm(sizes.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Raises `UsageError` for more tokens than the context has."""
        x = self._embedded(tokens, 0)
        for block in self.blocks:
            x = block(x)
        return self._logits(x)

    def extend(self, tokens: Tensor, cache: TokenCache | None) -> tuple[Tensor, TokenCache]:
        """As `forward`, for tokens (B, T) after those of the cache; only these are computed. Returns a longer cache."""
        x = self._embedded(tokens, cache[0][0].shape[2] if cache else 0)
        longer = []
        for number, block in enumerate(self.blocks):
            assert isinstance(block, CausalBlock)  # noqa: S101 - for the type checker
            x, pair = block.extend(x, cache[number] if cache else None)
            longer.append(pair)
        return self._logits(x), tuple(longer)

    def _embedded(self, tokens: Tensor, first: int) -> Tensor:
        end, width = first + tokens.shape[1], self.sizes.width
        if end > self.sizes.context:
            raise UsageError(f"the model reads {self.sizes.context} tokens at most, not {end}")
        vectors = self.embedding(tokens) * math.sqrt(width)
        positions = sinusoids(tokens.shape[1], width, first).to(vectors)
        return F.dropout(vectors + positions, self.dropout, self.training)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(x), self.embedding.weight).float()
