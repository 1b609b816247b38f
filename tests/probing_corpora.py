"""Corpora of tones and of words read aloud: clips of one recording, which is decoded once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from speech import SAMPLE_RATE, write_wav

#: Sounds with the fields of their labels.
Sounds = Sequence[tuple[npt.NDArray[np.float32], Mapping[str, Any]]]


def tone(hertz: float, seconds: float = 0.3, loudness: float = 0.3) -> npt.NDArray[np.float32]:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(int(hertz)).normal(0, 0.01, len(times))
    return (loudness * np.sin(2 * np.pi * hertz * times) + noise).astype(np.float32)


def write_corpus(folder: Path, sounds: Sounds) -> Path:
    """A recording of all sounds, and its file of labels."""
    folder.mkdir(parents=True, exist_ok=True)
    write_wav(folder / "all.wav", np.concatenate([sound for sound, _ in sounds]))
    ends = list(itertools.accumulate(len(sound) / SAMPLE_RATE for sound, _ in sounds))
    rows = [
        {"audio": "all.wav", "start": round(start, 6), "end": round(end, 6), **fields}
        for start, end, (_, fields) in zip([0.0, *ends], ends, sounds, strict=False)
    ]
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def in_splits(fields: Callable[[str, int], Sequence[tuple[npt.NDArray[np.float32], Mapping[str, Any]]]]) -> Sounds:
    """What `fields` makes for each split, given its number."""
    return [
        (sound, {"split": split, **own})
        for number, split in enumerate(("train", "dev", "test"))
        for sound, own in fields(split, number)
    ]
