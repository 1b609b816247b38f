"""Files that appear whole or not at all: each is written under a passing name and then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from mtasr import system
from mtasr.errors import OutputError

#: How the names of files begin that are being written.
_PASSING = ".mtasr-"


def check_replaceable(target: Path) -> os.stat_result | None:
    """Raise `OutputError` unless the target is a file that can be replaced, or missing; returns its status, if any.

    A pipe or a device must not be replaced, nor a name such as /dev/stdout.
    """
    try:
        status = target.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {reason(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise OutputError(f"{target}: is a folder")
    if not stat.S_ISREG(status.st_mode) or system.is_system_path(target.parent.resolve() / target.name):
        raise OutputError(f"{target}: is not a file; name one that can be replaced")
    return status


def write_text(target: Path, write_to: Callable[[TextIO], object]) -> None:
    """Have `write_to` write UTF-8 text. Raises `OutputError`, and then leaves nothing behind."""

    def write_into(passing: Path) -> None:
        # Bytes of a file's name that are not UTF-8 are written as Python and JSON write them: \udcff.
        with passing.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            write_to(stream)

    write_file(target, write_into)


def write_file(target: Path, write_into: Callable[[Path], object]) -> None:
    """Have `write_into` write to a path, where there is an empty file. Raises `OutputError`, like `write_text`."""
    try:
        with _passing_file(target.parent) as passing:
            write_into(passing)
            passing.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: {reason(error)}") from error


@contextlib.contextmanager
def _passing_file(folder: Path) -> Iterator[Path]:
    """An empty file in the folder, locked, so that no other process takes it for torn; removed in the end."""
    while True:
        # Not named after the target: a long name would grow past what file systems take.
        passing = folder / f"{_PASSING}{secrets.token_hex(6)}.part"
        try:
            with passing.open("xb") as lock:
                if not system.lock_file(lock, wait=True):
                    lock.close()  # Windows, which has no such locks, renames no open file.
                if passing.exists():  # else another process took it for torn before it was locked
                    yield passing
                    return
        finally:
            passing.unlink(missing_ok=True)


def remove_torn(folder: Path) -> None:
    """Remove the files under passing names whose writers were killed; files still being written are locked."""
    for passing in folder.glob(f"{_PASSING}*.part"):
        with contextlib.suppress(OSError), passing.open("rb") as stream:
            if system.lock_file(stream, wait=False):
                passing.unlink()


def reason(error: OSError) -> str:
    """What the system says of an error, without the file's name."""
    return os.strerror(error.errno) if error.errno else str(error)
