"""Fluent speech with the exact times of its words, for `word_times.py`.

    python benchmarks/fluent_speech.py FOLDER [--languages en,ja] [--rates 140,170,200] [--without-pauses]

Writes FOLDER/LANGUAGE-RATE.wav and FOLDER/manifest.json. espeak-ng tells where each word begins; a word lasts until the
next one begins or the sound stops. espeak-ng takes some words together. Without pauses, silence between words lasts 60
ms at most, and there is noise 20 dB below the speech.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from fluent_texts import TEXTS
from made_speech import Samples, coloured_noise

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from speech import SAMPLE_RATE, speak_words, write_wav

#: espeak-ng's voices, where their names are not the language's code.
VOICES = {"en": "en-us", "zh": "cmn"}
#: One for each rate.
VARIANTS = ("", "+f2", "+m3")

#: Seconds of silence that are left between words.
_PAUSE = 0.06


def spoken_and_written(text: str) -> tuple[str, list[tuple[int, str]]]:
    """The text to read, and what is written for it: (first character of the word in the text to read, word)."""
    read, written, place = [], [], 0
    for item in text.split():
        spoken, _, word = item.partition("|")
        if word and not spoken[-1:].isalnum():
            raise ValueError(f"{item}: marks come after the written word")
        marks = word[len(word.rstrip("。、")) :]
        read.append(spoken + marks)
        written.append((place, word or spoken))
        place += len(read[-1]) + 1
    return " ".join(read), written


def recording(language: str, rate: int, variant: str) -> tuple[Samples, list[dict[str, Any]]]:
    """The language's paragraph, and the segments of a manifest."""
    text, written = spoken_and_written(TEXTS[language])
    samples, words = speak_words(text, VOICES.get(language, language) + variant, words_per_minute=rate)
    segments = []
    # A word of espeak-ng's holds everything that is written up to where its next word begins.
    for word, after in zip(words, [*(word.place for word in words[1:]), len(text)], strict=True):
        own = [part for place, part in written if word.place <= place < after]
        said = "".join(own) if language == "ja" else text[word.place : after].strip()
        segments.append({"start": round(word.start, 4), "end": round(word.end, 4), "text": said})
    return samples, segments


def without_pauses(samples: Samples, segments: list[dict[str, Any]]) -> tuple[Samples, list[dict[str, Any]]]:
    kept, moved, begin, gone = [], [], 0, 0.0
    for word, following in zip_longest(segments, segments[1:]):
        moved.append({**word, "start": round(word["start"] - gone, 4), "end": round(word["end"] - gone, 4)})
        if following and following["start"] - word["end"] > _PAUSE:
            end = round((word["end"] + _PAUSE / 2) * SAMPLE_RATE)
            kept.append(samples[begin:end])
            begin = round((following["start"] - _PAUSE / 2) * SAMPLE_RATE)
            gone += (begin - end) / SAMPLE_RATE
    speech = np.concatenate([*kept, samples[begin:]])
    noise = coloured_noise(speech.size, np.random.default_rng(speech.size))
    return 0.8 * (speech + noise * np.sqrt(np.square(speech).mean()) * 0.1), moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--languages", default=",".join(TEXTS))
    parser.add_argument("--rates", default="140,170,200")
    parser.add_argument("--without-pauses", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for language in arguments.languages.split(","):
        for rate, variant in zip(map(int, arguments.rates.split(",")), VARIANTS, strict=False):
            samples, segments = recording(language, rate, variant)
            if arguments.without_pauses:
                samples, segments = without_pauses(samples, segments)
            name = f"{language}-{rate}.wav"
            write_wav(arguments.folder / name, samples)
            rows.append({"audio": name, "language": language, "segments": segments})
            print(f"{name}: {samples.size / SAMPLE_RATE:.1f} s, {len(segments)} words")
    (arguments.folder / "manifest.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
