"""Which recordings to transcribe: files, folders, patterns that no shell has expanded, and lists."""

from __future__ import annotations

import codecs
import glob
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtasr.audio.extensions import EXTENSIONS
from mtasr.errors import InputError, InputNotFoundError, UsageError

STDIN = "-"

_LOG = logging.getLogger(__name__)

_PATTERN = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Input:
    """A recording, and the folder below the output folder where its files go."""

    source: str
    below: Path = Path()

    @property
    def stem(self) -> Path:
        """The path of its files, below the output folder and without their endings."""
        return self.below / ("stdin" if self.source == STDIN else Path(self.source).stem)


def name_of(source: str) -> str:
    """What messages call an input."""
    return "standard input" if source == STDIN else source


def gather(named: Sequence[str], files_from: str | None = None, *, recursive: bool = False) -> list[Input]:
    """The recordings among the names and in the list file `files_from`, in that order, each once.

    Recordings of a folder come by name; results for those of its subfolders go to subfolders of the same names. A list
    file has one path per line, or paths between NULs as `find -print0` writes them; "-" reads standard input.
    Raises `UsageError` when nothing is named, `InputError` for a folder or list without recordings.
    """
    if not named and files_from is None:
        raise UsageError("no recording is named: give a FILE or a folder, or a list with --files-from")
    if files_from == STDIN and STDIN in named:
        raise UsageError("standard input (-) can be read only once")
    found: dict[str, Input] = {}
    for name in named:
        _add(found, _expanded(name, recursive=recursive))
    if files_from is not None:
        for name in _listed(files_from):
            _add(found, _of_folder(name, recursive=recursive) if _is_folder(name) else [Input(name)])
        if not found:
            raise InputError(f"{name_of(files_from)}: the list names no recording")
    return list(found.values())


def _add(found: dict[str, Input], inputs: Iterable[Input]) -> None:
    for each in inputs:
        # Links stay what they are: the same recording under two names may be wanted under both.
        found.setdefault(STDIN if each.source == STDIN else os.path.abspath(each.source), each)  # noqa: PTH100


def _expanded(name: str, *, recursive: bool) -> list[Input]:
    if name == STDIN:
        return [Input(name)]
    if _is_folder(name):
        return _of_folder(name, recursive=recursive)
    if _PATTERN & set(name) and not os.path.lexists(name):
        # Sorted as a shell does. A pattern without a match stays, and is reported as a missing file.
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        return [Input(match) for match in matches if not _is_folder(match) and not _waits(match)] or [Input(name)]
    return [Input(name)]


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # a name longer than names can be, a folder that cannot be entered
        return False


def _waits(name: str) -> bool:
    """Whether it is a pipe, a device or the like: opening one that the user did not name could wait for ever."""
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 - names may hold what no path can
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _of_folder(name: str, *, recursive: bool) -> list[Input]:
    found = list(recordings(name, recursive=recursive))
    if not found:
        advice = "" if recursive else "; --recursive looks into its subfolders too"
        raise InputNotFoundError(f"{name}: this folder has no recordings{advice}")
    return found


def recordings(
    folder: str, *, recursive: bool, pass_over: Callable[[InputError], None] | None = None
) -> Iterator[Input]:
    """The recordings in a folder, by name, before those in its subfolders. Hidden files and folders are skipped.

    Raises `InputError` for a folder that cannot be read; with `pass_over`, the error of a subfolder goes there instead.
    A subfolder that is deleted meanwhile counts as empty.
    """

    def fail(error: OSError) -> None:
        if isinstance(error, FileNotFoundError) and error.filename != folder:
            return
        problem = InputError(f"{error.filename}: cannot be read: {error.strerror}")
        if pass_over is None or error.filename == folder:
            raise problem from error
        pass_over(problem)

    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(each for each in folders if recursive and not each.startswith("."))
        for file in sorted(files):
            path = Path(place, file)
            if not file.startswith(".") and path.suffix[1:].lower() in EXTENSIONS and not _waits(str(path)):
                yield Input(str(path), Path(place).relative_to(folder))


def _listed(source: str) -> list[str]:
    """The paths in a list file."""
    if Path(source).suffix[1:].lower() in EXTENSIONS:
        raise InputError(f"{source}: is a recording, not a list of them; name it without --files-from")
    try:
        content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except OSError as error:
        raise InputNotFoundError(f"{name_of(source)}: cannot be read: {error.strerror}") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return [name for name in content.decode("utf-16").splitlines() if name.strip()]
        except UnicodeDecodeError as error:
            raise InputError(f"{name_of(source)}: is not UTF-16 (byte {error.start})") from error
    content = content.removeprefix(codecs.BOM_UTF8)
    names = content.split(b"\0") if b"\0" in content else content.splitlines()
    return [_path_of(name) for name in names if name.strip()]


def _path_of(name: bytes) -> str:
    """The path that is meant: names on a disk may be any bytes, but a list from Windows may be in its encoding."""
    path = os.fsdecode(name)
    try:
        if os.path.lexists(path):
            return path
        guess = name.decode("cp1252")
    except ValueError:
        return path
    if not os.path.lexists(guess):
        return path
    _LOG.warning("%s: is written in Windows-1252 in the list", guess)
    return guess
