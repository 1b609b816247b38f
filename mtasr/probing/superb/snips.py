"""Audio SNIPS as SUPERB prepares it: slot filling (SF), with other voices in each split.

SNIPS/all.iob.snips.txt    name BOS words EOS <tab> O slots intent, on each line
      train/ valid/ test/  SPEAKER-....wav in any folder
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtasr.errors import ManifestError
from mtasr.probing.labels import LabelledClip
from mtasr.probing.superb.files import only, subfolder
from mtasr.text_files import read_text

_VOICES = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "dev": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
_FOLDERS = {"train": "train", "dev": "valid", "test": "test"}


def read(folders: Sequence[Path]) -> list[LabelledClip]:
    """The recordings with `words` and `slots`; those without a line in the list are left out."""
    root = only(folders, "SNIPS")
    texts = _texts(root / "all.iob.snips.txt")
    clips = []
    for split, name in _FOLDERS.items():
        for path in sorted(subfolder(root, name).rglob("*.wav")):
            if path.stem in texts and path.name.startswith(_VOICES[split]):
                words, slots = texts[path.stem]
                fields = {"words": words, "slots": slots}
                clips.append(LabelledClip(audio=path, split=split, fields=fields, origin=str(path)))
    return clips


def _texts(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """The words and slots of each recording, without marks of punctuation."""
    found = {}
    for number, line in enumerate(read_text(path, ManifestError).split("\n"), start=1):
        if not line.strip():
            continue
        said, _, tags = line.strip().partition("\t")
        name, *words = said.split()
        slots = tags.split()
        if len(words) != len(slots) or len(words) < 3:
            raise ManifestError(f"{path}, line {number}: has {len(words)} words and {len(slots)} slots")
        pairs = [
            ("AND" if word == "&" else word, slot)
            for word, slot in zip(words[1:-1], slots[1:-1], strict=True)
            if word not in "?!.,;-"
        ]
        found[name] = [word for word, _ in pairs], [slot for _, slot in pairs]
    return found
