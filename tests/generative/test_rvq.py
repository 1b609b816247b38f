"""Residual vector quantisation beside loops that are too slow to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtasr.generative.rvq import Codebook, ResidualQuantiser


def _quantiser(books: int = 3, entries: int = 8, dimension: int = 4) -> ResidualQuantiser:
    torch.manual_seed(0)
    made = ResidualQuantiser(books, entries, dimension)
    for book in made.books:
        book.centres.normal_()
        book.counts.fill_(5)
        book.sums.copy_(book.centres * 5)
        book.begun.fill_(1)
    return made


def test_codes_and_vectors_are_those_of_a_slow_loop() -> None:
    quantiser = _quantiser().double().eval()
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    codes = quantiser.encode(x, 3)
    centres = [book.centres.numpy() for book in quantiser.books]
    for row in range(2):
        for frame in range(5):
            rest, total = x[row, :, frame].numpy(), np.zeros(4)
            for number, book in enumerate(centres):
                best = min(range(8), key=lambda entry: float(((rest - book[entry]) ** 2).sum()))
                assert int(codes[row, number, frame]) == best
                rest, total = rest - book[best], total + book[best]
            np.testing.assert_allclose(quantiser.decode(codes)[row, :, frame], total, atol=1e-12)
    trained = quantiser(x, torch.tensor([3, 3]))
    assert trained.codes.equal(codes)
    torch.testing.assert_close(trained.vectors, quantiser.decode(codes))
    assert quantiser.encode(x, 2).equal(codes[:, :2])


def test_a_row_uses_as_many_books_as_it_is_told() -> None:
    quantiser = _quantiser().eval()
    x = torch.randn(3, 4, 5)
    found = quantiser(x, torch.tensor([1, 3, 2]))
    whole = quantiser.encode(x, 3)
    assert ((found.codes >= 0).sum(1)[:, 0]).tolist() == [1, 3, 2]
    assert found.codes[found.codes >= 0].equal(whole[found.codes >= 0])
    torch.testing.assert_close(found.vectors[2:], quantiser.decode(whole[2:, :2]))


def test_every_number_of_books_is_drawn_the_first_and_the_last_included() -> None:
    torch.manual_seed(0)
    counts = torch.bincount(_quantiser(books=4).drawn(4000, torch.device("cpu")))
    assert len(counts) == 5
    assert counts[0] == 0
    assert all(900 < count < 1100 for count in counts[1:].tolist())


@pytest.mark.parametrize("book", range(3))
def test_the_commitment_of_each_book_reaches_the_encoder(book: int) -> None:
    """Where each residual is taken from the straight-through output, it reaches that of the first book alone."""
    quantiser = _quantiser().eval()
    x = torch.randn(1, 4, 6, requires_grad=True)
    quantiser(x, torch.tensor([book + 1])).commitment.backward()
    rest, sums = x.detach(), torch.zeros_like(x)
    for each in quantiser.books[: book + 1]:
        vectors = rest.transpose(1, 2).flatten(0, 1)
        rest = rest - each.centres[each.nearest(vectors)].view(1, 6, 4).transpose(1, 2)
        sums = sums + 2 * rest / x.numel()
    torch.testing.assert_close(x.grad, sums / (book + 1))


def test_the_gradient_of_what_follows_passes_unchanged() -> None:
    quantiser = _quantiser().eval()
    x = torch.randn(2, 4, 6, requires_grad=True)
    weights = torch.randn(2, 4, 6)
    (quantiser(x, torch.tensor([1, 3])).vectors * weights).sum().backward()
    torch.testing.assert_close(x.grad, weights)


def test_averages_move_as_computed_by_hand() -> None:
    book = Codebook(2, 1, decay=0.9, dead=0.0)
    book.centres.copy_(torch.tensor([[0.0], [10.0]]))
    book.counts.copy_(torch.tensor([4.0, 2.0]))
    book.sums.copy_(torch.tensor([[0.0], [20.0]]))
    vectors = torch.tensor([[1.0], [2.0], [8.0]])
    codes = book.nearest(vectors)
    assert codes.tolist() == [0, 0, 1]
    book.learn(vectors, codes)
    assert book.counts.tolist() == pytest.approx([3.8, 1.9])  # .9 x 4 + .1 x 2, .9 x 2 + .1 x 1
    assert book.sums[:, 0].tolist() == pytest.approx([0.3, 18.8])  # .9 x 0 + .1 x 3, .9 x 20 + .1 x 8
    assert book.centres[:, 0].tolist() == pytest.approx([0.3 / 3.8, 18.8 / 1.9], rel=1e-4)


def test_dead_entries_become_vectors_of_the_batch() -> None:
    torch.manual_seed(0)
    book = Codebook(4, 2, dead=0.5)
    book.centres.copy_(torch.tensor([[0.0, 0], [1, 1], [50, 50], [-50, -50]]))
    book.counts.copy_(torch.tensor([10.0, 10, 0.1, 0.1]))
    book.sums.copy_(book.centres * book.counts[:, None])
    vectors = torch.randn(20, 2)
    book.learn(vectors, book.nearest(vectors))
    assert all(any(torch.equal(centre, vector) for vector in vectors) for centre in book.centres[2:])
    assert book.counts[2:].tolist() == pytest.approx([float(book.counts[2])] * 2)
    assert float(book.counts[2]) > 2  # as one of four that share about twenty, and not soon dead again


def test_the_first_batch_gives_the_centres_by_k_means() -> None:
    torch.manual_seed(0)
    clusters = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    vectors = (clusters[:, None] + 0.1 * torch.randn(4, 30, 2)).flatten(0, 1)
    quantiser = ResidualQuantiser(1, 8, 2).train()
    quantiser(vectors.T[None], torch.tensor([1]))
    distances = torch.cdist(clusters, quantiser.books[0].centres).min(1).values
    assert distances.max() < 1
    assert float(quantiser.books[0].begun) == 1
