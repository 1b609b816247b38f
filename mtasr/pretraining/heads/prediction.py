"""Contrastive predictive coding: which frame comes k steps later? (van den Oord et al. 2018, arXiv:1807.03748)

Letters in shapes: B windows, S frames of each, K steps ahead, W = S - K frames from which all steps are in the window,
D width, H heads, N negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.arrays import IntArray

Predictor = Literal["linear", "transformer"]
NegativesFrom = Literal["batch", "window"]

#: Distances that a causal predictor tells apart; frames that are farther away count as this far.
_REACH = 128


class CausalPredictor(nn.Module):
    """One transformer block in which no frame sees a later one (Rivière et al. 2020, arXiv:2002.02848)."""

    def __init__(self, width: int, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        #: What a head adds to its scores for each distance.
        self.distances = nn.Parameter(torch.zeros(heads, _REACH))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, D) -> (B, W, D)"""
        queries, keys, values = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in self.joint(x).chunk(3, dim=2)
        )
        frames = torch.arange(x.shape[1], device=x.device)
        distance = frames[:, None] - frames
        bias = self.distances[:, distance.clamp(0, _REACH - 1)].masked_fill(distance < 0, -torch.inf)  # (H, W, W)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias.to(queries.dtype))
        x = self.attention_norm(x + self.drop(self.out(mixed.transpose(1, 2).flatten(2))))
        out: Tensor = self.mlp_norm(x + self.drop(self.down(F.relu(self.up(x)))))
        return out


def make_predictors(kind: Predictor, steps: int, width: int) -> nn.ModuleList:
    """One predictor for each step: (B, W, D) -> (B, W, D)."""
    if kind == "linear":
        return nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(steps))
    heads = next(heads for heads in (8, 4, 2, 1) if width % heads == 0)
    return nn.ModuleList(CausalPredictor(width, heads) for _ in range(steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativePlaces:
    """Where negatives are: which window (B, W, N), and how many frames after the true target (B, W, N).

    Frames are counted around the window: after the last comes the first. A distance of 0 does not occur, so that no
    negative is at the time of the target, in any window.
    """

    windows: IntArray
    distances: IntArray


def draw_elsewhere(
    windows: int, frames: int, steps: int, count: int, where: NegativesFrom, rng: np.random.Generator
) -> NegativePlaces:
    """Negatives for windows of S frames, drawn uniformly and with replacement; all steps share them.

    Raises `ValueError` if there are too few frames.
    """
    if frames <= max(steps, 1):
        raise ValueError(f"{frames} frames are too few for {steps} steps")
    shape = (windows, frames - steps, count)
    chosen = rng.integers(0, windows, shape)
    if where == "window":
        chosen = np.broadcast_to(np.arange(windows)[:, None, None], shape).copy()
    return NegativePlaces(windows=chosen, distances=rng.integers(1, frames, shape))


def step_logits(
    predicted: Tensor, features: Tensor, windows: Tensor, distances: Tensor, step: int, *, scale: float
) -> Tensor:
    """How well the frame `step` steps later fits, then the negatives: dot products times `scale`, (B, W, 1 + N).

    `predicted` (B, W, D) are predictions from the first W frames, `features` (B, S, D) all frames; `windows` and
    `distances` as in `NegativePlaces`.
    """
    rows, frames, width = features.shape
    room = predicted.shape[1]
    with torch.autocast(features.device.type, enabled=False):
        precision = torch.promote_types(features.dtype, torch.float32)
        targets = features.to(precision).reshape(-1, width)
        # Of all pairs: less memory than a copy of each negative, and as fast.
        scores = predicted.to(precision).reshape(-1, width) @ targets.T * scale  # (B * W, B * S)
        times = torch.arange(room, device=features.device)[:, None] + step  # (W, 1)
        own = torch.arange(rows, device=features.device)[:, None, None] * frames + times  # (B, W, 1)
        others = windows * frames + (times + distances) % frames
        return scores.view(rows, room, -1).gather(2, torch.cat([own, others], dim=2))
