"""Causal convolutions as in EnCodec: a frame hears no sample after its own.

But for the first frames if the padding is `reflect`: these see what follows them, mirrored, in place of the silence
before the beginning. Letters in shapes: B items, C channels, N samples or frames.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

Padding = Literal["reflect", "constant"]


class CausalConv(nn.Module):
    """(B, C, N) -> (B, outputs, N / stride, rounded up). The last frame is filled up if it is not whole."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, padding: Padding
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation)
        self.stride = stride
        self.before = (kernel - 1) * dilation + 1 - stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(padded(x, self.before, -x.shape[-1] % self.stride, self.padding))  # type: ignore[no-any-return]


class CausalUpsampling(nn.Module):
    """(B, C, N) -> (B, outputs, N x stride), by a transposed convolution of twice the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., : -self.stride]  # type: ignore[no-any-return]


def padded(x: Tensor, before: int, after: int, padding: Padding) -> Tensor:
    """(B, C, N) with so many frames more. What is too short to be mirrored is followed by zeros first."""
    if padding == "constant":
        return functional.pad(x, (before, after))
    lacking = max(0, max(before, after) + 1 - x.shape[-1])
    mirrored = functional.pad(functional.pad(x, (0, lacking)), (before, after), mode="reflect")
    return mirrored[..., : mirrored.shape[-1] - lacking]


def normalise_weights(network: nn.Module) -> None:
    """Train the norm and the direction of each convolution's weights apart (Salimans & Kingma 2016), in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d):
            parametrizations.weight_norm(module)


def fold_weights(network: nn.Module) -> None:
    """Undo `normalise_weights`: the weights are plain tensors with the same values, in place."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
