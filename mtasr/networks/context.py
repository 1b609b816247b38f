"""Neighbouring frames side by side: what an encoder without context knows when its head may look around."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mtasr.networks.speech_encoder import SpeechEncoder


class ContextEncoder(nn.Module):
    """The states of an encoder with those of `frames` frames before and after: D becomes (2 · frames + 1) · D.

    Beyond the ends, the first and the last frame repeat. Log-mel features with 5 frames are a control: a better probe
    of a trained encoder must come from more than that it hears what is around.
    """

    def __init__(self, encoder: SpeechEncoder, frames: int) -> None:
        super().__init__()
        self.encoder = cast(nn.Module, encoder)
        self.frames = frames
        self.name = f"{encoder.name}+{frames}"
        self.width, self.layers = encoder.width * (2 * frames + 1), encoder.layers
        self.frame_seconds, self.offset_seconds = encoder.frame_seconds, encoder.offset_seconds
        #: What else decides the states.
        self.config = f"{type(encoder).__name__} {getattr(encoder, 'config', '')}"

    def states(self, audio: Tensor) -> list[Tensor]:
        """(B, N) -> L + 1 tensors (B, S, (2 · frames + 1) · D), the earliest neighbour first."""
        found: list[Tensor] = cast(SpeechEncoder, self.encoder).states(audio)
        return [self._with_neighbours(states) for states in found]

    def _with_neighbours(self, states: Tensor) -> Tensor:
        around = [states[:, :1]] * self.frames + [states] + [states[:, -1:]] * self.frames
        windows = torch.cat(around, dim=1).unfold(1, 2 * self.frames + 1, 1)  # (B, S, D, 2 · frames + 1)
        return windows.transpose(2, 3).flatten(start_dim=2)
