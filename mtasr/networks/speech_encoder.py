"""What every network offers that turns audio into states, so that probes, units and heads need know none of them."""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
from torch import Tensor, nn


class SpeechEncoder(Protocol):
    """An `nn.Module` that turns audio into states, one for each layer and frame.

    Letters in shapes: B rows of a batch, N samples at 16 kHz, S frames, D width, L layers.
    """

    #: What tables call it.
    name: str
    #: D, the size of every state.
    width: int
    #: L; there are L + 1 states for each frame.
    layers: int
    #: Seconds from one frame to the next.
    frame_seconds: float
    #: The middle of frame 0, in seconds from the first sample.
    offset_seconds: float

    def states(self, audio: Tensor) -> list[Tensor]:
        """(B, N) float32 in -1..1 -> L + 1 tensors (B, S, D): the input of each layer, then the final output.

        All rows have the same length and none is padded: some networks normalise over time, and their states would
        depend on the padding. Raises `ModelError` for audio that is too short for a frame or too long for the network.
        """
        ...


def device_of(encoder: SpeechEncoder) -> torch.device:
    """Where the encoder's tensors are, buffers too; the CPU if it has none."""
    network = cast(nn.Module, encoder)
    tensors = (*network.parameters(), *network.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def longest_seconds(encoder: SpeechEncoder) -> float:
    """Seconds of audio that the encoder hears at once: the least `longest_seconds` of its modules, infinity without.

    So what wraps an encoder hears no more than the encoder.
    """
    limits = (getattr(module, "longest_seconds", math.inf) for module in cast(nn.Module, encoder).modules())
    return min(limits)
