"""How much each loss weighs, whatever its scale (Défossez et al. 2022, section 3.4, equation 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Balancer(nn.Module):
    """Each loss gets the share of the gradient of the made sound that its weight is of the sum of weights.

    A loss's gradient is divided by a moving average of its norm, so that no loss outweighs others because of its unit.
    Averages are buffers, and so belong to the checkpoints of a run. Their bias towards the zeros that they begin with
    is corrected.
    """

    norms: Tensor
    seen: Tensor

    def __init__(self, names: Sequence[str], decay: float = 0.999) -> None:
        super().__init__()
        self.names, self.decay = tuple(names), decay
        self.register_buffer("norms", torch.zeros(len(names)))
        self.register_buffer("seen", torch.zeros(len(names)))

    def gradient(self, losses: Mapping[str, Tensor], weights: Mapping[str, float], sound: Tensor) -> Tensor:
        """The gradient (B, N) with which to go back from the made sound; losses are some of `names`.

        The norm of a loss's gradient is a mean over items. Frees nothing of the graph.
        """
        total = sum(weights[name] for name in losses)
        result = torch.zeros_like(sound)
        for name, loss in losses.items():
            (gradient,) = torch.autograd.grad(loss, sound, retain_graph=True)
            place = self.names.index(name)
            self.norms[place].mul_(self.decay).add_((1 - self.decay) * gradient.flatten(1).norm(dim=1).mean())
            self.seen[place].mul_(self.decay).add_(1 - self.decay)
            average = self.norms[place] / self.seen[place]
            result += weights[name] / total * gradient / (average + 1e-12)
        return result
