"""Encoders on the hub: from `owner/name`, or `owner/name@revision`, to a folder of the cache."""

from __future__ import annotations

import re
from pathlib import Path

from mtasr.errors import ModelDownloadError, ModelNotFoundError
from mtasr.models import cache, hub
from mtasr.models.hub import Progress
from mtasr.models.resolve import is_repo

_COMMIT = re.compile(r"[0-9a-f]{40}")
#: What git takes for the name of a branch or tag, `refs/pr/1` among them.
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w./-]*", re.ASCII)


def names_repo(name: str) -> bool:
    """Whether this looks like a repository of the hub, with or without a revision."""
    repo, at, revision = name.partition("@")
    return is_repo(repo) and (not at or _REVISION.fullmatch(revision) is not None)


def resolve_encoder(name: str, progress: Progress | None = None) -> Path:
    """The folder of an encoder of the hub in transformers' form, downloaded first if the cache lacks it.

    `name` is `owner/name`, or `owner/name@revision` with a commit, a branch, a tag or a pull request (`refs/pr/1`).
    Without a revision it means the newest copy in the cache that was fetched so, and if there is none, the newest
    commit of the hub. Branches and the like are looked up on the hub; a commit that the cache has is not. A damaged
    copy is fetched again.

    Raises `ModelNotFoundError`, `ModelDownloadError`, `ModelIntegrityError`, or `ModelCacheError` if the cache cannot
    be written.
    """
    repo, _, revision = name.partition("@")
    commit = revision if _COMMIT.fullmatch(revision) else ""
    if commit:
        cached = [cache.location(key, commit) for key in (repo, _pinned(repo, commit))]
    else:
        cached = [] if revision else [path for path in cache.copies(repo) if path.name.count("@") == 1]
    for path in cached:
        if cache.intact(path):
            return path
    if hub.offline():
        state = "not on this machine" if commit or not revision else "a revision that only the hub knows"
        state = "damaged" if any(map(cache.holds, cached)) else state
        raise ModelNotFoundError(f"the encoder {name} is {state}, and HF_HUB_OFFLINE is set")
    try:
        commit = commit or hub.commit_of(repo, revision or "main")
        key = _pinned(repo, commit) if revision else repo
        return cache.install(key, repo, commit, lambda staging: hub.fetch_encoder(repo, commit, staging, progress))
    except ModelNotFoundError as exc:
        raise ModelNotFoundError(f"there is no folder {name}, and {exc}") from exc
    except ModelDownloadError as exc:
        raise ModelDownloadError(f"{exc}; the folder of a copy from another machine may be named instead") from exc


def _pinned(repo: str, commit: str) -> str:
    """What the cache calls a copy that was asked for by its revision: it must not pass for the newest commit."""
    return f"{repo}@{commit[:12]}"
