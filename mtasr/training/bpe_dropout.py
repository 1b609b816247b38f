"""BPE dropout (Provilkov et al. 2020, arXiv:1910.13267): the same text in other tokens each time it is seen."""

from __future__ import annotations

import numpy as np

from mtasr.tokenizer import Tokenizer
from mtasr.training.targets import Encode


def with_dropout(tokenizer: Tokenizer, probability: float, rng: np.random.Generator) -> Encode:
    """A way to encode that passes over each possible merge of bytes with a probability, each time anew.

    It works within the tokens that a text has otherwise: those of other spellings of the whole are never joined.
    """

    def encode(text: str) -> list[int]:
        return [piece for token in tokenizer.encode(text) for piece in spelled(token)]

    def spelled(token: int) -> list[int]:
        ranks = tokenizer.ranks
        *_, parts = tokenizer.merges(tokenizer.token_bytes(token), lambda: rng.random() < probability)
        # A vocabulary need not have all bytes.
        return [ranks[part] for part in parts] if ranks.keys() >= set(parts) else [token]

    return encode
