"""The product quantiser of wav2vec 2.0: choices, gradients, perplexity, temperature."""

from __future__ import annotations

import math

import pytest
import torch

from mtasr.pretraining.heads.gumbel import GumbelQuantiser, gumbel_temperature, perplexities


def quantiser(codebooks: int = 2, codes: int = 5) -> GumbelQuantiser:
    torch.manual_seed(1)
    return GumbelQuantiser(6, codebooks=codebooks, codes=codes, code_width=4 * codebooks).double()


def test_in_evaluation_each_codebook_gives_its_most_probable_code() -> None:
    model = quantiser().eval()
    features = torch.randn(7, 6, dtype=torch.float64)
    found = model(features, 2.0)
    for row, feature in enumerate(features):
        scores = (model.scores.weight @ feature + model.scores.bias).view(2, 5).detach()
        parts = []
        for book in range(2):
            best = max(range(5), key=lambda code, book=book: float(scores[book, code]))
            assert int(found.codes[row, book]) == best
            total = sum(math.exp(float(each)) for each in scores[book])
            expected = [math.exp(float(each)) / total for each in scores[book]]
            assert found.probabilities[row, book].tolist() == pytest.approx(expected)
            parts.append(model.codes[book, best])
        assert torch.equal(found.vectors[row], torch.cat(parts))


def test_in_training_vectors_are_exactly_codes_and_their_choice_is_random_in_proportion() -> None:
    model = quantiser().train()
    features = torch.randn(1, 6, dtype=torch.float64).expand(20_000, 6)
    torch.manual_seed(2)
    found = model(features, 0.7)
    for book in range(2):
        assert torch.equal(found.vectors.view(-1, 2, 4)[:, book], model.codes[book, found.codes[:, book]])
        # The Gumbel-max trick draws from the softmax, at any temperature.
        shares = torch.bincount(found.codes[:, book], minlength=5) / len(features)
        assert torch.allclose(shares.double(), found.probabilities[0, book], atol=0.015)


def test_the_gradient_is_that_of_the_softmax_at_the_temperature() -> None:
    model = quantiser(codebooks=1).train()
    feature = torch.randn(1, 6, dtype=torch.float64)
    torch.manual_seed(3)
    found = model(feature, 0.5)
    direction = torch.randn_like(found.vectors)
    (gradient,) = torch.autograd.grad((found.vectors * direction).sum(), model.scores.bias)
    torch.manual_seed(3)
    noise = -torch.empty(1, 1, 5, dtype=torch.float64).exponential_().log()
    scores = model.scores(feature).view(5) + noise.view(5)
    soft = (scores / 0.5).softmax(dim=0)
    worth = model.codes[0] @ direction[0]  # what a code adds to the sum
    for code in range(5):
        slope = sum(worth[other] * soft[other] * (int(other == code) - soft[code]) / 0.5 for other in range(5))
        assert float(gradient[code]) == pytest.approx(slope.item())


def test_without_noise_the_choice_has_no_gradient() -> None:
    model = quantiser().eval()
    found = model(torch.randn(3, 6, dtype=torch.float64), 1.0)
    found.vectors.sum().backward()
    assert model.scores.weight.grad is None
    assert model.codes.grad is not None


def test_perplexity_counts_the_codes_in_use() -> None:
    one = torch.eye(4, dtype=torch.float64)
    rows = torch.stack([one[[0, 0, 0, 0]], one[[0, 1, 0, 1]], one[[0, 1, 2, 3]]], dim=1)  # (4 rows, 3 codebooks, 4)
    assert perplexities(rows).tolist() == pytest.approx([1, 2, 4], rel=1e-5)


def test_temperature_falls_to_a_floor() -> None:
    schedule = {"first": 2.0, "last": 0.5, "decay": 0.999995}
    assert gumbel_temperature(0, **schedule) == 2
    assert gumbel_temperature(277_257, **schedule) > 0.5
    assert gumbel_temperature(277_259, **schedule) == 0.5
    assert gumbel_temperature(400_000, **schedule) == 0.5


def test_codebooks_of_unequal_width_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot share"):
        GumbelQuantiser(6, codebooks=3, codes=5, code_width=8)
