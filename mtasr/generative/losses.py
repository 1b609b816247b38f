"""Losses of generators of sound. Letters in shapes: B items, N samples, M mel bins, F frames, K frequencies."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mtasr.generative.discriminators import Judged

Adversarial = Literal["hinge", "least-squares"]

#: Power below which log spectra do not look: that of noise at -100 dB.
_FLOOR = 1e-5
#: Windows of the spectral loss, in samples (Défossez et al. 2022: 2^5 to 2^11).
_WINDOWS = tuple(2**power for power in range(6, 12))


def relative_error(made: Tensor, real: Tensor) -> Tensor:
    """The norm of the difference (B, N) over the norm of the original, a mean over items. 1 for silence.

    Unlike a mean of differences it weighs quiet recordings as loud ones, and it is the loss that finds phases.
    """
    distances: Tensor = (made - real).norm(dim=-1) / real.norm(dim=-1).clamp(min=1e-3)
    return distances.mean()


def spectral_distance(made: Tensor, real: Tensor, rate: int, windows: Sequence[int] = _WINDOWS) -> Tensor:
    """How far mel spectra of sounds (B, N) are apart, L1 of their logarithms, a mean over sizes of windows."""
    distances = [functional.l1_loss(log_mel(made, rate, size), log_mel(real, rate, size)) for size in windows]
    return torch.stack(distances).mean()


def log_mel(audio: Tensor, rate: int, window: int) -> Tensor:
    """Sounds (B, N) -> natural logarithms of mel spectra (B, M, F), a quarter of a window a hop.

    There are 64 bins, fewer where a short window cannot tell so many apart.
    """
    shape = torch.hann_window(window, device=audio.device)
    audio = functional.pad(audio, (0, max(0, window - audio.shape[-1])))
    spectrum = torch.stft(audio, window, window // 4, window=shape / shape.norm(), center=False, return_complex=True)
    # The gradient of an absolute value has no limit at zero, that of this has.
    magnitude = (spectrum.real.square() + spectrum.imag.square() + _FLOOR**2).sqrt()
    return (_mel_filters(rate, window).to(audio.device) @ magnitude).clamp(min=_FLOOR).log()


@functools.cache
def _mel_filters(rate: int, window: int) -> Tensor:
    """Triangles (M, K) on the mel scale of O'Shaughnessy, each with the sum 1, from 0 to half the rate."""
    bins = min(64, window // 8)
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), bins + 2) / 2595) - 1)
    at = torch.linspace(0, rate / 2, window // 2 + 1)
    # A triangle at least as wide as the distance of two frequencies, so that none is empty.
    spacing = rate / window
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (at - middle) / (middle - left).clamp(min=spacing) + 1
    falling = (middle - at) / (right - middle).clamp(min=spacing) + 1
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return triangles / triangles.sum(1, keepdim=True)


def discriminator_loss(real: Sequence[Judged], made: Sequence[Judged], kind: Adversarial) -> Tensor:
    """What a discriminator learns by: a mean over its parts. Hinge (Lim & Ye 2017) or squares (Mao et al. 2017)."""
    losses = []
    for ours, theirs in zip(real, made, strict=True):
        if kind == "hinge":
            losses.append(functional.relu(1 - ours.scores).mean() + functional.relu(1 + theirs.scores).mean())
        else:
            losses.append((1 - ours.scores).square().mean() + theirs.scores.square().mean())
    return torch.stack(losses).mean()


def generator_loss(made: Sequence[Judged], kind: Adversarial) -> Tensor:
    """What a generator learns from a discriminator's scores: a mean over its parts."""
    if kind == "hinge":
        return torch.stack([functional.relu(1 - each.scores).mean() for each in made]).mean()
    return torch.stack([(1 - each.scores).square().mean() for each in made]).mean()


def feature_distance(real: Sequence[Judged], made: Sequence[Judged]) -> Tensor:
    """How differently a discriminator hears real and made sounds: L1 over the mean size of a layer's features.

    A mean over layers and parts (Défossez et al. 2022, equation 2).
    """
    distances = [
        functional.l1_loss(theirs, ours.detach()) / ours.detach().abs().mean().clamp(min=_FLOOR)
        for each, other in zip(real, made, strict=True)
        for ours, theirs in zip(each.features, other.features, strict=True)
    ]
    return torch.stack(distances).mean()


def signal_to_distortion(made: Tensor, real: Tensor) -> Tensor:
    """SI-SNR of sounds (B, N) in dB (B,): `metrics.si_snr` for batches of tensors, and never infinite."""
    made, real = (each - each.mean(-1, keepdim=True) for each in (made, real))
    power = real.square().sum(-1, keepdim=True).clamp(min=1e-8)
    target = (made * real).sum(-1, keepdim=True) / power * real
    ratio = target.square().sum(-1).clamp(min=1e-8) / (made - target).square().sum(-1).clamp(min=1e-8)
    return 10 * ratio.log10()
