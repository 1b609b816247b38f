"""Cepstra as a `SpeechEncoder`, from which HuBERT's first units come."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.errors import ModelError
from mtasr.kaldi_features import COEFFICIENTS, FRAME_LENGTH, FRAME_STEP, mfcc_with_deltas
from mtasr.spans import SAMPLE_RATE


class MfccEncoder(nn.Module):
    """Kaldi's MFCCs with their first and second differences, as an encoder without layers and without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.layers, self.width = "mfcc", 0, 3 * COEFFICIENTS
        self.frame_seconds = FRAME_STEP / SAMPLE_RATE
        self.offset_seconds = FRAME_LENGTH / 2 / SAMPLE_RATE

    def states(self, audio: Tensor) -> list[Tensor]:
        """(B, N) -> one tensor (B, S, 39) with S = 1 + (N - 400) // 160. Raises `ModelError` for less than 25 ms."""
        if audio.ndim != 2 or audio.shape[1] < FRAME_LENGTH:
            raise ModelError(f"audio of the shape {tuple(audio.shape)} gives no features; wanted (batch, samples)")
        rows = audio.detach().float().cpu().numpy()
        return [torch.from_numpy(np.stack([mfcc_with_deltas(row) for row in rows])).to(audio.device)]

    def forward(self, audio: Tensor) -> list[Tensor]:
        """`states`, so that hooks and wrappers of modules work."""
        return self.states(audio)
