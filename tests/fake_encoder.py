"""An encoder whose states are what a few samples say, so that tests can tell what they must be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtasr.spans import SAMPLE_RATE

FIELD, STEP = 400, 320


class LocalEncoder(nn.Module):
    """A frame is made from 25 ms, one every 20 ms. Layer 0 has the mean, the loudness and the first sample of a frame;
    layer 1 their negatives.
    """

    name, width, layers = "local", 3, 1
    frame_seconds, offset_seconds = STEP / SAMPLE_RATE, FIELD / 2 / SAMPLE_RATE

    def __init__(self) -> None:
        super().__init__()
        #: Samples of each call.
        self.heard: list[int] = []

    def states(self, audio: Tensor) -> list[Tensor]:
        self.heard.append(audio.shape[1])
        frames = audio.unfold(1, FIELD, STEP)  # (B, S, FIELD)
        first = torch.stack([frames.mean(dim=2), frames.abs().amax(dim=2), frames[:, :, 0]], dim=2)
        return [first, -first]
