"""The folder that keeps downloaded and unpacked models.

    $MTASR_CACHE, or models/ in the user's cache folder
        base@ebe41f70d5b6/                  a model: name @ first digits of the revision
            model.bin config.json ... mtasr.json
        .base@ebe41f70d5b6.partial/         a model that is being written
        .base.lock                          held while a model is written or removed
        int8/                               copies that load faster, see int8_copy.py

A model is written to a `.partial` folder that is renamed at the end, so a model folder is always complete. The next
installation of the model removes the `.partial` folder of a killed process. Reading takes no lock and writes nothing,
so the cache may be on a read-only disk.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mtasr import system
from mtasr.errors import ModelCacheError, ModelError, ModelIntegrityError
from mtasr.models.folder import ALLOWED, PROVENANCE, FileRecord, Provenance, changed_sizes

_PARTIAL = ".partial"


def root() -> Path:
    """The cache folder; it need not exist."""
    if configured := os.environ.get("MTASR_CACHE"):
        return Path(configured).expanduser()
    import platformdirs

    # A user without a home has no cache: nothing can be written behind this path. Some versions of platformdirs name a
    # folder "~" in the working directory.
    nowhere = Path(os.devnull, "models")
    try:
        folder = Path(platformdirs.user_cache_dir("mtasr", appauthor=False)) / "models"
    except RuntimeError:
        return nowhere
    return folder if folder.is_absolute() else nowhere


def slug(name: str) -> str:
    """A model name or `owner/name` as part of a file name."""
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
    """Whether this folder of the cache exists. Raises `ModelError` if the cache cannot be read."""
    try:
        return folder.is_dir()
    except OSError as exc:
        raise ModelError(f"{folder.parent}: the model cache cannot be read: {exc.strerror}") from exc


def intact(folder: Path) -> bool:
    """Whether the folder exists and passes the quick check."""
    try:
        return holds(folder) and not changed_sizes(folder, Provenance.read(folder))
    except ModelIntegrityError:
        return False


def require_intact(folder: Path, name: str) -> Path:
    """The folder itself, if it passes the quick check. Raises `ModelIntegrityError`, which says how to repair it."""
    try:
        problems = changed_sizes(folder, Provenance.read(folder))
    except ModelIntegrityError as exc:
        problems = [str(exc)]
    if problems:
        advice = f"`mtasr models pull --force {name}` installs it again"
        raise ModelIntegrityError(f"the copy of {name} in {folder} is damaged: {', '.join(problems)}; {advice}")
    return folder


class Staging:
    """A model folder under construction. The caller of `install` fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, FileRecord] = {}

    def write(self, name: str, blocks: Iterable[bytes]) -> FileRecord:
        """Write a file as its bytes arrive, and return its size and hash. An error leaves no file behind.

        An OSError that `blocks` raises is reported as an error of the disk.
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
                _fsync(stream)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self.records[name] = FileRecord(size, digest.hexdigest())
        return self.records[name]


def install(name: str, repo: str, revision: str, fill: Callable[[Staging], None], *, replace: bool = False) -> Path:
    """Install one model and return its folder.

    `fill` writes the files and raises if one of them is wrong. If another process has just installed the model, `fill`
    is not called, unless `replace` asks for a new copy. Raises `ModelCacheError` if the cache cannot be written.
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


def install_for_now(name: str, fill: Callable[[Staging], None]) -> Path:
    """Like `install`, into a temporary folder that is removed when the program ends."""
    if name not in _FOR_NOW:
        with disk(Path(tempfile.gettempdir())):
            folder = Path(tempfile.mkdtemp(prefix="mtasr-"))
        atexit.register(_remove_in, os.getpid(), folder)
        fill(Staging(folder))
        _FOR_NOW[name] = folder
    return _FOR_NOW[name]


#: The folders of `install_for_now`, by model.
_FOR_NOW: dict[str, Path] = {}


def _remove_in(process: int, folder: Path) -> None:
    if process == os.getpid():  # not in its forks, which end before it
        shutil.rmtree(folder, ignore_errors=True)


def remove(name: str) -> list[Path]:
    """Remove all cached revisions of a model and return their folders."""
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
        _fsync(stream)
    system.sync_folder(folder)


def _fsync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def discard(folder: Path) -> None:
    """Remove a folder. It is renamed first, so that an incomplete folder is never visible."""
    if not folder.exists():
        return
    doomed = folder.with_name(f".{folder.name}.old{_PARTIAL}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(name: str) -> None:
    """Remove what a killed process left. Only under the lock, since another process may be writing."""
    for path in root().iterdir():
        if path.name.startswith(f".{slug(name)}@") and path.name.endswith(_PARTIAL):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def lock(name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of that name. Without `wait`, raises `ModelError` if another process holds it."""
    from filelock import FileLock, Timeout  # here because it imports asyncio, which would slow down `mtasr --help`

    held = FileLock(root() / f".{slug(name)}.lock")
    with disk(root()):
        root().mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(blocking=wait)
        except Timeout:
            raise ModelError(f"another process is using {name} in the model cache") from None
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an error of the disk into a `ModelCacheError`."""
    try:
        yield
    except OSError as exc:
        reason = f"cannot write to the model cache: {path}: {exc.strerror or exc}"
        raise ModelCacheError(f"{reason}; MTASR_CACHE names another folder for it") from exc
