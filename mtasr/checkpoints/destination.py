"""Where a model is written to: all or nothing.

It is made in a hidden neighbour of its destination and renamed only when it is whole: whatever fails, the destination
is as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mtasr.checkpoints.tensor_names import Format
from mtasr.errors import OutputError
from mtasr.models.folder import ALLOWED, MANIFEST

#: What a folder may hold to be replaced: the files of model folders. Anything else is somebody's, and stays.
_REPLACEABLE = ALLOWED | {
    MANIFEST,
    "added_tokens.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "tokenizer_config.json",
    "vocab.json",
}


def check_destination(destination: Path, kind: Format, *, force: bool) -> None:
    """Raise `OutputError` unless a model in this format may be written there, in place of one only with `force`."""
    if not destination.exists() and not destination.is_symlink():
        return
    if destination.is_dir() and not any(destination.iterdir()):
        return
    if not force:
        raise OutputError(f"{destination} exists; --force replaces it")
    if destination.is_dir() == (kind == "openai"):
        raise OutputError(f"{destination} is not what the {kind} format writes, a {_what(kind)}; remove it first")
    if destination.is_dir():
        others = sorted(path.name for path in destination.iterdir() if path.name not in _REPLACEABLE or path.is_dir())
        if others:
            raise OutputError(
                f"{destination} holds more than a model ({others[0]}) and is not replaced; remove it first"
            )


def _what(kind: Format) -> str:
    return "file" if kind == "openai" else "folder"


@contextlib.contextmanager
def staged(destination: Path, *, force: bool) -> Iterator[Path]:
    """A path to write to that becomes the destination if all goes well, and else leaves nothing behind."""
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
    """Bytes before names: after a power cut the renamed model must not turn out to be empty."""
    for file in [path] if path.is_file() else path.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
