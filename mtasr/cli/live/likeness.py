"""What bytes look like that are read as 16-bit mono samples and may be something else."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

#: Bytes that are looked at: two seconds at 16 kHz. Fewer tell less than samples do by chance.
MOST, _LEAST = 1 << 16, 1 << 13
#: What `likeness` calls a stream that can be read as such.
STREAM = "a stream of MP3, AAC or MPEG"
#: Bytes of text, all of them printable. Samples in that range are all loud, and none is negative.
_TEXT = 32
_PRINTABLE = np.isin(np.arange(256), np.frombuffer(string.printable.encode(), np.uint8))
#: Numbers between these are samples if floating-point ones were meant; those of other kinds are a hundred times as
#: often smaller or larger.
_SOFTEST, _LOUDEST, _MOSTLY = 1e-8, 2.0, 0.99
#: Even and odd samples of one channel are equally loud, and as near to the next sample as to the one before, or differ
#: by less than this factor. Those of two channels seldom are.
_ALIKE = 2.0
#: The correlation of a sample with the next in sound, and in what is no sound.
_SMOOTH, _ROUGH = 0.7, 0.2
#: Frames in a row that make MP3 or AAC, and bytes in which they are looked for.
_FRAMES, _SEARCHED = 4, 1 << 13
_TS_PACKET = 188


def is_text(data: bytes) -> bool:
    """Whether the bytes are text rather than samples; False for few."""
    return len(data) >= _TEXT and bool(_PRINTABLE[np.frombuffer(data, np.uint8)].all())


def likeness(data: bytes) -> str | None:
    """What bytes look like rather than 16-bit mono samples, None if nothing speaks against these."""
    data = data[:MOST]
    if len(data) < _LEAST:
        return None
    if _is_streamed(data):
        return STREAM
    samples = np.frombuffer(data[: len(data) // 4 * 4], "<i2").astype(np.float64)
    kinds: dict[str, Callable[[], bool]] = {
        "32-bit floating-point samples": lambda: _are_floats(data),
        "big-endian samples": lambda: _are_swapped(samples),
        "samples of two channels, or of 32 bits": lambda: _alternate(samples),
    }
    return next((kind for kind, fits in kinds.items() if fits()), None) if samples.any() else None


def _are_floats(data: bytes) -> bool:
    with np.errstate(invalid="ignore"):
        values = np.abs(np.frombuffer(data[: len(data) // 4 * 4], "<f4"))
        sounding = values[values != 0]
        fitting = (sounding > _SOFTEST) & (sounding < _LOUDEST)
    return len(sounding) > len(values) / 10 and bool(fitting.mean() > _MOSTLY)


def _are_swapped(samples: NDArray[np.float64]) -> bool:
    """Whether neighbours are alike with the bytes of each exchanged, and not as they are."""
    swapped = samples.astype("<i2").view(">i2").astype(np.float64)
    return _correlation(samples) < _ROUGH and _correlation(swapped) > _SMOOTH


def _correlation(samples: NDArray[np.float64]) -> float:
    """Of samples with the next ones."""
    power = float(np.square(samples).mean())
    return float((samples[1:] * samples[:-1]).mean()) / power if power else 0.0


def _alternate(samples: NDArray[np.float64]) -> bool:
    """Whether even samples and odd ones are of two kinds."""
    even, odd = samples[::2], samples[1::2]
    return _differ(np.square(even).mean(), np.square(odd).mean()) or _differ(
        np.square(even - odd).mean(), np.square(odd[:-1] - even[1:]).mean()
    )


def _differ(one: float, other: float) -> bool:
    return max(one, other) > _ALIKE * min(one, other)


def _is_streamed(data: bytes) -> bool:
    """Whether frames of MP3 or AAC (ADTS), or packets of MPEG-TS follow each other: such a stream has no beginning."""
    for start in range(_TS_PACKET):
        if all(data[start + count * _TS_PACKET] == 0x47 for count in range(10)):
            return True
    return any(_frames_from(data, start) == _FRAMES for start in _syncs(data[:_SEARCHED]))


def _syncs(data: bytes) -> Iterator[int]:
    place = data.find(b"\xff")
    while place >= 0:
        yield place
        place = data.find(b"\xff", place + 1)


def _frames_from(data: bytes, place: int) -> int:
    """How many frames of one kind follow each other from a place on, up to `_FRAMES`."""
    kind = data[place + 1 : place + 2]
    for count in range(_FRAMES):
        header = data[place : place + 7]
        length = _frame_length(header) if len(header) == 7 and header[1:2] == kind else None
        if length is None:
            return count
        place += length
    return _FRAMES


#: Of MPEG-1 and of the later ones, layer III: kbit/s by the number in the header.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
#: Samples a second of MPEG-1; MPEG-2 has half, MPEG-2.5 a quarter of them.
_SAMPLE_RATES = (44100, 48000, 32000)


def _frame_length(header: bytes) -> int | None:
    """Bytes of a frame of MP3 (ISO 11172-3, 2.4.2.3) or of ADTS (ISO 13818-7, 6.2), None if no frame begins so."""
    if header[0] != 0xFF:
        return None
    if header[1] & 0xF6 == 0xF0:
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        return length if length > 7 else None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    rate, frequency, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if header[1] & 0xE0 != 0xE0 or version == 1 or layer != 1 or frequency == 3:
        return None
    bits = 1000 * (_RATES_1 if version == 3 else _RATES_2)[rate]
    hertz = _SAMPLE_RATES[frequency] // {3: 1, 2: 2, 0: 4}[version]
    return (144 if version == 3 else 72) * bits // hertz + padding if bits else None
