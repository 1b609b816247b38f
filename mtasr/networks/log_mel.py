"""Log-mel features in torch: those of `mtasr.features`, for batches, on any device, and with gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtasr.errors import ModelError
from mtasr.features import HOP_LENGTH, N_FFT, mel_filters
from mtasr.spans import SAMPLE_RATE


class LogMel(nn.Module):
    """The front end of Whisper, without weights: (B, N) samples at 16 kHz -> (B, M, F) with F = N // 160.

    Each row has its own floor, below its loudest value. Raises `ModelError` for less than a window of audio (25 ms).
    """

    window: Tensor
    filters: Tensor

    def __init__(self, n_mels: int = 80) -> None:
        super().__init__()
        self.n_mels = n_mels
        # Not in the state: they are the same in every model.
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("filters", torch.tensor(mel_filters(n_mels)), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        if audio.ndim != 2 or audio.shape[1] < N_FFT:
            raise ModelError(f"audio of the shape {tuple(audio.shape)} gives no features; wanted (batch, samples)")
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(audio.float(), N_FFT, HOP_LENGTH, window=self.window, return_complex=True)
            parts = torch.view_as_real(spectrum[:, :, : audio.shape[1] // HOP_LENGTH])  # (B, 201, F, 2)
            power = parts.square().sum(dim=3)
            mel = (self.filters @ power).clamp(min=1e-10).log10()
            floor = mel.amax(dim=(1, 2), keepdim=True) - 8
            return (torch.maximum(mel, floor) + 4) / 4


class LogMelEncoder(nn.Module):
    """Log-mel features as a `SpeechEncoder` without layers: what an encoder must beat.

    Two frames of 10 ms are one frame of 20 ms, side by side, as other encoders have frames of 20 ms.
    """

    def __init__(self, n_mels: int = 80) -> None:
        super().__init__()
        self.name, self.layers, self.width = "log-mel", 0, 2 * n_mels
        self.frame_seconds = 2 * HOP_LENGTH / SAMPLE_RATE
        # The first frame of 10 ms has its middle at sample 0.
        self.offset_seconds = HOP_LENGTH / 2 / SAMPLE_RATE
        self.mel = LogMel(n_mels)

    def states(self, audio: Tensor) -> list[Tensor]:
        """(B, N) -> one tensor (B, S, 2 M) with S = N // 320. Raises `ModelError` for less than 25 ms."""
        mel: Tensor = self.mel(audio)
        pairs = mel.shape[2] // 2
        return [mel[:, :, : 2 * pairs].transpose(1, 2).reshape(len(mel), pairs, self.width)]

    def forward(self, audio: Tensor) -> list[Tensor]:
        """`states`, so that hooks and wrappers of modules work."""
        return self.states(audio)
