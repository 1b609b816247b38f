"""Writing a model all or nothing.

It is written beside its destination, into a hidden folder, and renamed when it is complete. If anything fails, the
destination stays as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mtasr.checkpoints.formats import FORMATS, format_named
from mtasr.errors import OutputError


def check_destination(destination: Path, kind: str, *, force: bool) -> None:
    """Raise `OutputError` unless a model in the format named `kind` may be written there; `force` replaces a model."""
    if not destination.exists() and not destination.is_symlink():
        return
    if destination.is_dir() and not any(destination.iterdir()):
        return
    if not force:
        raise OutputError(f"{destination} exists; --force replaces it")
    writes_file = bool(format_named(kind).ending)
    if destination.is_dir() == writes_file:
        what = "file" if writes_file else "folder"
        raise OutputError(f"{destination} is not a {what}, which the {kind} format writes; remove it first")
    if destination.is_dir():
        replaceable = frozenset[str]().union(*(each.files for each in FORMATS))
        others = sorted(path.name for path in destination.iterdir() if path.name not in replaceable or path.is_dir())
        if others:
            raise OutputError(
                f"{destination} holds more than a model ({others[0]}) and is not replaced; remove it first"
            )


@contextlib.contextmanager
def staged(destination: Path, *, force: bool) -> Iterator[Path]:
    """A path to write to. It becomes the destination on success; an error leaves nothing behind."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent))
        try:
            staging = room / destination.name
            yield staging
            _sync(staging)
            _put_in_place(staging, destination, room / "replaced", force=force)
        finally:
            shutil.rmtree(room, ignore_errors=True)
    except OSError as exc:
        raise OutputError(f"cannot write {destination}: {exc.strerror or exc}") from exc


def _put_in_place(staging: Path, destination: Path, aside: Path, *, force: bool) -> None:
    if destination.exists() and force:
        destination.rename(aside)
        try:
            staging.rename(destination)
        except BaseException:
            aside.rename(destination)
            raise
        return
    if destination.is_dir():
        destination.rmdir()  # it was empty
    staging.rename(destination)


def _sync(path: Path) -> None:
    """Before the rename: after a power cut the files of the model must not be empty."""
    for file in [path] if path.is_file() else path.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
