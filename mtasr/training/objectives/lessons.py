"""Extra lessons for Whisper's encoder: heads that are trained beside the decoder and left out of the result.

Letters in shapes: B examples, S encoder frames, D width, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.tokenizer import Tokenizer
from mtasr.training.targets import IGNORED


class CtcHead(nn.Module):
    """Which text token each frame says (connectionist temporal classification, Graves et al. 2006).

    A decoder learns late where in the audio to look, because it can guess much from the previous words. The encoder
    cannot guess. As it learns to spell what is said, the decoder finds something to look at.
    """

    def __init__(self, width: int, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.spelling = nn.Linear(width, tokenizer.eot + 1)
        self.tokenizer = tokenizer
        #: CTC's blank: the end of text, which no frame says.
        self.blank = tokenizer.eot

    def scores(self, encoded: Tensor) -> Tensor:
        """Encoder frames (B, S, D) -> log-probabilities (B, S, text tokens + 1), float32."""
        with torch.autocast(encoded.device.type, enabled=False):
            return F.log_softmax(self.spelling(encoded.float()), dim=2)

    def forward(self, encoded: Tensor, labels: Tensor) -> Tensor:
        """The loss of `encoded` (B, S, D) for the decoder's labels (B, T), summed over the examples that teach."""
        text = spelled(labels, self.tokenizer)
        said = text.any(dim=1)
        if not said.any():  # depends on all weights, for the sake of other processes that wait for their gradients
            return 0.0 * self.scores(encoded[:, :1]).sum()
        labels, text = labels[said], text[said]
        scores = self.scores(encoded[said])
        return F.ctc_loss(
            scores.transpose(0, 1),
            labels[text],
            torch.full((len(labels),), scores.shape[1]),
            text.sum(dim=1),
            blank=self.blank,
            reduction="sum",
            zero_infinity=True,
        )


def spelled(labels: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Which of the decoder's labels (B, T) CTC teaches: a mask (B, T), all false for an example that teaches nothing.

    A translation teaches nothing, because its text is not what is said. Neither does an example that ends inside a
    caption: such have an odd number of timestamps. Silence is left to the decoder, because its many frames and its few
    tokens would outweigh everything else.
    """
    translate = tokenizer.special("translate") if tokenizer.is_multilingual else IGNORED - 1
    whole = (labels != translate).all(dim=1) & ((labels >= tokenizer.timestamp_begin).sum(dim=1) % 2 == 0)
    return (labels != IGNORED) & (labels < tokenizer.eot) & whole[:, None]


#: Heads by the name under which they are part of a model that is trained. To add one, write a module that takes the
#: encoder's width and the tokenizer and maps (B, S, D) and labels (B, T) to a summed loss; add a line here, and a
#: setting of this name to `RegularisationConfig`, which is its weight.
LESSONS: dict[str, Callable[[int, Tokenizer], nn.Module]] = {"ctc": CtcHead}
