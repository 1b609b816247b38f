"""The folder where models live once they were downloaded or unpacked.

    $MTASR_CACHE, or models/ in the user's cache folder
        base@ebe41f70d5b6/                  a model: name @ first digits of the revision
            model.bin config.json ... mtasr.json
        .base@ebe41f70d5b6.partial/         one that is being written
        .base.lock                          held while it is written or removed
        int8/                               copies that load faster, see int8_copy.py

A model is assembled in a `.partial` folder and then renamed, in one step, so that a model folder is either whole
or not there. What a killed process leaves is a `.partial` folder, which the next install of that model removes.
Reading takes no lock and writes nothing: a cache may be on a read-only disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mtasr import system
from mtasr.errors import ModelError, ModelIntegrityError
from mtasr.models.folder import ALLOWED, PROVENANCE, FileRecord, Provenance, changed_sizes

_PARTIAL = ".partial"


def root() -> Path:
    """The cache folder; it need not exist."""
    if configured := os.environ.get("MTASR_CACHE"):
        return Path(configured).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("mtasr", appauthor=False)) / "models"


def slug(name: str) -> str:
    """The form a model name or `owner/name` has in a file name."""
    return name.replace("/", "--")


def location(name: str, revision: str) -> Path:
    return root() / f"{slug(name)}@{revision[:12]}"


def copies(name: str) -> list[Path]:
    """All cached revisions of a model, the newest first."""
    prefix = slug(name) + "@"
    return [path for path in all_copies() if path.name.startswith(prefix)]


def all_copies() -> list[Path]:
    """Every model in the cache, the newest first."""
    try:
        found = [path for path in root().iterdir() if "@" in path.name and not path.name.startswith(".")]
        return sorted((path for path in found if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []


def holds(folder: Path) -> bool:
    """Whether a folder is in the cache. Raises `ModelError` if nobody may look."""
    try:
        return folder.is_dir()
    except OSError as exc:
        raise ModelError(f"{folder.parent}: the cache of models cannot be read: {exc.strerror}") from exc


def intact(folder: Path) -> bool:
    """Whether the folder is there and passes the quick check."""
    try:
        return holds(folder) and not changed_sizes(folder, Provenance.read(folder))
    except ModelIntegrityError:
        return False


def require_intact(folder: Path, name: str) -> Path:
    """The folder, after the quick check. Raises ModelIntegrityError, with the way out."""
    try:
        problems = changed_sizes(folder, Provenance.read(folder))
    except ModelIntegrityError as exc:
        problems = [str(exc)]
    if problems:
        advice = f"`mtasr models pull --force {name}` installs it anew"
        raise ModelIntegrityError(f"the copy of {name} in {folder} is damaged: {', '.join(problems)}; {advice}")
    return folder


class Staging:
    """A folder under construction: what `install` hands to whoever has the bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, FileRecord] = {}

    def write(self, name: str, blocks: Iterable[bytes]) -> FileRecord:
        """Write a file as its bytes arrive, and return what arrived. An error leaves no file behind.

        `blocks` must raise nothing but ModelErrors: any OSError here counts as one of the disk.
        """
        if name not in ALLOWED:
            raise ValueError(f"{name!r} is not a file of a model")
        path = self.folder / name
        digest, size = hashlib.sha256(), 0
        try:
            with disk(path), path.open("xb") as stream:
                for block in blocks:
                    stream.write(block)
                    digest.update(block)
                    size += len(block)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self.records[name] = FileRecord(size, digest.hexdigest())
        return self.records[name]


def install(name: str, repo: str, revision: str, fill: Callable[[Staging], None], *, replace: bool = False) -> Path:
    """Install one model and return its folder.

    `fill` writes the files and raises if one of them is wrong. It is not called when another process has installed
    the model in the meantime, unless `replace` asks for a fresh copy. Raises ModelError if the cache cannot be written.
    """
    final = location(name, revision)
    with lock(name):
        if not replace and intact(final):
            return final
        partial = final.with_name(f".{final.name}{_PARTIAL}")
        try:
            with disk(partial):
                _sweep(name)
                partial.mkdir()
            staging = Staging(partial)
            fill(staging)
            with disk(partial):
                _write_provenance(partial, Provenance(repo, revision, staging.records))
                discard(final)
                partial.rename(final)
                system.sync_folder(final.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return final


def remove(name: str) -> list[Path]:
    """Remove all cached revisions of a model; the folders that were removed."""
    if not copies(name):
        return []
    with lock(name):
        found = copies(name)
        with disk(root()):
            _sweep(name)
            for folder in found:
                discard(folder)
    return found


def _write_provenance(folder: Path, provenance: Provenance) -> None:
    with (folder / PROVENANCE).open("xb") as stream:
        stream.write(provenance.dump())
        stream.flush()
        os.fsync(stream.fileno())
    system.sync_folder(folder)


def discard(folder: Path) -> None:
    """Remove a folder so that no half of it is ever visible: rename first, then delete."""
    if not folder.exists():
        return
    doomed = folder.with_name(f".{folder.name}.old{_PARTIAL}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(name: str) -> None:
    """Remove what a killed process left. Only under the lock, or it would remove what another is writing."""
    for path in root().iterdir():
        if path.name.startswith(f".{slug(name)}@") and path.name.endswith(_PARTIAL):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def lock(name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of that name. Without `wait`, a lock that another process holds is a ModelError."""
    from filelock import FileLock, Timeout  # here because it imports asyncio, which every `mtasr --help` would pay for

    held = FileLock(root() / f".{slug(name)}.lock")
    with disk(root()):
        root().mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(blocking=wait)
        except Timeout:
            raise ModelError(f"another process is at work on {name} in the model cache") from None
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn what the disk complains about into one line."""
    try:
        yield
    except OSError as exc:
        raise ModelError(f"cannot write to the model cache: {path}: {exc.strerror or exc}") from exc
