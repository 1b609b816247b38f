"""Vectors as products of codes that are learned with them (Jang et al. 2017, arXiv:1611.01144; wav2vec 2.0, section 2).

Letters in shapes: N vectors, C their width, G codebooks, V codes of each, D width of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

#: Added to shares before their logarithm is taken, as fairseq and transformers do.
_LEAST_SHARE = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """`vectors` (N, D), the numbers of their `codes` (N, G), and the `probabilities` (N, G, V) before any noise."""

    vectors: Tensor
    codes: Tensor
    probabilities: Tensor


class GumbelQuantiser(nn.Module):
    """Chooses a code from each of G codebooks and puts them side by side.

    In training the choice is random (Gumbel noise) and its gradient is that of a softmax at the temperature
    (straight-through). In evaluation the most probable code is chosen, without a gradient for the choice.
    """

    def __init__(self, width: int, *, codebooks: int, codes: int, code_width: int) -> None:
        """`code_width` is D, of which each codebook gives an equal part."""
        super().__init__()
        if code_width % codebooks:
            raise ValueError(f"{codebooks} codebooks cannot share a width of {code_width}")
        self.scores = nn.Linear(width, codebooks * codes)
        self.codes = nn.Parameter(torch.empty(codebooks, codes, code_width // codebooks))
        # At usual initial weights the choice would hardly depend on the input.
        nn.init.normal_(self.scores.weight)
        nn.init.zeros_(self.scores.bias)
        nn.init.uniform_(self.codes)

    def forward(self, features: Tensor, temperature: float) -> Quantised:
        """(N, C) -> in the precision of the weights, under autocast too."""
        codebooks, codes, _ = self.codes.shape
        with torch.autocast(features.device.type, enabled=False):
            scores = self.scores(features.to(self.codes.dtype)).view(-1, codebooks, codes)
            probabilities = scores.softmax(dim=2)
            if self.training:
                noise = -torch.empty_like(scores).exponential_().log()
                soft = ((scores + noise) / temperature).softmax(dim=2)
                chosen = soft.argmax(dim=2)
                # In this order the vectors are exactly those of the codes.
                choice = F.one_hot(chosen, codes) + (soft - soft.detach())
            else:
                chosen = scores.argmax(dim=2)
                choice = F.one_hot(chosen, codes).to(scores.dtype)
            vectors = torch.einsum("ngv,gvd->ngd", choice, self.codes).flatten(1)
        return Quantised(vectors=vectors, codes=chosen, probabilities=probabilities)


def perplexities(probabilities: Tensor) -> Tensor:
    """Probabilities (N, G, V) -> how many codes of each codebook are in use (G,): 1 to V.

    It is the exponential of the entropy of their mean. One-hot rows count the codes that were chosen.
    """
    shares = probabilities.mean(dim=0)
    entropy = -(shares * (shares + _LEAST_SHARE).log()).sum(dim=1)
    return entropy.exp()


def gumbel_temperature(updates: int, *, first: float, last: float, decay: float) -> float:
    """The temperature after so many updates of the weights: it falls by the factor `decay` with each, to `last`."""
    return max(first * decay**updates, last)
