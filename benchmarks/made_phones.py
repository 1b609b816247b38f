"""Speech for pre-training and probes: sentences and made-up words, read aloud by espeak-ng in several languages.

    FOLDER/*.wav                 about half a minute each, without texts
    FOLDER/labels.jsonl          a sentence each, with its phones and their times, for `mtasr probe --task phones`

Half of the sentences are those of the grammar where it has the language. The others are rows of made-up words, so that
a network cannot know the phones from the words.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from grammar import LANGUAGES, sentence
from made_speech import coloured_noise, trimmed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from speech import SAMPLE_RATE, speak, speak_phones, write_wav

Samples = npt.NDArray[np.float32]

_ACCENTS = {"en": "en-us", "es": "es", "de": "de", "it": "it", "fr": "fr"}
_BEGINNINGS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "br", "fl", "gr", "pl", "st", "tr", "")
_MIDDLES = ("a", "e", "i", "o", "u", "ai", "au", "ie")
_ENDS = ("", "", "", "n", "r", "s", "l", "t", "m", "k", "nd", "st")
#: Seconds of a recording without texts.
_LENGTH = 30.0


def made_up(rng: np.random.Generator) -> str:
    """Four to eight words that no language has."""

    def pick(parts: Sequence[str]) -> str:
        return parts[int(rng.integers(len(parts)))]

    def word() -> str:
        return "".join(pick(_BEGINNINGS) + pick(_MIDDLES) + pick(_ENDS) for _ in range(int(rng.integers(1, 4))))

    return " ".join(word() for _ in range(int(rng.integers(4, 9)))) + "."


def text(language: str, rng: np.random.Generator, *, held_out: bool) -> str:
    if language in LANGUAGES and rng.random() < 0.5:
        return sentence(rng, held_out=held_out)[language]
    return made_up(rng)  # which never comes twice


def _voice(language: str, voice: str, rng: np.random.Generator) -> dict[str, object]:
    return {
        "voice": f"{_ACCENTS[language]}+{voice}",
        "words_per_minute": int(rng.integers(140, 200)),
        "pitch": int(rng.integers(30, 70)),
    }


def _recorded(speech: Samples, rng: np.random.Generator) -> Samples:
    """At another level, with noise 15 to 35 dB below it."""
    speech = speech * (rng.uniform(0.1, 0.7) / np.abs(speech).max())
    loudness = np.sqrt(np.square(speech).mean())
    noise = coloured_noise(speech.size, rng) * loudness * 10 ** (-rng.uniform(15, 35) / 20)
    return (speech + noise).astype(np.float32)


def make_recordings(folder: Path, language: str, voices: Sequence[str], hours: float, seed: int) -> Path:
    """Recordings without texts, so many hours of them. Does nothing if they are there."""
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(max(len(voices), round(hours * 3600 / _LENGTH))):
        rng = np.random.default_rng([seed, *language.encode(), number])
        pieces: list[Samples] = []
        while sum(piece.size for piece in pieces) < _LENGTH * SAMPLE_RATE:
            said = text(language, rng, held_out=False)
            spoken = speak(said, **_voice(language, voices[number % len(voices)], rng))  # type: ignore[arg-type]
            pieces += [trimmed(spoken), np.zeros(round(rng.uniform(0.1, 0.7) * SAMPLE_RATE), np.float32)]
        write_wav(folder / f"{language}-{number:04}.wav", _recorded(np.concatenate(pieces), rng))
    (folder / "done").touch()
    return folder


def make_labels(
    folder: Path,
    language: str,
    voices: dict[str, Sequence[str]],
    counts: dict[str, int],
    seed: int,
    *,
    mixed: bool = False,
) -> Path:
    """A file of labels of so many sentences in each split, read by other voices in each.

    With `mixed`, another sentence is as loud as the one that counts, in the test split. Does nothing if it is there.
    """
    path = folder / "labels.jsonl"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for part, split in enumerate(voices):
        for number in range(counts[split]):
            rng = np.random.default_rng([seed, *language.encode(), part, number])
            voice = voices[split][number % len(voices[split])]
            said = text(language, rng, held_out=split == "test")
            speech, phones = speak_phones(said, **_voice(language, voice, rng))  # type: ignore[arg-type]
            if mixed and split == "test":
                other = speak(text(language, rng, held_out=True), **_voice(language, voice, rng))  # type: ignore[arg-type]
                other = np.resize(other, speech.size)
                speech = speech + other * np.sqrt(np.square(speech).mean() / np.square(other).mean())
            name = f"{split}-{number:04}.wav"
            write_wav(folder / name, _recorded(speech, rng))
            timed = [[each.phone, round(each.start, 4), round(each.end, 4)] for each in phones]
            rows.append({"audio": name, "split": split, "phones": timed})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path
