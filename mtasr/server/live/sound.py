"""Sound as it comes over a socket, as samples of 16 kHz: bytes are decoded and resampled block by block.

Resampling is polyphase filtering with a windowed sinc (Crochiere and Rabiner, Multirate Digital Signal Processing,
1983). The blocks make no difference: cut anywhere, the sound gives the same samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE

#: What sound may be encoded as, with the bytes of a sample.
ENCODINGS = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}
#: The sample rates, in hertz.
RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)

#: What a step of 16 bits is worth.
_STEP = np.float32(1 / 32768)

#: Zero crossings of the sinc on each side, and the shape of the Kaiser window: 90 dB of attenuation.
_CROSSINGS = 48
_KAISER = 9.0
#: The end of the pass band, as a part of the lower of the two Nyquist frequencies.
_PASS = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSound:
    """How the sound of a live session comes: one channel, `encoding` of `ENCODINGS`, `rate` of `RATES`."""

    encoding: str = "pcm_s16le"
    rate: int = SAMPLE_RATE

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return ENCODINGS[self.encoding]

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
        self._resampler = Resampler(sound.rate) if sound.rate != SAMPLE_RATE else None

    def add(self, data: bytes) -> Float32Array:
        """The samples that these bytes complete: a whole number of samples goes in, shape (n,) comes out."""
        samples = self._sound.decoded(data)
        return samples if self._resampler is None else self._resampler.add(samples)

    def rest(self) -> Float32Array:
        """The samples that were held back for what might follow; nothing may be added afterwards."""
        return np.zeros(0, np.float32) if self._resampler is None else self._resampler.rest()


class Resampler:
    """Resamples blocks of one sound to 16 kHz, without a trace of where they meet.

    Output sample n stands for the moment of input sample n * rate / 16000. A few milliseconds are held back until what
    follows is known.
    """

    def __init__(self, rate: int) -> None:
        """`rate` is the sample rate of the input, in hertz."""
        common = math.gcd(rate, SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // common, rate // common
        self._taps = _taps(self._up, self._down)
        self._reach = self._taps.shape[1] // 2
        #: The input that later outputs need; begins at input sample `_first`.
        self._held = np.zeros(self._reach, np.float32)
        self._first = -self._reach
        self._received = self._made = 0

    def add(self, samples: Float32Array) -> Float32Array:
        """The next samples of the output; the sum of all is as long as the input."""
        self._received += len(samples)
        return self._resampled(samples, self._received - self._reach)

    def rest(self) -> Float32Array:
        """The last samples of the output, made as if silence followed."""
        return self._resampled(np.zeros(self._reach, np.float32), self._received)

    def _resampled(self, samples: Float32Array, end: int) -> Float32Array:
        """The outputs before the moment of input sample `end`."""
        held = np.concatenate([self._held, samples])
        numbers = np.arange(self._made, max(self._made, -(-end * self._up // self._down)))
        bases, phases = np.divmod(numbers * self._down, self._up)
        self._made += len(numbers)
        if not len(numbers):
            self._held = held
            return np.zeros(0, np.float32)
        windows = sliding_window_view(held, 2 * self._reach + 1)[bases - self._reach - self._first]
        made: Float32Array = np.einsum("nk,nk->n", windows, self._taps[phases])
        kept = self._made * self._down // self._up - self._reach
        self._held, self._first = held[kept - self._first :].copy(), kept
        return made


@cache
def _taps(up: int, down: int) -> Float32Array:
    """The filter by phase, shape (up, 2 * reach + 1): what each input sample around an output counts for it."""
    wider = max(up, down)
    centre = _CROSSINGS * wider
    offsets = np.arange(-centre, centre + 1)
    sinc = np.sinc(offsets * _PASS / wider) * np.kaiser(2 * centre + 1, _KAISER) * _PASS * up / wider
    reach = centre // up + 1
    # Input sample base + j lies at j * up - phase, counted in steps of 1 / up of an input sample.
    places = np.arange(-reach, reach + 1)[None, :] * up - np.arange(up)[:, None]
    inside = np.abs(places) <= centre
    return np.where(inside, sinc[np.clip(places, -centre, centre) + centre], 0.0).astype(np.float32)
