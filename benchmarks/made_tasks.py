"""Labelled speech for `mtasr probe`, a file of labels for each task, read aloud by espeak-ng.

    FOLDER/words/labels.jsonl       rows of made-up words: phones, phones-ctc
    FOLDER/commands/labels.jsonl    commands to a house: characters, intent, slots
    FOLDER/keyword/...              single words
    FOLDER/search/...               sentences and examples of words in them
    FOLDER/speaker/...              half a second of made-up words, by voices that training has
    FOLDER/verification/...         a second of them, in pairs, by voices that training has not
    FOLDER/diarization/...          two voices that take turns and overlap
    FOLDER/prosody/...              the same made-up words as a statement, as a question and with more to come
    FOLDER/language/...             the same made-up words by the rules of four languages

What would give an answer away is drawn at random: level, rate, pitch, and noise of a random colour. Dev and test have
voices of their own, except where the task is to know a voice. A synthetic voice is always the same vocal tract, and so
simpler to know than a person; noise and short clips make it harder, and nothing makes it a person. There is no emotion:
prosody is what espeak-ng makes of a full stop, a question mark and a comma.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from grammar import sentence
from made_phones import made_up
from made_speech import coloured_noise, trimmed
from speech import SAMPLE_RATE, speak, speak_phones, write_wav

Samples = npt.NDArray[np.float32]
#: A clip, and the fields of its label.
Made = tuple[Samples, dict[str, Any]]

#: Variants of voices whose sound is the same in every process.
_TRAIN = ("m1", "m2", "m3", "m5", "m7", "m8", "f1", "Andy", "Annie", "Mario", "linda", "belinda")
_VOICES = {"train": _TRAIN, "dev": ("m4", "steph"), "test": ("m6", "f4", "edward", "anika")}
#: For verification, which needs more voices of which it knows nothing.
_PAIRED = {"dev": ("m4", "steph", "pedro", "grandma"), "test": ("m6", "f4", "edward", "anika", "Alex", "aunty")}
_ACCENTS = ("en-us", "es", "de", "fr")

_KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "seven", "nine")
_ACTIONS = {"switch on": "on", "turn off": "off", "brighten": "up", "dim": "down"}
_THINGS = ("lamp", "heating", "radio", "fan", "screen", "kettle")
_ROOMS = ("kitchen", "bedroom", "hall", "garage", "office", "attic")
#: Words of the grammar that are searched for.
_QUERIES = {
    "dev": ("doctor", "teacher", "garden", "bicycle", "letter", "station"),
    "test": ("farmer", "painter", "kitchen", "picture", "flower", "river", "baker", "market"),
}
_MARKS = {"statement": ".", "question": "?", "more to come": ","}

#: Clips of each split.
_COUNTS = {
    "words": (120, 24, 60), "commands": (240, 40, 80), "keyword": (180, 48, 96), "search": (0, 24, 48),
    "speaker": (240, 60, 120), "verification": (144, 60, 120), "diarization": (60, 16, 24),
    "prosody": (180, 48, 96), "language": (160, 48, 96),
}  # fmt: skip
SETS = tuple(_COUNTS)


def make(folder: Path, name: str, part: float, seed: int = 11) -> Path:
    """The labels of a set, with `part` of its clips. Does nothing if they are there."""
    path = folder / name / "labels.jsonl"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for place, (split, full) in enumerate(zip(("train", "dev", "test"), _COUNTS[name], strict=True)):
        count = max(24, round(full * part)) if full else 0
        rng = np.random.default_rng([seed, SETS.index(name), place])
        for number, (samples, fields) in enumerate(_MAKERS[name](split, count, rng)):
            file = f"{split}-{number:04}.wav"
            write_wav(path.parent / file, samples)
            rows.append({"audio": file, "split": split} | fields)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def _style(rng: np.random.Generator, voice: str, accent: str = "en-us") -> dict[str, Any]:
    rate, pitch = int(rng.integers(140, 200)), int(rng.integers(25, 76))
    return {"voice": f"{accent}+{voice}", "words_per_minute": rate, "pitch": pitch}


def _noisy(speech: Samples, rng: np.random.Generator, least: float = 15, most: float = 35) -> Samples:
    """At a level of its own, with noise `least` to `most` dB below it."""
    speech = speech * (rng.uniform(0.1, 0.7) / np.abs(speech).max())
    loudness = np.sqrt(np.square(speech).mean()) * 10 ** (-rng.uniform(least, most) / 20)
    return (speech + coloured_noise(speech.size, rng) * loudness).astype(np.float32)


def _piece(rng: np.random.Generator, voice: str, seconds: float) -> Samples:
    """So many seconds out of made-up words."""
    size = round(seconds * SAMPLE_RATE)
    speech = np.zeros(0, np.float32)
    while speech.size < size:
        speech = np.concatenate([speech, trimmed(speak(made_up(rng), **_style(rng, voice)))])
    begin = int(rng.integers(speech.size - size + 1))
    return speech[begin : begin + size]


def _in_turn(values: Sequence[str], number: int) -> str:
    return values[number % len(values)]


def _words(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    for number in range(count):
        text = " ".join(made_up(rng).rstrip(".").split()[:5])
        speech, phones = speak_phones(text, **_style(rng, _in_turn(_VOICES[split], number)))
        timed = [[each.phone, round(each.start, 4), round(each.end, 4)] for each in phones]
        yield _noisy(speech, rng), {"phones": timed}


def _commands(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    """Test commands join action, thing and room as no other does."""
    made = 0
    while made < count:
        said, thing, room = (str(rng.choice(list(each))) for each in (_ACTIONS, _THINGS, _ROOMS))
        held_out = (list(_ACTIONS).index(said) + _THINGS.index(thing) + _ROOMS.index(room)) % 4 == 0
        if held_out != (split == "test"):
            continue
        words, slots = [*said.split(), "the", thing], ["O"] * len(said.split()) + ["O", "thing"]
        words, slots = [*words, "in", "the", room], [*slots, "O", "O", "room"]
        speech = trimmed(speak(" ".join(words), **_style(rng, _in_turn(_VOICES[split], made))))
        answers = {"action": _ACTIONS[said], "thing": thing, "room": room}
        yield _noisy(speech, rng), {"label": answers, "text": " ".join(words), "words": words, "slots": slots}
        made += 1


def _keyword(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    for number in range(count):
        word, voice = _in_turn(_KEYWORDS, number), _in_turn(_VOICES[split], number // len(_KEYWORDS))
        yield _noisy(trimmed(speak(word, **_style(rng, voice))), rng, 5, 20), {"label": word}


def _search(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    """An example of each query by one voice, and sentences by others."""
    if not count:
        return
    reader, *readers = _VOICES["train"] if split == "dev" else (*_VOICES["test"], *_VOICES["dev"])
    queries = _QUERIES[split]
    for word in queries:
        yield _noisy(trimmed(speak(word, **_style(rng, reader))), rng), {"query": word}
    for number in range(count):
        text = ""
        while (_in_turn(queries, number) in text) == bool(number % 2) or not text:  # every second one has its query
            text = sentence(rng, held_out=split == "test")["en"].lower()
        speech = trimmed(speak(text, **_style(rng, _in_turn(readers, number))))
        contained = [word for word in queries if word in text.strip(".?").split()]
        yield _noisy(speech, rng), {"contains": contained}


def _speaker(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    del split  # the voices are the same
    for number in range(count):
        voice = _in_turn(_TRAIN, number)
        yield _noisy(_piece(rng, voice, 0.5), rng, 5, 20), {"label": voice}


def _verification(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    """Dev and test are pairs, by voices that are not in training."""
    if split == "train":
        for number in range(count):
            voice = _in_turn(_TRAIN, number)
            yield _noisy(_piece(rng, voice, 1.0), rng, 5, 20), {"label": voice}
        return
    for number in range(count):
        # Voices take turns in pairs of clips, and every second trial compares clips of one pair.
        voice = _in_turn(_PAIRED[split], number // 2)
        other = min(number ^ 1, count - 1) if number % 4 < 2 else (number + 2) % count
        fields = {"other": f"{split}-{other:04}.wav", "same": _in_turn(_PAIRED[split], other // 2) == voice}
        yield _noisy(_piece(rng, voice, 1.0), rng, 5, 20), fields


def _diarization(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    for _ in range(count):
        pair = [str(voice) for voice in rng.choice(_VOICES[split], 2, replace=False)]
        size = 6 * SAMPLE_RATE
        mixed, turns, begin, place = np.zeros(size, np.float32), [], 0.0, 0
        while begin < 5:
            length = min(float(rng.uniform(0.8, 2.0)), 6 - begin)
            spoken = _piece(rng, pair[place % 2], length)
            first = round(begin * SAMPLE_RATE)
            spoken = spoken[: size - first] / np.abs(spoken).max()
            mixed[first : first + spoken.size] += spoken
            turns.append([round(begin, 4), round(begin + spoken.size / SAMPLE_RATE, 4), pair[place % 2]])
            begin, place = max(0.0, begin + length + float(rng.uniform(-0.5, 0.5))), place + 1
        yield _noisy(mixed, rng), {"turns": turns}


def _prosody(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    text = ""
    for number in range(count):
        if number % len(_MARKS) == 0:
            text = " ".join(made_up(rng).rstrip(".").split()[:3])
        label = _in_turn(tuple(_MARKS), number)
        voice = _in_turn(_VOICES[split], number // len(_MARKS))
        yield _noisy(trimmed(speak(text + _MARKS[label], **_style(rng, voice))), rng), {"label": label}


def _language(split: str, count: int, rng: np.random.Generator) -> Iterator[Made]:
    text = ""
    for number in range(count):
        if number % len(_ACCENTS) == 0:
            text = " ".join(made_up(rng).rstrip(".").split()[:4])
        accent = _in_turn(_ACCENTS, number)
        voice = _in_turn(_VOICES[split], number // len(_ACCENTS))
        yield _noisy(trimmed(speak(text, **_style(rng, voice, accent))), rng), {"label": accent}


_MAKERS: dict[str, Callable[[str, int, np.random.Generator], Iterator[Made]]] = {
    "words": _words, "commands": _commands, "keyword": _keyword, "search": _search, "speaker": _speaker,
    "verification": _verification, "diarization": _diarization, "prosody": _prosody, "language": _language,
}  # fmt: skip
