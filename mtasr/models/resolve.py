"""From the name of a model to a folder that CTranslate2 can load."""

from __future__ import annotations

import logging
import os
import re
from functools import partial
from pathlib import Path

from mtasr.errors import ModelCacheError, ModelNotFoundError
from mtasr.extras import install_extra
from mtasr.models import cache, folder, hub, packages, registry
from mtasr.models.hub import Progress
from mtasr.models.registry import ModelSpec

_LOG = logging.getLogger(__name__)

#: `owner/name` as the hub allows it; without "--", which stands for the slash in the cache.
_REPO = re.compile(r"(?!.*--)(?!.*\.\.)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def resolve(name: str | Path, *, progress: Progress | None = None, local_only: bool = False) -> Path:
    """The folder of a model, fetched first if necessary.

    Sources in this order: a folder, the cache, an installed weights package, the hub. `name` is a path, a name or alias
    of the registry, or `owner/name` on the hub, meaning its newest commit. With `local_only` the hub is not asked.

    A name of the registry means a folder of the working directory only if that folder holds a `model.bin`.

    Where the cache cannot be written, an installed weights package is unpacked into a temporary folder.

    Raises `ModelNotFoundError`, `ModelDownloadError`, `ModelIntegrityError`, or `ModelCacheError` if the cache cannot
    be written.
    """
    path = _path(name)
    spec = registry.find(str(name))
    if name and path.is_dir() and (spec is None or isinstance(name, Path) or (path / "model.bin").exists()):
        return folder.check(path)
    if spec:
        return _named(spec, progress, local_only=local_only)
    if isinstance(name, str) and not path.exists() and is_repo(name):
        return _from_repo(name, progress, local_only=local_only)
    if isinstance(name, Path) or path.exists() or _looks_like_path(name):
        raise _no_folder(path)
    raise registry.unknown(name)


def _path(name: str | Path) -> Path:
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError) as exc:  # name too long, no permission, unknown user
        raise ModelNotFoundError(f"there is no model folder {name}: {getattr(exc, 'strerror', None) or exc}") from exc
    return path


def is_repo(name: str) -> bool:
    """Whether this looks like a repository of the hub."""
    return _REPO.fullmatch(name) is not None


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~")) or "/" in name or os.sep in name


def _no_folder(path: Path) -> ModelNotFoundError:
    if path.suffix == ".safetensors" and path.is_file():
        return ModelNotFoundError(
            f"{path} holds adapters or a prompt: --engine torch runs it; `mtasr models convert` merges a prompt"
        )
    if path.is_file():
        return ModelNotFoundError(f"{path} is a file; a model is the folder that holds model.bin")
    return ModelNotFoundError(f"there is no model folder {path}")


def install(
    spec: ModelSpec, progress: Progress | None = None, *, local_only: bool = False, replace: bool = False
) -> Path:
    """Put a published model into the cache, from its weights package or else from the hub."""
    files = packages.locate(spec.name)
    if not files:
        _require_hub(spec.name, local_only=local_only)

    def fill(staging: cache.Staging) -> None:
        if files:
            packages.unpack(spec, files, staging, progress)
        else:
            hub.fetch(spec.repo, spec.revision, spec.sha256, staging, progress)
        folder.check(staging.folder)

    return cache.install(spec.name, spec.repo, spec.revision, fill, replace=replace)


def install_repo(repo: str, progress: Progress | None = None, *, replace: bool = False) -> Path:
    """Put the newest commit of a repository of the hub into the cache."""
    _require_hub(repo, local_only=False)
    revision = hub.commit_of(repo)

    def fill(staging: cache.Staging) -> None:
        hub.fetch(repo, revision, {}, staging, progress)
        folder.check(staging.folder)

    return cache.install(repo, repo, revision, fill, replace=replace)


def _named(spec: ModelSpec, progress: Progress | None, *, local_only: bool) -> Path:
    cached = cache.location(spec.name, spec.revision)
    if cache.holds(cached):
        return cache.require_intact(cached, spec.name)
    try:
        return install(spec, progress, local_only=local_only)
    except ModelCacheError as exc:
        files = packages.locate(spec.name)
        if not files:
            raise
        try:
            found = cache.install_for_now(spec.name, partial(packages.unpack, spec, files, progress=progress))
        except ModelCacheError:
            raise exc from None
        _LOG.warning("%s; until then, each run unpacks %s into a temporary folder", exc, spec.name)
        return found


def _from_repo(repo: str, progress: Progress | None, *, local_only: bool) -> Path:
    if cached := cache.copies(repo):
        # The repository may be one of an encoder, which the cache holds too.
        return folder.check(cache.require_intact(cached[0], repo))
    _require_hub(repo, local_only=local_only)
    try:
        return install_repo(repo, progress)
    except ModelNotFoundError as exc:
        raise ModelNotFoundError(f"there is no folder {repo}, and {exc}") from exc


def _require_hub(name: str, *, local_only: bool) -> None:
    if not local_only and not hub.offline():
        return
    ways = [f"{install_extra('base')} brings it"] if name == registry.DEFAULT_MODEL else []
    if local_only:
        ways.append(f"`mtasr models pull {name}` downloads it")
        raise ModelNotFoundError(f"the model {name} is not on this machine; {', '.join(ways)}")
    ways.append(f"`mtasr models pull {name}` without HF_HUB_OFFLINE downloads it")
    raise ModelNotFoundError(f"the model {name} is not on this machine and HF_HUB_OFFLINE is set; {', '.join(ways)}")
