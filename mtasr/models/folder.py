"""The files of a model folder, and checks that they are complete and unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mtasr.errors import ModelIntegrityError
from mtasr.tokenizer.vocabulary import VOCABULARY_FILES

REQUIRED = ("config.json", "model.bin")
OPTIONAL = ("tokenizer.json", "preprocessor_config.json")
#: The weights of an encoder in transformers' form: either of them.
ENCODER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: The files of a speaker model: the two networks, as arrays or as ONNX, and where they come from.
SEGMENTATION, EMBEDDING = "segmentation.npz", "embedding.npz"
SEGMENTATION_ONNX, EMBEDDING_ONNX = "segmentation.onnx", "embedding.onnx"
#: The files of a voice: the network, the vectors of its speakers, the numbers of its phonemes; words with their
#: phonemes, common ones and others; the network that spells out any other word.
SPEECH_ONNX, STYLES, PHONEMES = "speech.onnx", "styles.npz", "phonemes.json"
DICTIONARY, DICTIONARY_RARE, LETTERS = "dictionary.json", "dictionary-rare.json", "letters.npz"
#: Of speaker models and voices: where their files come from.
LICENSES = "LICENSES.txt"
#: The only names of files that are ever written into the cache.
ALLOWED = frozenset(
    (
        *REQUIRED,
        *VOCABULARY_FILES,
        *OPTIONAL,
        *ENCODER_WEIGHTS,
        *(SEGMENTATION, EMBEDDING, SEGMENTATION_ONNX, EMBEDDING_ONNX, LICENSES),
        *(SPEECH_ONNX, STYLES, PHONEMES, DICTIONARY, DICTIONARY_RARE, LETTERS),
    )
)
PROVENANCE = "mtasr.json"

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a cached model came from, and size and hash of each file on arrival."""

    repo: str
    revision: str
    files: Mapping[str, FileRecord]

    def dump(self) -> bytes:
        files = {name: asdict(record) for name, record in sorted(self.files.items())}
        document = {"version": 1, "repo": self.repo, "revision": self.revision, "files": files}
        return (json.dumps(document, indent=2) + "\n").encode()

    @classmethod
    def read(cls, folder: Path) -> Provenance:
        """Read the provenance of a cached model. Raises `ModelIntegrityError` if it is missing or damaged."""
        try:
            document: Any = json.loads((folder / PROVENANCE).read_bytes())
            records = {
                name: FileRecord(int(each["size"]), str(each["sha256"])) for name, each in document["files"].items()
            }
            provenance = cls(str(document["repo"]), str(document["revision"]), records)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
            raise ModelIntegrityError(f"{folder / PROVENANCE} is missing or damaged") from exc
        if not set(records) <= ALLOWED:
            raise ModelIntegrityError(f"{folder / PROVENANCE} names a file that does not belong to a model")
        return provenance


def check(folder: Path) -> Path:
    """The folder itself. Raises `ModelIntegrityError`, which names all that CTranslate2 needs and the folder lacks."""
    missing = [name for name in REQUIRED if not _has(folder / name)]
    if not any(_has(folder / name) for name in VOCABULARY_FILES):
        missing.append(" or ".join(VOCABULARY_FILES))
    if missing:
        raise ModelIntegrityError(f"{folder} is not a CTranslate2 model: missing or empty: {', '.join(missing)}")
    return folder


def _has(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def changed_sizes(folder: Path, provenance: Provenance) -> list[str]:
    """The quick check: files that are missing or have another size than on arrival."""
    problems = []
    for name, record in provenance.files.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif (size := path.stat().st_size) != record.size:
            problems.append(f"{name} has {size} bytes instead of {record.size}")
    return problems


def differences(folder: Path, provenance: Provenance, pins: Mapping[str, str]) -> list[str]:
    """The full check, which reads every byte: files that are missing, changed or unexpected.

    `pins` are hashes from the registry. They also detect a folder that was changed together with its provenance.
    """
    problems = changed_sizes(folder, provenance)
    complained = {problem.split()[0] for problem in problems}
    for name, record in provenance.files.items():
        if name in complained:
            continue
        actual = sha256_of(folder / name)
        if actual != record.sha256:
            problems.append(f"{name} has changed: SHA-256 {actual} instead of {record.sha256}")
        elif actual != pins.get(name, actual):
            problems.append(f"{name} is not the published file: SHA-256 {actual} instead of {pins[name]}")
    extra = {path.name for path in folder.iterdir()} - set(provenance.files) - {PROVENANCE}
    return problems + [f"{name} does not belong to the model" for name in sorted(extra)]


def sha256_of(*parts: Path) -> str:
    """SHA-256 of the files one after the other. Raises `ModelIntegrityError` if one cannot be read."""
    digest = hashlib.sha256()
    for path in parts:
        try:
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        except OSError as exc:
            raise ModelIntegrityError(f"cannot read {path}: {exc.strerror or exc}") from exc
    return digest.hexdigest()
