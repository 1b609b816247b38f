"""Speaker models in the cache: found there, or put there from a package, the package index or the hub."""

from __future__ import annotations

import difflib
import importlib.util
import logging
import os
import tempfile
from functools import partial
from pathlib import Path

from mtasr.errors import ModelCacheError, ModelIntegrityError, ModelNotFoundError
from mtasr.models import cache, hub, package_index
from mtasr.models.folder import LICENSES, sha256_of
from mtasr.models.hub import Progress
from mtasr.models.speakers.published import DEFAULT_SPEAKER_MODEL, SPEAKER_MODELS, SourceFile, SpeakerModel

_LOG = logging.getLogger(__name__)


def find(name: str | None) -> SpeakerModel:
    """The speaker model of this name, by default that of $MTASR_SPEAKER_MODEL. Raises `ModelNotFoundError`."""
    name = name or os.environ.get("MTASR_SPEAKER_MODEL") or DEFAULT_SPEAKER_MODEL
    if name not in SPEAKER_MODELS:
        close = difflib.get_close_matches(name, SPEAKER_MODELS, n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ModelNotFoundError(f"there is no speaker model {name!r}; {hint}`mtasr models list` shows the names")
    return SPEAKER_MODELS[name]


def location(model: SpeakerModel) -> Path:
    """Its folder in the cache; it need not exist."""
    return cache.location(model.name, model.revision)


def installed_files(model: SpeakerModel) -> dict[str, Path] | None:
    """The files of an installed package, by path in its wheel; None unless all are there and as published."""
    if model.wheel is None:
        return None
    package = importlib.util.find_spec(model.wheel.requirement.partition("==")[0])
    for folder in (package and package.submodule_search_locations) or ():
        files = {each.path: Path(folder).parent / each.path for each in model.files.values()}
        try:
            if all(sha256_of(files[each.path]) == each.sha256 for each in model.files.values()):
                return files
        except ModelIntegrityError:
            continue
    return None


def resolve(name: str | None = None, *, progress: Progress | None = None, local_only: bool = False) -> Path:
    """The folder of a speaker model, fetched first if necessary.

    Sources in this order: the cache, an installed package, the package index or the hub; with `local_only` only the
    first two. Where the cache cannot be written, an installed package is converted into a temporary folder.

    Raises `ModelNotFoundError`, `ModelDownloadError`, `ModelIntegrityError`, or `ModelCacheError` if the cache cannot
    be written.
    """
    model = find(name)
    cached = location(model)
    if cache.holds(cached):
        return cache.require_intact(cached, model.name)
    try:
        return install(model, progress, local_only=local_only)
    except ModelCacheError as exc:
        files = installed_files(model)
        if not files:
            raise
        try:
            found = cache.install_for_now(model.name, partial(_fill, model, files, progress))
        except ModelCacheError:
            raise exc from None
        _LOG.warning("%s; until then, each run converts %s into a temporary folder", exc, model.name)
        return found


def install(
    model: SpeakerModel, progress: Progress | None = None, *, local_only: bool = False, replace: bool = False
) -> Path:
    """Put a speaker model into the cache and return its folder. Raises as `resolve` does."""
    files = installed_files(model)
    if not files:
        hub.require_allowed(model.name, local_only=local_only)
    fill = partial(_fill, model, files, progress)
    return cache.install(model.name, model.origin, model.revision, fill, replace=replace)


def _fill(
    model: SpeakerModel, files: dict[str, Path] | None, progress: Progress | None, staging: cache.Staging
) -> None:
    staging.write(LICENSES, [_notice(model).encode()])
    if files:
        _convert(model, files, staging)
    elif model.wheel:
        with cache.disk(staging.folder), tempfile.TemporaryDirectory(dir=staging.folder, prefix="wheel-") as folder:
            sizes = {each.path: each.size for each in model.files.values()}
            found = package_index.fetch_for(model.name, model.wheel, sizes, Path(folder), progress)
            _convert(model, found, staging)
    else:
        for name, each in model.files.items():
            hub.fetch_file(each.repo, each.revision, each.path, each.sha256, name, staging, progress)


def _convert(model: SpeakerModel, files: dict[str, Path], staging: cache.Staging) -> None:
    for name, each in model.files.items():
        actual = sha256_of(files[each.path])
        if actual != each.sha256:
            raise ModelIntegrityError(f"{each.path} is not the published file: SHA-256 {actual}")
        staging.write(name, [_arrays(files[each.path], each)])


def _arrays(path: Path, source: SourceFile) -> bytes:
    # Here because listing models needs no NumPy.
    import numpy as np

    from mtasr.models.speakers.array_file import dump_arrays
    from mtasr.models.speakers.torch_file import read_tensors

    tensors = read_tensors(path, inside=source.inside, inert=source.inert)
    # Training counts its steps in integers, which no network needs.
    arrays = {name: array for name, array in tensors.items() if array.dtype == np.float32}
    if damaged := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise ModelIntegrityError(f"{path}: {damaged[0]} holds values that are not finite")
    return dump_arrays(arrays)


def _notice(model: SpeakerModel) -> str:
    lines = [f"{model.name}: where its files come from, and their licences.", ""]
    for name, each in model.files.items():
        place = f"from {each.path} of {model.wheel.requirement if model.wheel else each.repo}"
        change = "; the same values in another format" if model.wheel else ""
        lines += [f"{name}, {place}{change}", f"    {each.notice}", ""]
    return "\n".join(lines)
