"""Sound as it comes over a socket, as samples of 16 kHz: bytes are decoded and resampled block by block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.resample import Resampler
from mtasr.spans import SAMPLE_RATE

#: What sound may be encoded as, with the bytes of a sample.
ENCODINGS = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}
#: The sample rates, in hertz.
RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)

#: What a step of 16 bits is worth.
_STEP = np.float32(1 / 32768)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSound:
    """How the sound of a live session comes: one channel, `encoding` of `ENCODINGS`, `rate` of `RATES`."""

    encoding: str = "pcm_s16le"
    rate: int = SAMPLE_RATE

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return ENCODINGS[self.encoding]

    def seconds(self, data: bytes) -> float:
        """How long the sound in these bytes lasts."""
        return len(data) / (self.width * self.rate)

    def decoded(self, data: bytes) -> Float32Array:
        """The samples of whole bytes, from -1 to 1, shape (n,)."""
        if self.encoding == "pcm_s16le":
            return np.frombuffer(data, "<i2").astype(np.float32) * _STEP
        if self.encoding == "pcm_f32le":
            return np.frombuffer(data, "<f4").astype(np.float32)
        table = _mu_law() if self.encoding == "mulaw" else _a_law()
        return table[np.frombuffer(data, np.uint8)]


@cache
def _mu_law() -> Float32Array:
    """The sample that each byte means (ITU-T G.711, table 2a)."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    size = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.float32) * _STEP


@cache
def _a_law() -> Float32Array:
    """The sample that each byte means (ITU-T G.711, table 1a)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    step = (mantissa << 4) + 8
    size = np.where(exponent == 0, step, (step + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.float32) * _STEP


class SoundReader:
    """Turns the bytes of a sound into samples of 16 kHz as they come."""

    def __init__(self, sound: LiveSound) -> None:
        self._sound = sound
        self._resampler = Resampler(sound.rate)

    def add(self, data: bytes) -> Float32Array:
        """The samples that these bytes complete: a whole number of samples goes in, shape (n,) comes out."""
        return self._resampler.push(self._sound.decoded(data))

    def rest(self) -> Float32Array:
        """The samples that were held back for what might follow; nothing may be added afterwards."""
        return self._resampler.finish()
