"""Samples without a header, as some protocols send them: with one they are a recording like any other.

The header is that of a WAV file (Multimedia Programming Interface and Data Specifications 1.0, 1991). It is written
before the samples come, and once more when their number is known.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

#: What stands for a size that is not known yet.
_UNKNOWN = 0xFFFF_FFFF
_PCM = 1
_LAYOUT = struct.Struct("<4sI4s4sIHHIIHH4sI")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFormat:
    """How samples are written: little-endian integers, unsigned if they have one byte, interleaved by channel."""

    #: In hertz.
    rate: int = 16_000
    #: In bytes.
    width: int = 2
    channels: int = 1

    @property
    def frame(self) -> int:
        """Bytes of one sample of each channel."""
        return self.width * self.channels

    @property
    def second(self) -> int:
        """Bytes of a second."""
        return self.frame * self.rate

    def header(self, size: int = _UNKNOWN) -> bytes:
        """The header of a WAV file with so many bytes of samples."""
        whole = min(size + _LAYOUT.size - 8, _UNKNOWN)
        return _LAYOUT.pack(
            *(b"RIFF", whole, b"WAVE"),
            *(b"fmt ", 16, _PCM, self.channels, self.rate, self.second, self.frame, 8 * self.width),
            *(b"data", size),
        )


def complete(path: Path, samples: SampleFormat) -> None:
    """State in the header of a file how many samples follow it. What is less than one sample does not count."""
    size = path.stat().st_size - _LAYOUT.size
    size -= size % samples.frame
    if size + _LAYOUT.size <= _UNKNOWN:
        with path.open("r+b") as file:
            file.write(samples.header(size))
