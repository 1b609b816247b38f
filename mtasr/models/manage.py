"""List, pull, verify and remove models: the functions behind `mtasr models`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mtasr.errors import ModelIntegrityError, ModelNotFoundError
from mtasr.models import cache, folder, int8_copy, packages, registry, speakers, voices
from mtasr.models.hub import Progress
from mtasr.models.resolve import install, install_repo, is_repo, resolve
from mtasr.models.speakers.install import install as install_speakers
from mtasr.models.speakers.install import installed_files, location
from mtasr.models.voices.install import install as install_voices
from mtasr.models.voices.install import location as voice_location

Where = Literal["cached", "packaged", "downloadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One line of `mtasr models list`."""

    name: str
    aliases: tuple[str, ...]
    repo: str
    #: None for a model that is not in the registry.
    english_only: bool | None
    #: Bytes, to download or on disk.
    size: int
    where: Where
    #: The folder, of a cached model.
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of checking one copy of a model, byte for byte."""

    #: The cached folder, or the folder of the installed package.
    path: Path
    #: One line for every file that is changed, missing or extra.
    problems: tuple[str, ...]


def list_models() -> list[ModelStatus]:
    """The models that transcribe: those of the registry in its order, then others in the cache."""
    named = [_status(spec) for spec in registry.MODELS.values()]
    others = [_foreign(path) for path in cache.all_copies() if "--" in path.name.partition("@")[0]]
    return named + sorted((each for each in others if each), key=lambda each: each.name)


def list_speaker_models() -> list[ModelStatus]:
    """The published speaker models."""
    return [
        _other_status(each, location(each), english_only=False, packaged=partial(installed_files, each))
        for each in speakers.SPEAKER_MODELS.values()
    ]


def list_voice_models() -> list[ModelStatus]:
    """The published voices."""
    return [_other_status(each, voice_location(each), english_only=True) for each in voices.VOICE_MODELS.values()]


def _other_status(
    model: speakers.SpeakerModel | voices.VoiceModel,
    cached: Path,
    *,
    english_only: bool,
    packaged: Callable[[], object] = lambda: None,
) -> ModelStatus:
    """That of a model that transcribes nothing; `packaged` tells whether an installed package has it."""
    where: Where = "cached" if cache.holds(cached) else "packaged" if packaged() else "downloadable"
    return ModelStatus(
        name=model.name,
        aliases=(),
        repo=model.origin,
        english_only=english_only,
        size=model.size,
        where=where,
        path=cached if where == "cached" else None,
    )


def _status(spec: registry.ModelSpec) -> ModelStatus:
    cached = cache.location(spec.name, spec.revision)
    where: Where = "cached" if cache.holds(cached) else "packaged" if packages.locate(spec.name) else "downloadable"
    return ModelStatus(
        name=spec.name,
        aliases=spec.aliases,
        repo=spec.repo,
        english_only=spec.english_only,
        size=spec.size,
        where=where,
        path=cached if where == "cached" else None,
    )


def _foreign(path: Path) -> ModelStatus | None:
    try:
        provenance = folder.Provenance.read(path)
    except ModelIntegrityError:
        return None
    size = sum(record.size for record in provenance.files.values())
    repo = provenance.repo
    return ModelStatus(name=repo, aliases=(), repo=repo, english_only=None, size=size, where="cached", path=path)


def pull(name: str, *, progress: Progress | None = None, force: bool = False) -> Path:
    """Put a model into the cache and return its folder. An intact copy is kept, unless `force` replaces it.

    For `owner/name` this fetches the newest commit. Raises as `resolve` does.
    """
    if name in speakers.SPEAKER_MODELS:
        speaker = speakers.find(name)
        kept = location(speaker)
        return kept if cache.intact(kept) and not force else install_speakers(speaker, progress, replace=force)
    if name in voices.VOICE_MODELS:
        voice = voices.find(name)
        kept = voice_location(voice)
        return kept if cache.intact(kept) and not force else install_voices(voice, progress, replace=force)
    if spec := registry.find(name):
        # First of all, so that a cached model needs neither lock nor network nor a writable disk.
        cached = cache.location(spec.name, spec.revision)
        if cache.intact(cached) and not force:
            return cached
        int8_copy.remove(spec.name)  # it may be as damaged as the model
        return install(spec, progress, replace=force)
    if is_repo(name):
        if force:
            int8_copy.remove(name)
        return install_repo(name, progress, replace=force)
    raise registry.unknown(name)


def locate(name: str) -> Path:
    """The folder of a model that is on this machine. Raises as `resolve` does."""
    if name in speakers.SPEAKER_MODELS:
        return speakers.resolve(name, local_only=True)
    if name in voices.VOICE_MODELS:
        return voices.resolve(name, local_only=True)
    return resolve(name, local_only=True)


def verify(name: str) -> list[Verification]:
    """Hash every file of a model's cached copies, its int8 copies and its installed package.

    The hashes are compared with those on arrival and those of the registry. Raises `ModelNotFoundError` if there is
    neither a copy nor a package.
    """
    spec = registry.find(name)
    others = speakers.SPEAKER_MODELS.keys() | voices.VOICE_MODELS.keys()
    if spec is None and not is_repo(name) and name not in others:
        raise registry.unknown(name)
    ours = _cached_name(name)
    results = [_verify_copy(path, spec) for path in cache.copies(ours)]
    results += [Verification(path, tuple(int8_copy.differences(path))) for path in int8_copy.of_name(ours)]
    files = packages.locate(spec.name) if spec else None
    if spec and files:
        results.append(Verification(files["config.json"][0].parent, tuple(packages.differences(spec, files))))
    if not results:
        raise ModelNotFoundError(f"the model {name} is neither in the cache nor installed as a package")
    return results


def _verify_copy(path: Path, spec: registry.ModelSpec | None) -> Verification:
    try:
        provenance = folder.Provenance.read(path)
    except ModelIntegrityError as exc:
        return Verification(path, (str(exc),))
    return Verification(path, tuple(folder.differences(path, provenance, _pins(spec, provenance))))


def _pins(spec: registry.ModelSpec | None, provenance: folder.Provenance) -> Mapping[str, str]:
    """Published hashes by file name. They are for one revision; an older copy has only its provenance."""
    if spec:
        return spec.sha256 if provenance.revision == spec.revision else {}
    models: list[speakers.SpeakerModel | voices.VoiceModel] = [*speakers.SPEAKER_MODELS.values()]
    models += voices.VOICE_MODELS.values()
    return next((each.pins for each in models if provenance.revision == each.revision), {})


def copies(name: str) -> list[Path]:
    """The folders that `remove` deletes."""
    ours = _cached_name(name)
    return cache.copies(ours) + int8_copy.of_name(ours)


def remove(name: str) -> list[Path]:
    """Delete all cached copies of a model and return their folders. Raises `ModelNotFoundError` if there are none."""
    ours = _cached_name(name)
    removed = cache.remove(ours) + int8_copy.remove(ours)
    if not removed:
        raise ModelNotFoundError(f"the model {name} is not in the cache")
    return removed


def _cached_name(name: str) -> str:
    spec = registry.find(name)
    return spec.name if spec else name
