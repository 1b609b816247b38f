"""Libri2Mix as SUPERB prepares it for diarization (SD): a folder for each split, in Kaldi's format.

data/train/wav.scp     name of a recording, and its path
           segments    name of an utterance, its recording, start and end in seconds
           utt2spk     name of an utterance, and its speaker
data/dev/ data/test/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mtasr.errors import ManifestError
from mtasr.probing.labels import LabelledClip, seconds_of
from mtasr.probing.superb.files import fields_of, only, subfolder


def read(folders: Sequence[Path]) -> list[LabelledClip]:
    """The recordings with their `turns`. Refuses lists that would run programs, as Kaldi's may (`sox ... |`)."""
    root = only(folders, "Libri2Mix")
    return [clip for split in ("train", "dev", "test") for clip in _clips(subfolder(root, split), split)]


def _clips(folder: Path, split: str) -> list[LabelledClip]:
    speakers = {name: speaker for _, (name, speaker) in _rows(folder / "utt2spk", 2)}
    turns: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for origin, (name, recording, *times) in _rows(folder / "segments", 4):
        if name not in speakers:
            raise ManifestError(f"{origin}: {name!r} has no speaker in utt2spk")
        start, end = (seconds_of(time, "time", origin) or 0.0 for time in times)
        turns[recording].append((start, end, speakers[name]))
    clips = []
    for origin, fields in _rows(folder / "wav.scp", None):
        if fields[-1].endswith("|") or fields[-1] == "-":
            raise ManifestError(f"{origin}: names a program instead of a file")
        if len(fields) != 2:
            raise ManifestError(f"{origin}: has {len(fields)} fields instead of a name and a path")
        audio = folder / fields[1]  # which may be absolute: so SUPERB's script writes them
        clips.append(LabelledClip(audio=audio, split=split, fields={"turns": turns[fields[0]]}, origin=origin))
    return clips


def _rows(path: Path, count: int | None) -> list[tuple[str, list[str]]]:
    rows = []
    for number, fields in fields_of(path):
        origin = f"{path}, line {number}"
        if count is not None and len(fields) != count:
            raise ManifestError(f"{origin}: has {len(fields)} fields instead of {count}")
        rows.append((origin, fields))
    return rows
