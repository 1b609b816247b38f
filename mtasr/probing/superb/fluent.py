"""Fluent Speech Commands: intent classification (IC).

fluent_speech_commands_dataset/data/train_data.csv    columns path, action, object, location, among others
                               data/valid_data.csv data/test_data.csv
                               wavs/speakers/...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtasr.probing.labels import LabelledClip
from mtasr.probing.superb.files import inside, only, subfolder, table

_FILES = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}
_QUESTIONS = ("action", "object", "location")


def read(folders: Sequence[Path]) -> list[LabelledClip]:
    """The recordings with a `label` that answers three questions."""
    root = only(folders, "Fluent Speech Commands")
    data = subfolder(root, "data")
    clips = []
    for split, name in _FILES.items():
        for number, row in table(data / name, ("path", *_QUESTIONS)):
            origin = f"{data / name}, line {number}"
            label = {question: row[question] for question in _QUESTIONS}
            clips.append(
                LabelledClip(
                    audio=inside(root, row["path"], origin), split=split, fields={"label": label}, origin=origin
                )
            )
    return clips
