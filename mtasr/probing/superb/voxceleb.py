"""VoxCeleb1: speaker identification (SID) and verification (ASV).

    VoxCeleb1/dev/wav/id10001/1zcIwhmdeo4/00001.wav
    VoxCeleb1/test/wav/id10270/...
    VoxCeleb1/iden_split.txt    or veri_test_class.txt: 1 (train), 2 (dev) or 3 (test), and a path, on each line
    VoxCeleb1/veri_test2.txt    or veri_test.txt, voxceleb1_test_v2.txt: 1 (same) or 0, and two paths of the test part

Both lists are published with the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtasr.errors import ManifestError
from mtasr.probing.labels import LabelledClip
from mtasr.probing.superb.files import fields_of, first_file, inside, only, subfolder

_SPLITS = {"1": "train", "2": "dev", "3": "test"}
_PARTS = ("dev", "test")
_CLASSES = ("iden_split.txt", "veri_test_class.txt")
_TRIALS = ("veri_test2.txt", "veri_test.txt", "voxceleb1_test_v2.txt")


def identification(folders: Sequence[Path]) -> list[LabelledClip]:
    """All recordings with their speaker as `label`."""
    root = only(folders, "VoxCeleb1")
    path = first_file(root, _CLASSES)
    clips = []
    for number, fields in fields_of(path):
        origin = f"{path}, line {number}"
        if len(fields) != 2 or fields[0] not in _SPLITS:
            raise ManifestError(f"{origin}: is not 1, 2 or 3 and a path")
        found = [inside(root / part / "wav", fields[1], origin) for part in _PARTS]
        audio = next((each for each in found if each.is_file()), None)
        if audio is None:
            raise ManifestError(f"{origin}: {fields[1]} is in neither dev/wav nor test/wav")
        speaker = Path(fields[1]).parts[0]
        clips.append(LabelledClip(audio=audio, split=_SPLITS[fields[0]], fields={"label": speaker}, origin=origin))
    return clips


def verification(folders: Sequence[Path]) -> list[LabelledClip]:
    """The recordings of the development part with their speaker as `label`, and the trials of the test part."""
    root = only(folders, "VoxCeleb1")
    train, test = subfolder(root, "dev/wav"), subfolder(root, "test/wav")
    clips = [
        LabelledClip(audio=path, split="train", fields={"label": path.relative_to(train).parts[0]}, origin=str(path))
        for path in sorted(train.glob("*/*/*.wav"))
    ]
    path = first_file(root, _TRIALS)
    for number, fields in fields_of(path):
        origin = f"{path}, line {number}"
        if len(fields) != 3 or fields[0] not in ("0", "1"):
            raise ManifestError(f"{origin}: is not 0 or 1 and two paths")
        one, other = (inside(test, name, origin) for name in fields[1:])
        trial = {"other": str(other), "same": fields[0] == "1"}
        clips.append(LabelledClip(audio=one, split="test", fields=trial, origin=origin))
    return clips
