"""Networks that tell recordings from made sound, for codecs and vocoders.

Each returns a list of `Judged`, one from each of its parts: scores of any shape, higher for what sounds real, and what
its layers made of the sound. Letters in shapes: B items, N samples, F frames, K frequencies.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class Judged(NamedTuple):
    """What one part of a discriminator says of a batch of sounds."""

    scores: Tensor
    features: list[Tensor]


class Discriminator(nn.Module):
    """Parts that all hear the same sounds (B, N)."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, audio: Tensor) -> list[Judged]:
        return [part(audio) for part in self.parts]


class StftPart(nn.Module):
    """Convolutions over the complex spectrum (Défossez et al. 2022, section 3.4), a quarter of a window a hop."""

    window: Tensor

    def __init__(self, window: int, filters: int = 32) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        convolutions = [nn.Conv2d(2, filters, (3, 9), padding=(1, 4))]
        convolutions += [
            nn.Conv2d(filters, filters, (3, 9), (1, 2), padding=(dilation, 4), dilation=(dilation, 1))
            for dilation in (1, 2, 4)
        ]
        convolutions.append(nn.Conv2d(filters, filters, 3, padding=1))
        self.convolutions = nn.ModuleList(map(parametrizations.weight_norm, convolutions))
        self.last = parametrizations.weight_norm(nn.Conv2d(filters, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> Judged:
        size = len(self.window)
        audio = functional.pad(audio, (0, max(0, size - audio.shape[-1])))
        # With normalised windows, spectra of different sizes have values of one order.
        spectrum = torch.stft(
            audio, size, size // 4, window=self.window / self.window.norm(), center=False, return_complex=True
        )
        x = torch.stack([spectrum.real, spectrum.imag], 1).transpose(2, 3)  # (B, 2, F, K)
        return _judged(x, self.convolutions, self.last, slope=0.2)


class PeriodPart(nn.Module):
    """Convolutions over every p-th sample (Kong et al. 2020, HiFi-GAN, arXiv:2010.05646, appendix B)."""

    def __init__(self, period: int, channels: Sequence[int] = (32, 128, 512, 1024)) -> None:
        super().__init__()
        self.period = period
        sizes = [1, *channels]
        convolutions = [
            nn.Conv2d(before, after, (5, 1), (3, 1), padding=(2, 0)) for before, after in itertools.pairwise(sizes)
        ]
        convolutions.append(nn.Conv2d(sizes[-1], sizes[-1], (5, 1), padding=(2, 0)))
        self.convolutions = nn.ModuleList(map(parametrizations.weight_norm, convolutions))
        self.last = parametrizations.weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> Judged:
        return _judged(self.folded(audio), self.convolutions, self.last, slope=0.1)

    def folded(self, audio: Tensor) -> Tensor:
        """(B, N) -> (B, 1, N / p, p): sample n stands in row n // p and column n % p; the end is mirrored."""
        lacking = -audio.shape[-1] % self.period
        audio = functional.pad(audio[:, None], (0, lacking), mode="reflect") if lacking else audio[:, None]
        return audio.view(len(audio), 1, -1, self.period)


class ScalePart(nn.Module):
    """Grouped convolutions over the waveform, averaged down by 2^`halvings` (Kumar et al. 2019, MelGAN; HiFi-GAN).

    The first of HiFi-GAN's three has spectral norms.
    """

    def __init__(self, halvings: int, *, spectral: bool = False, width: int = 128) -> None:
        super().__init__()
        self.halvings = halvings
        norm = parametrizations.spectral_norm if spectral else parametrizations.weight_norm
        last = 8 * width
        #: Inputs, outputs, kernel, stride, groups.
        table = (
            (1, width, 15, 1, 1), (width, width, 41, 2, 4), (width, 2 * width, 41, 2, 16),
            (2 * width, 4 * width, 41, 4, 16), (4 * width, last, 41, 4, 16), (last, last, 41, 1, 16),
            (last, last, 5, 1, 1),
        )  # fmt: skip
        self.convolutions = nn.ModuleList(
            norm(nn.Conv1d(inputs, outputs, kernel, stride, groups=groups, padding=kernel // 2))
            for inputs, outputs, kernel, stride, groups in table
        )
        self.last = norm(nn.Conv1d(last, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> Judged:
        x = audio[:, None]
        for _ in range(self.halvings):
            x = functional.avg_pool1d(x, 4, 2, padding=2)
        return _judged(x, self.convolutions, self.last, slope=0.1)


def stft_discriminator(windows: Sequence[int] = (2048, 1024, 512, 256, 128), filters: int = 32) -> Discriminator:
    """That of EnCodec."""
    return Discriminator([StftPart(window, filters) for window in windows])


def hifi_gan_discriminator() -> Discriminator:
    """That of HiFi-GAN: five periods and three scales."""
    periods: list[nn.Module] = [PeriodPart(period) for period in (2, 3, 5, 7, 11)]
    return Discriminator([*periods, *(ScalePart(halvings, spectral=not halvings) for halvings in range(3))])


def _judged(x: Tensor, convolutions: nn.ModuleList, last: nn.Module, *, slope: float) -> Judged:
    features = []
    for convolution in convolutions:
        x = functional.leaky_relu(convolution(x), slope)
        features.append(x)
    x = last(x)
    return Judged(x.flatten(1), features)
