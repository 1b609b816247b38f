"""Synthetic speech for tests and examples: sentences of our own, read aloud by espeak-ng."""

from __future__ import annotations

import ctypes
import itertools
import threading
import wave
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import espeakng_loader
import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000

# espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_PARAMETER_WORD_GAP = 7

_PHONEME_EVENTS = 1

_EVENTS_END = 0
_EVENT_WORD = 1
_EVENT_PHONEME = 7


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

#: Below this share of the loudest sound, a stretch of `_STEP` seconds counts as silence.
_SILENCE = 0.01
_STEP = 0.005

# The library has one global voice, so one sentence at a time.
_lock = threading.Lock()


def speak(
    text: str, voice: str = "en-us", *, words_per_minute: int = 150, pitch: int = 50, word_gap: int = 0
) -> npt.NDArray[np.float32]:
    """`text` read by `voice` (such as "fr" or "en-us+f3"): mono float32 at 16 kHz.

    It is the same each time, except for the variants +f2, +f3 and +f5, whose sound differs from one process to another.
    `pitch` runs from 0 to 100; `word_gap` is a pause between words in units of 10 ms.
    """
    return _spoken(text, voice, words_per_minute, pitch, word_gap).copy()


class SpokenWord(NamedTuple):
    """A word of a text read aloud: its first character in the text, and seconds of the sound."""

    place: int
    start: float
    end: float


def speak_words(
    text: str, voice: str = "en-us", *, words_per_minute: int = 150
) -> tuple[npt.NDArray[np.float32], list[SpokenWord]]:
    """`text` read by `voice`, as by `speak`, and its words in order.

    A word ends where the next one begins, or before that with the sound. espeak-ng takes some words together, and in
    Chinese each character for one.
    """
    with _lock:
        espeak = _Espeak.shared()
        samples = espeak.speak(text, voice, words_per_minute, 50, 0)
        begun = [(place, sample / espeak.rate) for place, sample in espeak.words]
    step = round(_STEP * SAMPLE_RATE)
    loudest = np.abs(samples[: samples.size // step * step]).reshape(-1, step).max(axis=1)
    sounds = np.flatnonzero(loudest > _SILENCE * loudest.max()) * _STEP
    words = []
    for (place, start), (_, limit) in itertools.pairwise([*begun, (len(text), samples.size / SAMPLE_RATE)]):
        own = sounds[(sounds > start - _STEP) & (sounds < limit)]
        words.append(SpokenWord(place, max(start, float(own[0])), min(limit, float(own[-1]) + _STEP)))
    return samples, words


class SpokenPhone(NamedTuple):
    """A phone of a text read aloud, by espeak-ng's name for it without its stress, and seconds of the sound."""

    phone: str
    start: float
    end: float


def speak_phones(
    text: str, voice: str = "en-us", *, words_per_minute: int = 150, pitch: int = 50
) -> tuple[npt.NDArray[np.float32], list[SpokenPhone]]:
    """`text` read by `voice`, as by `speak`, and its phones in order, without pauses.

    A phone ends where the next one or a pause begins.
    """
    with _lock:
        espeak = _Espeak.shared()
        samples = espeak.speak(text, voice, words_per_minute, pitch, 0)
        begun = [(phone, sample / espeak.rate) for phone, sample in espeak.phones]
    ends = [*(start for _, start in begun[1:]), samples.size / SAMPLE_RATE]
    return samples, [
        SpokenPhone(phone.lstrip("',"), start, end)
        for (phone, start), end in zip(begun, ends, strict=True)
        if phone.strip("_:") and end > start
    ]


@cache
def _spoken(text: str, voice: str, rate: int, pitch: int, word_gap: int) -> npt.NDArray[np.float32]:
    with _lock:
        return _Espeak.shared().speak(text, voice, rate, pitch, word_gap)


class _Espeak:
    """The C library, which may be initialised only once in a process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, _PHONEME_EVENTS)
        if self.rate <= 0:
            raise RuntimeError(f"espeak_Initialize failed: {self.rate}")
        self._pieces: list[npt.NDArray[np.int16]] = []
        #: Of the text read last: the first character of each word, and the sample at which it begins.
        self.words: list[tuple[int, int]] = []
        #: The same of its phones: the name of each, which is empty or begins with _ for a pause.
        self.phones: list[tuple[str, int]] = []
        self._callback = _CALLBACK(self._collect)  # kept: the library calls it later
        self._library.espeak_SetSynthCallback(self._callback)

    @classmethod
    @cache
    def shared(cls) -> _Espeak:
        return cls()

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in itertools.takewhile(lambda event: event.type != _EVENTS_END, _events_at(events)):
            if event.type == _EVENT_WORD:
                self.words.append((event.text_position - 1, event.sample))
            elif event.type == _EVENT_PHONEME:
                self.phones.append((event.id.decode(), event.sample))
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int, word_gap: int) -> npt.NDArray[np.float32]:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_PARAMETER_RATE, rate), (_PARAMETER_PITCH, pitch), (_PARAMETER_WORD_GAP, word_gap)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        self.words.clear()
        self.phones.clear()
        encoded = text.encode()
        status = self._library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        if status != 0:
            raise RuntimeError(f"espeak_Synth failed: {status}")
        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)
        return resample(samples.astype(np.float64) / 32768.0, self.rate, SAMPLE_RATE).astype(np.float32)


def _events_at(address: int | None) -> Iterator[_Event]:
    """The events of an array that begins there; whoever reads them stops at its end."""
    if address:
        array = ctypes.cast(address, ctypes.POINTER(_Event))
        yield from map(array.__getitem__, itertools.count())


def resample(samples: npt.NDArray[np.float64], rate: int, new_rate: int) -> npt.NDArray[np.float64]:
    """The whole signal through one FFT: an ideal low-pass filter, which is exact and fast enough for seconds.

    The signal is padded with silence to a length that both rates divide into, so the result starts in step.
    """
    if not samples.size:
        return samples
    seconds = -(-samples.size // rate) + 1
    spectrum = np.fft.rfft(samples, seconds * rate)
    spectrum = spectrum[: seconds * new_rate // 2 + 1]
    resampled = np.fft.irfft(spectrum, seconds * new_rate) * (new_rate / rate)
    return resampled[: round(samples.size * new_rate / rate)]


def write_wav(path: Path, samples: npt.NDArray[np.float32]) -> None:
    """Mono at 16 kHz, in 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
