"""BPE dropout (Provilkov et al. 2020, arXiv:1910.13267): the same text in other tokens each time it is seen."""

from __future__ import annotations

import itertools

import numpy as np

from mtasr.tokenizer import Tokenizer


class BpeDropout:
    """Spells tokens anew from their bytes, passing over each possible merge with a probability, each time anew.

    It works within the tokens that a text has otherwise: those of other spellings of the whole are never joined.
    """

    def __init__(self, tokenizer: Tokenizer, probability: float, rng: np.random.Generator) -> None:
        self._tokenizer, self._probability, self._rng = tokenizer, probability, rng

    def encode(self, text: str) -> list[int]:
        """Ids of plain text, as `Tokenizer.encode` gives them."""
        return [piece for token in self._tokenizer.encode(text) for piece in self._spelled(token)]

    def _spelled(self, token: int) -> list[int]:
        ranks = self._tokenizer.ranks
        pieces = [bytes([byte]) for byte in self._tokenizer.token_bytes(token)]
        if any(piece not in ranks for piece in pieces):  # a vocabulary that does not have all bytes
            return [token]
        while len(pieces) > 1:
            pairs = [ranks.get(one + other) for one, other in itertools.pairwise(pieces)]
            passed = self._rng.random(len(pairs)) < self._probability
            merges = [
                (rank, place)
                for place, (rank, over) in enumerate(zip(pairs, passed, strict=True))
                if rank is not None and not over
            ]
            if not merges:
                break
            _, place = min(merges)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        return [ranks[piece] for piece in pieces]
