"""QUESST 2014: spoken-term search (QbE), of which SUPERB takes the English part.

quesst14Database/Audio/quesst14_00001.wav            what is searched
                 dev_queries/ eval_queries/
                 scoring/language_key_utterances.lst  a path and its language on each line
                 scoring/language_key_dev.lst scoring/language_key_eval.lst
                 scoring/groundtruth_quesst14_dev/quesst14_dev.rttm   LEXEME lines: the recording, ..., the query
                 scoring/groundtruth_quesst14_eval/quesst14_eval.rttm
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from mtasr.errors import ManifestError
from mtasr.probing.labels import LabelledClip
from mtasr.probing.superb.files import fields_of, inside, only, subfolder

_LANGUAGE = "nnenglish"
_SPLITS = {"dev": "dev", "test": "eval"}


def read(folders: Sequence[Path]) -> list[LabelledClip]:
    """Queries with a `query`, and recordings with what each `contains`, for any split."""
    root = only(folders, "QUESST 2014")
    scoring = subfolder(root, "scoring")
    clips = []
    containing: dict[str, list[str]] = defaultdict(list)
    for split, theirs in _SPLITS.items():
        for origin, path in _paths(root, scoring / f"language_key_{theirs}.lst"):
            clips.append(LabelledClip(audio=path, split=split, fields={"query": path.stem}, origin=origin))
        truth = scoring / f"groundtruth_quesst14_{theirs}" / f"quesst14_{theirs}.rttm"
        for number, fields in fields_of(truth):
            if fields[0] != "LEXEME":
                continue
            if len(fields) < 6:
                raise ManifestError(f"{truth}, line {number}: has {len(fields)} fields instead of 6 or more")
            containing[fields[1]].append(fields[5])
    for origin, path in _paths(root, scoring / "language_key_utterances.lst"):
        clips.append(LabelledClip(audio=path, fields={"contains": containing[path.stem]}, origin=origin))
    return clips


def _paths(root: Path, path: Path) -> Iterator[tuple[str, Path]]:
    """The recordings in English that a list names. Its paths begin with the name of the database's folder."""
    for number, fields in fields_of(path):
        origin = f"{path}, line {number}"
        if len(fields) != 2:
            raise ManifestError(f"{origin}: has {len(fields)} fields instead of a path and a language")
        if fields[1] == _LANGUAGE:
            _, *rest = PurePosixPath(fields[0]).parts
            yield origin, inside(root, "/".join(rest), origin)
