"""Which of several vectors belongs here? The contrastive task of wav2vec 2.0 over the masked frames of a row.

Letters in shapes: B rows, M masked frames of each, N negatives, D width, G codebooks.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor

from mtasr.arrays import IntArray


def other_frames(rows: int, frames: int, count: int, rng: np.random.Generator) -> IntArray:
    """For each of M frames of each row, the numbers of `count` others of the row, drawn with replacement: (B, M, N).

    Raises `ValueError` if there is no other.
    """
    if frames < 2:
        raise ValueError("negatives need at least two frames")
    drawn = rng.integers(0, frames - 1, (rows, frames, count))
    own = np.arange(frames)[:, None]
    return drawn + (drawn >= own)


def contrastive_logits(
    context: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """The cosine between what was predicted and the true target, then the negatives, by temperature: (B, M, 1 + N).

    `context` and `targets` are (B, M, D), `codes` (B, M, G) the codes that the targets are made of, and `negatives` (B,
    M, N) numbers of frames. A negative that has the codes of the true target is not wrong, so it gets -inf. Codes are
    compared rather than vectors, so that this does not depend on rounding.
    """
    with torch.autocast(context.device.type, enabled=False):
        precision = torch.promote_types(context.dtype, torch.float32)
        predicted, true = (F.normalize(each.to(precision), dim=2) for each in (context, targets))
        # Of all pairs: less memory than a copy of each negative, and faster.
        similar = predicted @ true.transpose(1, 2) / temperature  # (B, M, M)
        same = (codes[:, :, None] == codes[:, None]).all(dim=3)
        wrong = similar.masked_fill(same, -torch.inf).gather(2, negatives)
        return torch.cat([similar.diagonal(dim1=1, dim2=2)[:, :, None], wrong], dim=2)


def contrastive_loss(logits: Tensor) -> Tensor:
    """Logits (B, M, 1 + N) with the right answer first -> their cross-entropy, summed over all B * M."""
    flat = logits.flatten(0, 1)
    return F.cross_entropy(flat, torch.zeros(len(flat), dtype=torch.long, device=flat.device), reduction="sum")


def first_wins(logits: Tensor) -> Tensor:
    """Logits (..., 1 + N) -> whether the first is larger than all others (...,). False if no other is finite.

    So codes that have collapsed into one, which leave no wrong answer, do not count as success.
    """
    best = logits[..., 1:].amax(dim=-1)
    return (logits[..., 0] > best) & best.isfinite()
