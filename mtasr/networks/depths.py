"""How deep in an encoder each of its weights is, so that lower layers can learn at lower rates."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Layered(Protocol):
    """An encoder that knows the order in which its parts are computed."""

    def depths(self) -> dict[nn.Parameter, int]:
        """0 for each weight that is used before the first layer, n for those of layer n, counted from 1.

        A norm after the last layer has its number.
        """
        ...


def depths_of(encoder: nn.Module) -> dict[nn.Parameter, int] | None:
    """Those of an encoder that is `Layered`, None for another."""
    return encoder.depths() if isinstance(encoder, Layered) else None


def depths_around(encoder: nn.Module, layers: nn.ModuleList, after: nn.Module | None) -> dict[nn.Parameter, int]:
    """The depths in an encoder with these layers, and with a norm `after` the last one if there is one."""
    depths = dict.fromkeys(encoder.parameters(), 0)
    for number, layer in enumerate(layers, start=1):
        depths |= dict.fromkeys(layer.parameters(), number)
    if after is not None:
        depths |= dict.fromkeys(after.parameters(), len(layers))
    return depths
