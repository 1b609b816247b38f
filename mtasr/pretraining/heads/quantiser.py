"""Random projections of features onto random codes: targets for BEST-RQ that nobody has to learn.

Letters in shapes: K features, G codebooks, V codes in each, W width of a code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn


class RandomQuantiser(nn.Module):
    """Each codebook projects a frame and takes the nearest of its codes (Chiu et al. 2022, arXiv:2202.01855).

    Projections are drawn as Xavier has it, codes from N(0, 1), and both sides are normalised to length 1. They are
    buffers: no optimiser, decay or average of weights changes them, and checkpoints have them.
    """

    projections: Tensor
    codes: Tensor

    def __init__(self, features: int, books: int, codes: int, width: int) -> None:
        super().__init__()
        projections = torch.stack([nn.init.xavier_uniform_(torch.empty(features, width)) for _ in range(books)])
        self.register_buffer("projections", projections)  # (G, K, W)
        self.register_buffer("codes", F.normalize(torch.randn(books, codes, width), dim=2))  # (G, V, W)

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Frames (N, K) of mean 0 and deviation 1 -> numbers of codes (N, G), int64.

        Of other means and deviations, most frames would be given the same few codes.
        """
        chosen = []
        with torch.autocast(features.device.type, enabled=False):
            for projection, codes in zip(self.projections, self.codes, strict=True):  # (K, W), (V, W)
                projected = F.normalize(features.float() @ projection, dim=1)
                chosen.append((projected @ codes.T).argmax(dim=1))  # the nearest, as all lengths are 1
        return torch.stack(chosen, dim=1)
