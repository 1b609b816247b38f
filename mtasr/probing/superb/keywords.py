"""Speech Commands v1: keyword spotting (KS) with ten words, unknown words and silence.

    speech_commands_v0.01/yes/0a7c2a8d_nohash_0.wav          training, development; a folder for each word
                         _background_noise_/running_tap.wav  silence
    speech_commands_test_set_v0.01/yes/... _silence_/... _unknown_/...

Both folders are given, in any order.
"""

from __future__ import annotations

import hashlib
import re
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtasr.errors import ManifestError
from mtasr.probing.labels import LabelledClip

_WORDS = frozenset({"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"})
_UNKNOWN, _SILENCE, _NOISE = "_unknown_", "_silence_", "_background_noise_"
#: Of the split that the corpus prescribes: the range of hashes, and the percentages that develop and test.
_HASHES, _DEV, _TEST = (1 << 27) - 1, 10.0, 20.0


def read(folders: Sequence[Path]) -> list[LabelledClip]:
    """The clips with a `label`. The corpus's own test share is not used, as SUPERB tests on the published test set."""
    tests = [folder for folder in folders if (folder / _SILENCE).is_dir()]
    trains = [folder for folder in folders if (folder / _NOISE).is_dir()]
    if len(tests) != 1 or len(trains) != 1 or len(folders) != 2:
        raise ManifestError(
            f"Speech Commands is two folders: one for training, with {_NOISE}, and the test set, with {_SILENCE}"
        )
    clips = []
    for path in _recordings(trains[0]):
        word = path.parent.name
        if word != _NOISE:
            share = _percentage(path.name)
            split = "dev" if share < _DEV else None if share < _TEST else "train"
            if split:
                clips.append(_clip(path, split, word if word in _WORDS else _UNKNOWN))
        else:
            clips += _silences(path)
    return clips + [_clip(path, "test", path.parent.name) for path in _recordings(tests[0])]


def _recordings(root: Path) -> Iterator[Path]:
    yield from sorted(path for path in root.glob("*/*.wav") if not path.name.startswith("."))


def _clip(path: Path, split: str, label: str) -> LabelledClip:
    return LabelledClip(audio=path, split=split, fields={"label": label}, origin=str(path))


def _percentage(name: str) -> float:
    """0 to 100, the same for all recordings of a speaker: all that precedes `_nohash_`."""
    speaker = re.sub(r"_nohash_.*$", "", name)
    digest = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16)
    return digest % (_HASHES + 1) * (100.0 / _HASHES)


def _silences(path: Path) -> Iterator[LabelledClip]:
    """The seconds of a recording of noise; every tenth develops."""
    try:
        with wave.open(str(path), "rb") as noise:
            seconds = noise.getnframes() // noise.getframerate()
    except (OSError, EOFError, wave.Error, ZeroDivisionError) as exc:
        raise ManifestError(f"{path}: is not a WAV file: {exc}") from exc
    for second in range(seconds):
        yield LabelledClip(
            audio=path,
            start=float(second),
            end=float(second + 1),
            split="dev" if second % 10 == 0 else "train",
            fields={"label": _SILENCE},
            origin=str(path),
        )
