"""Files of labels: which recordings a probe learns and is tested on, as JSON lines or CSV.

    {"audio": "a.wav", "split": "train", "label": "yes"}
    {"audio": "b.flac", "split": "test", "start": 1.5, "end": 2.5, "label": "no"}

`audio` is relative to the folder of the file; `start` and `end` are seconds of it. `split` is train, dev or test;
recordings with a `fold` instead are tested in turns, each fold by heads that learnt the others. The other fields are
the task's (`mtasr.probing.tasks`).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mtasr.errors import InputError, ManifestError
from mtasr.text_files import read_text

SPLITS = ("train", "dev", "test")
#: The share of the recordings outside a test fold that chooses the rate and the step, as in SUPERB.
_DEV_SHARE = 0.2
#: Fields that are paths, relative to the folder of the file as `audio` is.
_PATHS = frozenset({"other", "rttm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledClip:
    """A recording or a part of it, and what is said of it. `origin` is the file and line that say so, for messages."""

    audio: Path
    start: float = 0.0
    end: float | None = None
    split: str | None = None
    fold: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    def text(self, name: str) -> str:
        """A field that is a text which is not empty. Raises `InputError`."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"{name!r} is missing or no text")
        return value

    def error(self, problem: str) -> InputError:
        return ManifestError(f"{self.origin or self.audio}: {problem}")


def read_labels(path: Path) -> list[LabelledClip]:
    """The clips of a file, in its order. Raises `ManifestError`, which names the line."""
    text = read_text(path, ManifestError)
    rows = _json_rows(text, path) if text.lstrip()[:1] == "{" else _csv_rows(text, path)
    clips = [_clip(row, path, number) for number, row in rows]
    if not clips:
        raise ManifestError(f"{path}: has no recordings")
    return clips


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as exc:
                raise ManifestError(f"{path}, line {number}: is not JSON: {exc}") from exc
            if not isinstance(row, dict):
                raise ManifestError(f"{path}, line {number}: is not an object")
            yield number, row


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    table = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if "audio" not in (table.fieldnames or ()):
            raise ManifestError(f"{path}: is neither JSON lines nor CSV with a column 'audio'")
        for row in table:
            yield table.line_num, {name: value for name, value in row.items() if name and value}
    except csv.Error as exc:
        raise ManifestError(f"{path}, line {table.line_num}: {exc}") from exc


def _clip(row: Mapping[str, Any], path: Path, number: int) -> LabelledClip:
    origin = f"{path}, line {number}"
    own = {name: row[name] for name in row if name not in ("audio", "start", "end", "split", "fold")}
    for name in _PATHS & own.keys():
        if not isinstance(own[name], str) or not own[name] or "\0" in own[name]:
            raise ManifestError(f"{origin}: {name!r} is no path")
        own[name] = str(path.parent / own[name])
    audio, split, fold = row.get("audio"), row.get("split"), row.get("fold")
    if not isinstance(audio, str) or not audio or "\0" in audio:
        raise ManifestError(f"{origin}: 'audio' is missing or no path")
    if split is not None and split not in SPLITS:
        raise ManifestError(f"{origin}: 'split' must be one of {', '.join(SPLITS)}, not {split!r}")
    if fold is not None and (split is not None or not isinstance(fold, str | int)):
        raise ManifestError(f"{origin}: 'fold' must be a name, and excludes 'split'")
    start, end = seconds_of(row.get("start"), "start", origin), seconds_of(row.get("end"), "end", origin)
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f"{origin}: 'end' is not after 'start'")
    return LabelledClip(
        audio=path.parent / audio,
        start=start or 0.0,
        end=end,
        split=split,
        fold=None if fold is None else str(fold),
        fields=own,
        origin=origin,
    )


def seconds_of(value: object, name: str, origin: str) -> float | None:
    """A time that a field says, None without the field. Raises `ManifestError`."""
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < 1e9:
        raise ManifestError(f"{origin}: {name!r} is not a time in seconds: {value!r}")
    return seconds


def stretch_of(start: object, end: object) -> tuple[float, float] | None:
    """Two numbers of a label as seconds; None if they are no finite numbers, or if the end is before the start."""
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        return None
    with contextlib.suppress(OverflowError):  # whole numbers may have hundreds of digits
        times = float(start), float(end)
        if math.isfinite(times[0]) and math.isfinite(times[1]) and times[0] <= times[1]:
            return times
    return None


def folds_of(clips: Sequence[LabelledClip]) -> list[list[LabelledClip]]:
    """The same clips once, or with folds once for each fold, which is then the test set.

    A fifth of the others is the development set: those whose name gives a low checksum, so that it is the same for
    every encoder. Raises `ManifestError` if only some have a fold, or all have the same.
    """
    names = sorted({clip.fold for clip in clips if clip.fold is not None})
    if not names:
        return [list(clips)]
    if any(clip.fold is None for clip in clips):
        raise ManifestError("some recordings have a fold, and others have none")
    if len(names) < 2:
        raise ManifestError(f"all recordings have the fold {names[0]!r}; at least two are needed")
    return [
        [
            replace(clip, split="test" if clip.fold == name else _split_of(clip, place))
            for place, clip in enumerate(clips)
        ]
        for name in names
    ]


def _split_of(clip: LabelledClip, place: int) -> str:
    checksum = zlib.crc32(f"{place}\0{clip.audio.name}\0{clip.start}".encode(errors="surrogateescape"))
    return "dev" if checksum / 2**32 < _DEV_SHARE else "train"
