"""Recordings of the grammar's sentences, read aloud by espeak-ng: with captions, and with the captions' translation.

DATA/train/es/m1-00.wav  .srt  .en.srt      speech, transcript, translation
DATA/train/nothing/00.wav  .srt             nobody speaks: the captions are empty
DATA/test/...                               sentences and voices that are not in train
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from grammar import LANGUAGES, sentence

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from speech import SAMPLE_RATE, speak, write_wav

Samples = npt.NDArray[np.float32]

#: espeak-ng's variants of each language's voice.
VOICES = (
    "m1", "m2", "m3", "m4", "m5", "m7", "m8", "f1", "f2", "f3", "f5", "Andy", "Annie", "Mario", "linda",
)  # fmt: skip
UNSEEN_VOICES = ("m6", "f4")

#: Of a recording in which nobody speaks.
NOTHING_SECONDS = 30

_ACCENTS = {"en": "en-us", "es": "es", "de": "de"}
#: Of the loudest: what is softer at the ends of a sentence is silence.
_SILENT = 0.02


def make_set(
    folder: Path,
    voices: Sequence[str],
    *,
    recordings: int,
    sentences: int,
    nothing: int,
    held_out: bool,
    seed: int,
    languages: Sequence[str] = LANGUAGES,
) -> None:
    """So many recordings of each voice and language, of so many sentences each, and so many of nothing."""
    for language in languages:
        (folder / language).mkdir(parents=True, exist_ok=True)
        for place, voice in enumerate(voices):
            for number in range(recordings):
                rng = np.random.default_rng([seed, LANGUAGES.index(language), place, number])
                _write_speech(folder / language / f"{voice}-{number:02d}", language, voice, sentences, rng, held_out)
    (folder / "nothing").mkdir(parents=True, exist_ok=True)
    for number in range(nothing):
        path = folder / "nothing" / f"{number:02d}"
        write_wav(path.with_suffix(".wav"), _nothing(np.random.default_rng([seed, 99, number]), number))
        path.with_suffix(".srt").write_text("", encoding="utf-8")


def _write_speech(stem: Path, language: str, voice: str, count: int, rng: np.random.Generator, held_out: bool) -> None:
    pieces = [np.zeros(round(rng.uniform(0.2, 1.0) * SAMPLE_RATE), np.float32)]
    length, captions, translations = pieces[0].size, [], []
    for number in range(count):
        texts = sentence(rng, held_out=held_out)
        spoken = trimmed(
            speak(
                texts[language],
                f"{_ACCENTS[language]}+{voice}",
                words_per_minute=int(rng.integers(140, 200)),
                pitch=int(rng.integers(30, 70)),
            )
        )
        times = (length / SAMPLE_RATE, (length + spoken.size) / SAMPLE_RATE)
        captions.append(_caption(number, times, texts[language]))
        translations.append(_caption(number, times, texts["en"]))
        pause = np.zeros(round(rng.uniform(0.25, 0.9) * SAMPLE_RATE), np.float32)
        pieces += [spoken, pause]
        length += spoken.size + pause.size
    speech = np.concatenate(pieces)
    speech *= rng.uniform(0.1, 0.7) / np.abs(speech).max()
    loudness = np.sqrt(np.square(speech).mean())
    noise = coloured_noise(speech.size, rng) * loudness * 10 ** (-rng.uniform(15, 35) / 20)
    write_wav(stem.with_suffix(".wav"), speech + noise)
    stem.with_suffix(".srt").write_text("\n".join(captions), encoding="utf-8")
    if language != "en":
        stem.with_name(f"{stem.name}.en.srt").write_text("\n".join(translations), encoding="utf-8")


def trimmed(samples: Samples) -> Samples:
    """Without the silence at its ends, so that its times are those of the speech."""
    loud = np.flatnonzero(np.abs(samples) > _SILENT * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def coloured_noise(size: int, rng: np.random.Generator) -> Samples:
    """Noise of power 1 between white and brown."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum /= np.maximum(np.arange(spectrum.size), size / 200) ** rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, size)
    return (noise / np.sqrt(np.square(noise).mean())).astype(np.float32)


def _nothing(rng: np.random.Generator, number: int) -> Samples:
    """Silence, noise, hum of the mains, or tones; in turns."""
    size, kind = NOTHING_SECONDS * SAMPLE_RATE, number % 4
    times, level = np.arange(size) / SAMPLE_RATE, 10 ** rng.uniform(-3.0, -0.7)
    noise = coloured_noise(size, rng)
    if kind == 0:
        return noise * 1e-4
    if kind == 1:
        return noise * level * 0.3
    if kind == 2:
        hum = sum(rng.uniform(0.1, 1) * np.sin(2 * np.pi * 50 * n * times) for n in range(1, 8))
        return (level * (hum / 4 + 0.1 * noise)).astype(np.float32)
    tones = np.zeros(size)
    for start in np.arange(0, NOTHING_SECONDS, 1.5):
        inside = (times >= start) & (times < start + rng.uniform(0.3, 1.4))
        tones += inside * np.sin(2 * np.pi * rng.uniform(200, 3000) * times)
    return (level * (0.5 * tones + 0.05 * noise)).astype(np.float32)


def _caption(number: int, times: tuple[float, float], text: str) -> str:
    start, end = (f"{int(t // 3600):02d}:{int(t // 60) % 60:02d}:{t % 60:06.3f}".replace(".", ",") for t in times)
    return f"{number + 1}\n{start} --> {end}\n{text}\n"
