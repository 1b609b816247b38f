"""The recogniser's own encoder as a `SpeechEncoder`, with the features it hears, and without the decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtasr.errors import ModelError
from mtasr.features import HOP_LENGTH
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.log_mel import LogMel
from mtasr.networks.whisper import Encoder, Whisper
from mtasr.spans import SAMPLE_RATE


class WhisperEncoder(nn.Module):
    """Hears audio of any length up to its context, 30 s as published, and pads nothing.

    Raises `ModelError` for impossible dimensions, and for audio that is too long or too short.

    Letters in shapes:

        B  rows of a batch          M  mel bins
        N  samples at 16 kHz        F  feature frames of 10 ms, N // 160
        D  width                    S  states of 20 ms, F / 2 rounded up
        L  layers
    """

    def __init__(self, dims: EncoderDimensions, name: str = "whisper") -> None:
        super().__init__()
        if problems := dims.problems():
            raise ModelError(f"no encoder can have these dimensions: {'; '.join(problems)}")
        self.dims, self.name = dims, name
        self.width, self.layers = dims.n_audio_state, dims.n_audio_layer
        self.frame_seconds = 2 * HOP_LENGTH / SAMPLE_RATE
        self.offset_seconds = 0.0
        self.longest_seconds = dims.n_audio_ctx * self.frame_seconds
        #: (B, N) -> (B, M, F)
        self.mel = LogMel(dims.n_mels)
        self.encoder = Encoder(dims)

    @classmethod
    def of(cls, model: Whisper, name: str = "whisper") -> WhisperEncoder:
        """The encoder of a model, whose weights it shares."""
        with torch.device("meta"):
            made = cls(model.dims.encoder, name)
        made.encoder = model.encoder
        made.mel = LogMel(model.dims.n_mels).to(model.device)
        return made.train(model.training)

    def frames(self, samples: int) -> int:
        """S for N samples."""
        return -(-(samples // HOP_LENGTH) // 2)

    def contextualised(self, mel: Tensor) -> list[Tensor]:
        """Features (B, M, F) -> L + 1 states (B, S, D): the input of each block, then the output after the norm."""
        if mel.shape[2] > (most := 2 * self.dims.n_audio_ctx):
            raise ModelError(
                f"{mel.shape[2] / 100:.1f} s of audio exceed the {most / 100:.1f} s that the encoder {self.name} hears"
            )
        return self.encoder.states(mel)

    def depths(self) -> dict[nn.Parameter, int]:
        """As `mtasr.networks.depths` has them."""
        return self.encoder.depths()

    def states(self, audio: Tensor) -> list[Tensor]:
        """Audio (B, N) in -1..1, all rows of one length -> L + 1 states (B, S, D), as `SpeechEncoder` says."""
        return self.contextualised(self.mel(audio))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """`states`, so that hooks and wrappers of modules work."""
        return self.states(audio)
