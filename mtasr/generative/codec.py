"""A neural codec: SEANet around residual vector quantisation, as EnCodec (Défossez et al. 2022, arXiv:2210.13438).

Letters in shapes: B items, N samples, S frames, Q books.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mtasr.arrays import Float32Array, IntArray
from mtasr.errors import UsageError
from mtasr.generative.rvq import ResidualQuantiser
from mtasr.generative.seanet import SeanetConfig, SeanetDecoder, SeanetEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecConfig:
    """The defaults are those of EnCodec at 24 kHz: 75 frames a second, 32 books of 10 bits, 24 kbit/s."""

    rate: int = 24_000
    seanet: SeanetConfig = field(default_factory=SeanetConfig)
    books: int = 32
    entries: int = 1024

    @property
    def frame_rate(self) -> float:
        """Frames of a second."""
        return self.rate / self.seanet.hop

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return max(1, (self.entries - 1).bit_length())

    def frames(self, samples: int) -> int:
        return -(-samples // self.seanet.hop)

    def kilobits(self, books: int) -> float:
        """Thousands of bits a second that so many books take."""
        return books * self.bits * self.frame_rate / 1000

    def books_for(self, kilobits: float) -> int:
        """The most books that this bandwidth has room for. Raises `UsageError` for one that has room for none."""
        books = math.floor(kilobits / self.kilobits(1) + 1e-9)
        if books < 1 or kilobits > self.kilobits(self.books) * (1 + 1e-9):
            raise UsageError(
                f"this codec has {self.kilobits(1):g} to {self.kilobits(self.books):g} kbit/s, not {kilobits:g}"
            )
        return books


_TINY = SeanetConfig(filters=16, recurrent_layers=1, padding="constant")

#: At 16 kHz, 50 frames a second. `tiny` has 8 books of 8 bits (3.2 kbit/s) and suits two cores.
CODEC_PRESETS = {
    "tiny": CodecConfig(rate=16_000, seanet=_TINY, books=8, entries=256),
    "speech-16khz": CodecConfig(rate=16_000, books=12),
    "encodec-24khz": CodecConfig(),
}


class Codec(nn.Module):
    """Sound -> codes -> sound. `name` and `digest` say in files which codec made them."""

    def __init__(self, config: CodecConfig, name: str = "", digest: str = "") -> None:
        super().__init__()
        self.config, self.name, self.digest = config, name, digest
        self.encoder = SeanetEncoder(config.seanet)
        self.quantizer = ResidualQuantiser(config.books, config.entries, config.seanet.dimension)
        self.decoder = SeanetDecoder(config.seanet)

    @torch.no_grad()
    def encode(self, audio: Tensor, books: int | None = None) -> Tensor:
        """Samples (B, N) at `config.rate` in [-1, 1] -> codes (B, Q, S) of the first `books` books, by default all."""
        if not 1 <= (books := self.config.books if books is None else books) <= self.config.books:
            raise UsageError(f"this codec has 1 to {self.config.books} books, not {books}")
        return self.quantizer.encode(self.encoder(audio[:, None]), books)

    @torch.no_grad()
    def decode(self, codes: Tensor, samples: int | None = None) -> Tensor:
        """Codes (B, Q, S) of the first Q books -> samples (B, N), as many as asked for or those of whole frames."""
        audio: Tensor = self.decoder(self.quantizer.decode(codes))
        return audio[:, 0, :samples]

    def codes_of(self, samples: Float32Array, books: int | None = None) -> IntArray:
        """`encode` for one recording as an array: samples (N,) -> codes (Q, S)."""
        codes: IntArray = self.encode(torch.from_numpy(samples)[None], books)[0].numpy()
        return codes

    def sound_of(self, codes: IntArray, samples: int | None = None) -> Float32Array:
        """`decode` for one recording as an array: codes (Q, S) -> samples (N,) in [-1, 1]."""
        sound: Float32Array = self.decode(torch.from_numpy(codes.copy())[None], samples)[0].clamp(-1, 1).numpy()
        return sound
