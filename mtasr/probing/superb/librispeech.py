"""LibriSpeech: phones (PR) and characters (ASR).

    LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac
                               .../103-1240.trans.txt     a line for each recording: its name, and its words
    LibriSpeech/dev-clean/ LibriSpeech/test-clean/
    LibriSpeech/*lexicon*.txt                             for phones: a word and its phones on each line

The lexicon is that of OpenSLR 11 and others in its format; of several pronunciations the first counts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mtasr.errors import ManifestError
from mtasr.probing.labels import LabelledClip
from mtasr.probing.superb.files import fields_of, only, subfolder

_LOG = logging.getLogger(__name__)

_FOLDERS = {"train": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}


def characters(folders: Sequence[Path]) -> list[LabelledClip]:
    """All recordings with their `text`."""
    root = only(folders, "LibriSpeech")
    return [clip for split, name in _FOLDERS.items() for clip in _clips(subfolder(root, name), split)]


def phones(folders: Sequence[Path]) -> list[LabelledClip]:
    """The recordings with their `phones`, as one text. Those with a word that no lexicon has are left out."""
    root = only(folders, "LibriSpeech")
    lexicon = _lexicon(root)
    found, left_out = [], 0
    for clip in characters(folders):
        words = [lexicon.get(word) for word in clip.text("text").split()]
        if None in words:
            left_out += 1
            continue
        found.append(replace(clip, fields={"phones": " ".join(word for word in words if word)}))
    if left_out:
        _LOG.warning("%s: %d recordings have words without a pronunciation and are left out", root, left_out)
    return found


def _clips(folder: Path, split: str) -> Iterator[LabelledClip]:
    lists = sorted(folder.rglob("*.trans.txt"))
    if not lists:
        raise ManifestError(f"{folder}: has no *.trans.txt")
    for path in lists:
        for number, (name, *words) in fields_of(path):
            origin = f"{path}, line {number}"
            if Path(name).name != name:
                raise ManifestError(f"{origin}: {name!r} is not the name of a recording")
            yield LabelledClip(
                audio=path.parent / f"{name}.flac", split=split, fields={"text": " ".join(words)}, origin=origin
            )


def _lexicon(root: Path) -> dict[str, str]:
    paths = sorted(root.glob("*lexicon*.txt"))
    if not paths:
        raise ManifestError(f"{root}: has no *lexicon*.txt, which phones need (librispeech-lexicon.txt of OpenSLR 11)")
    found: dict[str, str] = {}
    for path in paths:
        for number, (word, *sounds) in fields_of(path):
            if not sounds:
                raise ManifestError(f"{path}, line {number}: {word!r} has no phones")
            found.setdefault(word, " ".join(sounds))
    return found
