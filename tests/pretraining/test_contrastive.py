"""The contrastive task of wav2vec 2.0, against literal loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mtasr.pretraining.heads.contrastive import contrastive_logits, first_wins, other_frames


def literal_logits(
    context: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor, temperature: float
) -> list[list[list[float]]]:
    def cosine(a: Tensor, b: Tensor) -> float:
        dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(float(x) ** 2 for x in a)) / math.sqrt(sum(float(y) ** 2 for y in b))

    result = []
    for row in range(len(context)):
        frames = []
        for frame in range(context.shape[1]):
            logits = [cosine(context[row, frame], targets[row, frame]) / temperature]
            for other in negatives[row, frame].tolist():
                equal = codes[row, other].tolist() == codes[row, frame].tolist()
                found = cosine(context[row, frame], targets[row, other]) / temperature
                logits.append(-math.inf if equal else found)
            frames.append(logits)
        result.append(frames)
    return result


def test_logits_equal_literal_loops_in_float64() -> None:
    torch.manual_seed(0)
    codes = torch.randint(0, 2, (3, 6, 2))
    books = torch.randn(2, 2, 4, dtype=torch.float64)
    targets = torch.cat([books[book, codes[:, :, book]] for book in range(2)], dim=2)
    context = torch.randn(3, 6, 8, dtype=torch.float64)
    negatives = torch.from_numpy(other_frames(3, 6, 5, np.random.default_rng(1)))
    found = contrastive_logits(context, targets, codes, negatives, temperature=0.1)
    expected = literal_logits(context, targets, codes, negatives, 0.1)
    assert torch.isinf(found).any()
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_negatives_are_all_others_of_the_row_equally_often_and_never_the_frame_itself() -> None:
    drawn = other_frames(2, 5, 40_000, np.random.default_rng(0))
    assert drawn.shape == (2, 5, 40_000)
    for row in range(2):
        for frame in range(5):
            counts = np.bincount(drawn[row, frame], minlength=5)
            assert counts[frame] == 0
            assert counts[np.arange(5) != frame] / 40_000 == pytest.approx(0.25, abs=0.01)
    assert (drawn[0] != drawn[1]).any()


def test_a_frame_alone_has_no_negatives() -> None:
    with pytest.raises(ValueError, match="two frames"):
        other_frames(2, 1, 3, np.random.default_rng(0))


def test_no_row_sees_another() -> None:
    torch.manual_seed(0)
    targets = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    codes = torch.arange(8).view(2, 4, 1)
    negatives = torch.from_numpy(other_frames(2, 4, 6, np.random.default_rng(1)))
    logits = contrastive_logits(torch.randn_like(targets), targets, codes, negatives, temperature=0.1)
    (gradient,) = torch.autograd.grad(logits[0].sum(), targets)
    assert (gradient[0] != 0).all()
    assert (gradient[1] == 0).all()


def test_collapsed_codes_give_no_loss_and_no_success() -> None:
    codes = torch.zeros(1, 3, 2, dtype=torch.long)
    targets = torch.ones(1, 3, 4)
    negatives = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    logits = contrastive_logits(torch.randn(1, 3, 4), targets, codes, negatives, temperature=0.1)
    assert torch.isneginf(logits[..., 1:]).all()
    assert not first_wins(logits).any()
    assert torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.zeros(3, dtype=torch.long)) == 0


def test_the_first_wins_if_it_is_larger_than_all_others() -> None:
    logits = torch.tensor([[2.0, 1.0, -torch.inf], [1.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
    assert first_wins(logits).tolist() == [True, False, False]
