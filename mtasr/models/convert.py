"""From one checkpoint format to another, all or nothing, with a parity gate at the end.

The result is written to a hidden neighbour of its destination, loaded and compared with the source there, and only
then renamed: whatever fails, the destination is as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtasr.errors import OutputError, UsageError
from mtasr.models import registry
from mtasr.models.checkpoints import Precision, load_checkpoint, save_checkpoint, torch_required
from mtasr.models.folder import ALLOWED, MANIFEST
from mtasr.models.names import Format
from mtasr.models.resolve import resolve

if TYPE_CHECKING:
    from mtasr.models.parity import Parity

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What became of a conversion."""

    source: Path
    precision: Precision
    parity: Parity


def convert(
    source: str,
    destination: Path,
    kind: Format = "ctranslate2",
    precision: Precision | None = None,
    *,
    force: bool = False,
) -> Conversion:
    """Write the model `source` (a name, folder or `.pt` file) to `destination` in that format.

    Without a precision, that of the source is kept; formats other than CTranslate2's have float32 in place of int8.
    An existing destination is replaced only with `force`, and only if it holds nothing but a model.

    Raises `UsageError`, `OutputError` for the destination, and `ModelError` for the source or if the result does not
    compute what the source computes.
    """
    if kind != "ctranslate2" and precision and precision.startswith("int8"):
        raise UsageError(f"the {kind} format does not store {precision}; use float32, float16 or bfloat16")
    destination = destination.expanduser().absolute()
    _check_destination(destination, kind, force=force)
    path = _locate(source)
    if path.resolve() == destination.resolve():
        raise UsageError(f"{destination} is the source itself")
    checkpoint = load_checkpoint(path)
    if precision is None:
        stored = checkpoint.precision
        precision = "float32" if stored.startswith("int8") and kind != "ctranslate2" else stored
    with _staged(destination, force=force) as staging:
        save_checkpoint(checkpoint, staging, kind, precision)
        with torch_required():
            from mtasr.models.parity import compare
        parity = compare(checkpoint, staging, kind, precision)
        parity.require()
    return Conversion(source=path, precision=precision, parity=parity)


def _locate(source: str) -> Path:
    """A path if there is something; in doubt (a folder of the name of a model) as `resolve` decides."""
    path = Path(source).expanduser()
    if path.is_file() or (path.is_dir() and registry.find(source) is None):
        return path
    return resolve(source)


def _check_destination(destination: Path, kind: Format, *, force: bool) -> None:
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
def _staged(destination: Path, *, force: bool) -> Iterator[Path]:
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
