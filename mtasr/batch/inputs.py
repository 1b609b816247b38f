"""Which recordings to transcribe: files, folders, patterns that no shell has expanded, and lists."""

from __future__ import annotations

import codecs
import contextlib
import glob
import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtasr.audio.extensions import EXTENSIONS
from mtasr.errors import InputError, InputNotFoundError, UsageError
from mtasr.remote.listing import below, can_be_listed, is_prefix
from mtasr.remote.state import RemoteState
from mtasr.remote.urls import check_listed, is_url, shown, stem_of, suffix_of

STDIN = "-"

_LOG = logging.getLogger(__name__)

_PATTERN = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Input:
    """A recording, and the folder below the output folder where its files go."""

    source: str
    below: Path = Path()
    #: What a listing said of an object in a store.
    state: RemoteState | None = None

    @property
    def stem(self) -> Path:
        """The path of its files, below the output folder and without their endings."""
        if is_url(self.source):
            return self.below / stem_of(self.source)
        return self.below / ("stdin" if self.source == STDIN else Path(self.source).stem)


def name_of(source: str) -> str:
    """What messages call an input."""
    return "standard input" if source == STDIN else shown(source) if is_url(source) else source


def gather(
    named: Sequence[str],
    files_from: str | None = None,
    *,
    recursive: bool = False,
    allowed_schemes: Collection[str] = (),
) -> list[Input]:
    """The recordings among the names and in the list file `files_from`, in that order, each once.

    Recordings of a folder come by name; results for those of its subfolders go to subfolders of the same names. A list
    file has one path per line, or paths between NULs as `find -print0` writes them; "-" reads standard input.
    A list may come from somebody else: it may have URLs of `allowed_schemes` only. Recordings below a URL that ends
    with "/" come in the order of the store.
    Raises `UsageError` when nothing is named, and for a URL that is not allowed; `InputError` for a folder or list
    without recordings.
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
            if is_url(name):
                check_listed(name, frozenset(each.lower() for each in allowed_schemes))
            _add(found, _of_folder(name, recursive=recursive) if _is_folder(name) else [Input(name)])
        if not found:
            raise InputError(f"{name_of(files_from)}: the list names no recording")
    return list(found.values())


def _add(found: dict[str, Input], inputs: Iterable[Input]) -> None:
    for each in inputs:
        # Links stay what they are: the same recording under two names may be wanted under both.
        as_it_is = each.source == STDIN or is_url(each.source)
        found.setdefault(each.source if as_it_is else os.path.abspath(each.source), each)  # noqa: PTH100


def _expanded(name: str, *, recursive: bool) -> list[Input]:
    if name == STDIN:
        return [Input(name)]
    if _is_folder(name):
        return _of_folder(name, recursive=recursive)
    if is_url(name):
        return _matching(name) or [Input(name)]
    if _PATTERN & set(name) and not os.path.lexists(name):
        # Sorted as a shell does. A pattern without a match stays, and is reported as a missing file.
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        return [Input(match) for match in matches if not _is_folder(match) and not _waits(match)] or [Input(name)]
    return [Input(name)]


def _matching(url: str) -> list[Input]:
    """The objects that a URL with "*" in its last part stands for. An object that has that very name is meant itself.

    Raises `InputError`.
    """
    folder, _, last = url.rpartition("/")
    if "*" not in last or not can_be_listed(url):
        return []
    pattern = re.compile(".*".join(re.escape(part) for part in last.split("*")), re.DOTALL)
    found = [
        Input(each, state=state) for each, path, state in below(folder, recursive=False) if pattern.fullmatch(path.name)
    ]
    return [each for each in found if each.source == url] or found


def _is_folder(name: str) -> bool:
    if is_url(name):
        # Whoever names a recording that is missing is told so later, like one who names a missing file.
        with contextlib.suppress(InputError):
            return suffix_of(name)[1:] not in EXTENSIONS and is_prefix(name)
        return False
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
    found = list((_recordings_below if is_url(name) else recordings)(name, recursive=recursive))
    if not found:
        advice = "" if recursive else "; --recursive looks into its subfolders too"
        raise InputNotFoundError(f"{name_of(name)}: this folder has no recordings{advice}")
    return found


def _recordings_below(url: str, *, recursive: bool) -> Iterator[Input]:
    for found, path, state in below(url, recursive=recursive):
        if path.suffix[1:].lower() in EXTENSIONS:
            yield Input(found, Path(path).parent, state)


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
        raise InputError(f"{name_of(source)}: is a recording, not a list of them; name it without --files-from")
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
