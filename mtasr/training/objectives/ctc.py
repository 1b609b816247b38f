"""A second lesson for the encoder: the words by themselves (connectionist temporal classification, Graves et al. 2006).

A decoder learns late where in the audio to look, for it can guess much from the words before. The encoder cannot: as it
learns to spell what is said, in order, the decoder finds something to look at.

Letters in shapes: B examples, S encoder frames, D width, T tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.tokenizer import Tokenizer

#: Under this name the head is part of a model that is trained, and of no other.
NAME = "ctc"


class CtcHead(nn.Module):
    """Which text token is said in which frame; the end of text stands for none."""

    def __init__(self, width: int, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.spelling = nn.Linear(width, tokenizer.eot + 1)
        self._none, self._times = tokenizer.eot, tokenizer.timestamp_begin
        self._translate = tokenizer.special("translate") if tokenizer.is_multilingual else -1

    def forward(self, encoded: Tensor, labels: Tensor) -> Tensor:
        """The loss of `encoded` (B, S, D), summed over the examples whose labels (B, T) are what is said in it.

        Those of translations are not, nor those that end where a caption is cut off, which have an odd number of times.
        Silence is left to the decoder: as many frames to the few tokens of its lesson would outweigh everything else.
        """
        text = (labels >= 0) & (labels < self._none)
        whole = (labels != self._translate).all(dim=1) & ((labels >= self._times).sum(dim=1) % 2 == 0)
        said = whole & text.any(dim=1)
        if not said.any():
            return encoded.new_zeros(())
        labels, text = labels[said], text[said]
        scores = F.log_softmax(self.spelling(encoded[said]).float(), dim=2)  # (B, S, text tokens + 1)
        return F.ctc_loss(
            scores.transpose(0, 1),
            labels[text],
            torch.full((len(labels),), scores.shape[1]),
            text.sum(dim=1),
            blank=self._none,
            reduction="sum",
            zero_infinity=True,
        )
