"""Residual vector quantisation: each book describes what the books before it have left over.

After Zeghidour et al. 2021 (SoundStream, arXiv:2107.03312, section III-C). Centres are moving averages of the vectors
that chose them, as in VQ-VAE (van den Oord et al. 2017, appendix A); the network learns through the straight-through
estimator and the commitment loss. Letters in shapes: B items, D dimensions, S frames, V vectors, K entries, Q books.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Keeps entries that nobody chose from being divided by zero.
_EPSILON = 1e-5
#: Rounds of k-means over the first batch.
_ROUNDS = 10


class ResidualCodes(NamedTuple):
    """What a pass through the books gives."""

    #: For the decoder (B, D, S); its gradient goes to the encoder as if nothing had been quantised.
    vectors: Tensor
    #: (B, Q, S) for as many books as any row used; -1 where a row did without the book.
    codes: Tensor
    #: The commitment loss, a mean over these books.
    commitment: Tensor


class Codebook(nn.Module):
    """`centres` (K, D), with moving `counts` (K,) and `sums` (K, D) of the vectors that chose each of them.

    Entries that get less than `dead` of the average share of vectors are replaced by vectors of the batch.
    """

    centres: Tensor
    counts: Tensor
    sums: Tensor
    begun: Tensor

    def __init__(self, entries: int, dimension: int, *, decay: float = 0.99, dead: float = 0.1) -> None:
        super().__init__()
        self.decay, self.dead = decay, dead
        self.register_buffer("centres", torch.zeros(entries, dimension))
        self.register_buffer("counts", torch.zeros(entries))
        self.register_buffer("sums", torch.zeros(entries, dimension))
        #: 1 once the centres have values.
        self.register_buffer("begun", torch.zeros(1))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Vectors (V, D) -> the entries nearest to them (V,)."""
        return (self.centres.square().sum(1) - 2 * vectors @ self.centres.T).argmin(1)

    @torch.no_grad()
    def begin(self, vectors: Tensor) -> None:
        """Centres by k-means of these vectors (V, D)."""
        entries = len(self.centres)
        order = torch.randperm(len(vectors), device=vectors.device)
        self.centres.copy_(vectors[order.repeat(-(-entries // max(1, len(vectors))))[:entries]])
        for _ in range(_ROUNDS):
            counts, sums = self._tally(vectors, self.nearest(vectors))
            self.centres.copy_(torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], self.centres))
        self.counts.copy_(self._tally(vectors, self.nearest(vectors))[0])
        self.sums.copy_(self.centres * self.counts[:, None])
        self.begun.fill_(1)

    @torch.no_grad()
    def learn(self, vectors: Tensor, codes: Tensor) -> None:
        """Move the averages towards vectors (V, D) and the entries (V,) that they chose; revive dead entries."""
        counts, sums = self._tally(vectors, codes)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + _EPSILON) / (total + len(counts) * _EPSILON) * total
        self.centres.copy_(self.sums / smoothed[:, None])
        average = total / len(counts)
        dead = self.counts < self.dead * average
        drawn = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)]
        self.centres.copy_(torch.where(dead[:, None], drawn, self.centres))
        # With the average as its count, a revived entry has time to find vectors of its own.
        self.counts.copy_(torch.where(dead, average, self.counts))
        self.sums.copy_(torch.where(dead[:, None], drawn * average, self.sums))

    def _tally(self, vectors: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """How many vectors chose each entry (K,), and their sums (K, D)."""
        chosen = functional.one_hot(codes, len(self.centres)).to(vectors.dtype)
        return chosen.sum(0), chosen.T @ vectors


class ResidualQuantiser(nn.Module):
    """`books` codebooks of `entries` vectors."""

    def __init__(self, books: int, entries: int, dimension: int) -> None:
        super().__init__()
        self.books = nn.ModuleList(Codebook(entries, dimension) for _ in range(books))

    def forward(self, x: Tensor, used: Tensor) -> ResidualCodes:
        """Vectors (B, D, S), of which each row uses its number of books `used` (B,).

        In training mode, books learn: each from the rows that use it.
        """
        residual, total = x, torch.zeros_like(x)
        codes, commitments = [], []
        for number, book in enumerate(self._books(len(self.books))):
            rows = used > number
            if not bool(rows.any()):
                break
            vectors = residual[rows].detach().transpose(1, 2)
            flat = vectors.flatten(0, 1)
            if self.training and not bool(book.begun):
                book.begin(flat)
            chosen = book.nearest(flat)
            found = torch.zeros_like(x)
            found[rows] = book.centres[chosen].view_as(vectors).transpose(1, 2)
            if self.training:
                book.learn(flat, chosen)
            # What earlier books found is constant, so that the gradient of every book's part reaches the encoder.
            commitments.append(functional.mse_loss(residual[rows], found[rows]))
            of_rows = torch.full((len(x), x.shape[-1]), -1, device=x.device)
            of_rows[rows] = chosen.view(vectors.shape[:2])
            codes.append(of_rows)
            residual, total = residual - found, total + found
        return ResidualCodes(x + (total - x).detach(), torch.stack(codes, 1), torch.stack(commitments).mean())

    def drawn(self, rows: int, device: torch.device) -> Tensor:
        """A number of books for each row, from 1 to all of them, all equally probable."""
        return torch.randint(1, len(self.books) + 1, (rows,), device=device)

    @torch.no_grad()
    def encode(self, x: Tensor, books: int) -> Tensor:
        """Vectors (B, D, S) -> codes (B, Q, S) of the first `books` books."""
        residual, codes = x.transpose(1, 2), []
        for book in self._books(books):
            chosen = book.nearest(residual.flatten(0, 1)).view(residual.shape[:2])
            residual = residual - book.centres[chosen]
            codes.append(chosen)
        return torch.stack(codes, 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, Q, S) of as many books as there are -> vectors (B, D, S)."""
        books = self._books(codes.shape[1])
        return torch.stack([book.centres[codes[:, each]] for each, book in enumerate(books)]).sum(0).transpose(1, 2)

    def _books(self, count: int) -> list[Codebook]:
        return [book for book in self.books[:count] if isinstance(book, Codebook)]
