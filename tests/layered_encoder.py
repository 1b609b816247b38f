"""A small encoder whose layers differ: one of noise, one of log-mel features, one of both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtasr.networks.log_mel import LogMelEncoder

#: The layer that has all that can be heard.
CLEAR = 1


class LayeredEncoder(nn.Module):
    """States of 0: noise that is the same for all audio of a length; 1: log-mel features; 2: half of each.

    `heard` has the shape of each batch.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.mel = LogMelEncoder(12)
        self.name, self.layers, self.width = "layered", 2, self.mel.width
        self.frame_seconds, self.offset_seconds = self.mel.frame_seconds, self.mel.offset_seconds
        self.seed = nn.Parameter(torch.tensor(float(seed)))
        self.heard: list[tuple[int, ...]] = []

    def states(self, audio: Tensor) -> list[Tensor]:
        self.heard.append(tuple(audio.shape))
        (mel,) = self.mel.states(audio)
        noise = torch.randn(mel.shape[1:], generator=torch.Generator().manual_seed(int(self.seed)))
        noise = noise.expand_as(mel)
        return [noise, 4 * mel, noise + 4 * mel]
