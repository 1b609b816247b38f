"""IEMOCAP: emotion recognition (ER) with four classes, a fold for each session.

    IEMOCAP/Session1/dialog/EmoEvaluation/Ses01F_impro01.txt    [start - end] name emotion [...], among other lines
                     sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav

Excitement counts as happiness, and other emotions do not count, as in SUPERB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mtasr.errors import ManifestError
from mtasr.probing.labels import LabelledClip
from mtasr.probing.superb.files import only, subfolder
from mtasr.text_files import read_text

_EMOTIONS = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}


def read(folders: Sequence[Path]) -> list[LabelledClip]:
    """The utterances with their emotion as `label` and their session as fold."""
    root = only(folders, "IEMOCAP")
    sessions = sorted(path for path in root.glob("Session*") if path.is_dir())
    if not sessions:
        raise ManifestError(f"{root}: has no folders Session1, Session2, ...")
    return [clip for session in sessions for clip in _clips(session)]


def _clips(session: Path) -> Iterator[LabelledClip]:
    recordings = {path.stem: path for path in subfolder(session, "sentences/wav").rglob("*.wav")}
    for path in sorted(subfolder(session, "dialog/EmoEvaluation").glob("*.txt")):
        if path.name.startswith("."):
            continue
        for number, line in enumerate(read_text(path, ManifestError, any_encoding=True).split("\n"), start=1):
            fields = line.split("\t")
            if not line.startswith("[") or len(fields) < 3:
                continue
            name, emotion = fields[1].strip(), _EMOTIONS.get(fields[2].strip())
            if emotion and name in recordings:
                yield LabelledClip(
                    audio=recordings[name],
                    fold=session.name,
                    fields={"label": emotion},
                    origin=f"{path}, line {number}",
                )
