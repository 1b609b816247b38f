"""Where results go: names planned and checked before any work, files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from mtasr import system
from mtasr.cli.inputs import Input, name_of
from mtasr.errors import OutputError, UsageError
from mtasr.formats.cues import PLAIN, Style
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.subtitles import Broken, Layout, lay_out
from mtasr.transcript import Transcript

#: How the names of files begin that are being written.
_PASSING = ".mtasr-"


@dataclass(frozen=True, slots=True)
class Job:
    """One input and the files it becomes. A batch holds thousands, so their names are made when they are asked for."""

    source: str
    directory: Path
    #: Its files below the directory, without their endings.
    stem: str
    formats: tuple[str, ...]
    #: Whether there is to be a translation beside it.
    translated: bool = False

    @property
    def name(self) -> str:
        return name_of(self.source)

    @property
    def targets(self) -> dict[str, Path]:
        """By format."""
        return self._named(self.stem)

    @property
    def translations(self) -> dict[str, Path]:
        """By format, none if no translation is wanted."""
        return self._named(f"{self.stem}.en") if self.translated else {}

    def _named(self, stem: str) -> dict[str, Path]:
        return {form: self.directory / f"{stem}.{form}" for form in self.formats}

    @property
    def files(self) -> list[Path]:
        return [*self.targets.values(), *self.translations.values()]


def plan(inputs: Sequence[Input], directory: Path, formats: Iterable[str], *, translated: bool = False) -> list[Job]:
    """The work to do, nothing written yet. `a.wav` becomes `a.srt`, and with `translated` also `a.en.srt`.

    Raises `UsageError` when two inputs would become the same file, or an output would replace an input.
    """
    chosen = tuple(OUTPUT_FORMATS) if "all" in formats else tuple(dict.fromkeys(formats))
    jobs = [Job(each.source, directory, str(each.stem), chosen, translated) for each in inputs]
    _refuse_collisions(jobs)
    _refuse_overwriting_inputs(jobs)
    return jobs


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    owners: dict[Path, str] = {}
    for job in jobs:
        for target in job.files:
            if target in owners:
                raise UsageError(
                    f"{owners[target]} and {job.name} would both be written to {target}; "
                    "name different files or run them with different --output-dir"
                )
            owners[target] = job.name


def _refuse_overwriting_inputs(jobs: Sequence[Job]) -> None:
    inputs = _files(job.source for job in jobs)
    for job in jobs:
        for target in job.files:
            _refuse_overwriting(target, inputs)


def _files(sources: Iterable[str]) -> dict[tuple[int, int], str]:
    """Each by what it is, whatever its name. What is not there is told later, of that one alone."""
    found = {}
    for source in sources:
        with contextlib.suppress(OSError):
            status = Path(source).stat()
            found[status.st_dev, status.st_ino] = source
    return found


def _refuse_overwriting(target: Path, inputs: Mapping[tuple[int, int], str]) -> None:
    try:
        status = target.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {_reason(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise OutputError(f"{target}: is a folder")
    # What is written takes the place of what was there, which must not be a pipe or a device, nor /dev/stdout.
    if not stat.S_ISREG(status.st_mode) or system.is_system_path(target.parent.resolve() / target.name):
        raise OutputError(f"{target}: is not a file; name one that can be replaced")
    if (source := inputs.get((status.st_dev, status.st_ino))) is not None:
        raise UsageError(f"{source}: would be overwritten by its own or another input's result {target}")


@contextlib.contextmanager
def new_folders(directories: Sequence[Path]) -> Iterator[None]:
    """Make the folders and see that files can be made in them; those that stay empty are gone afterwards.

    Raises `OutputError`.
    """
    made: list[Path] = []
    try:
        for directory in dict.fromkeys(directories):
            made += [each for each in (directory, *directory.parents) if not os.path.exists(each)]  # noqa: PTH110 - does not raise
            prepare(directory)
        yield
    finally:
        for each in sorted(dict.fromkeys(made), key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                each.rmdir()


def prepare(directory: Path) -> None:
    """Make a folder and see that files can be made in it. Raises `OutputError`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Permission bits do not tell about read-only file systems, quotas and the superuser.
        with tempfile.TemporaryFile(dir=directory):
            pass
    except FileExistsError as error:
        raise OutputError(f"{directory}: is a file, not a folder") from error
    except OSError as error:
        raise OutputError(f"{directory}: cannot write here: {_reason(error)}") from error


def write(
    transcript: Transcript, targets: dict[str, Path], style: Style = PLAIN, layout: Layout | None = None
) -> tuple[Broken, ...]:
    """Write every file, each under a passing name first, so that no reader meets half of one. Raises `OutputError`.

    Subtitles are laid out first, if there is a layout; returned are the rules that the speech does not allow in them.
    """
    subtitled = any(OUTPUT_FORMATS[form].is_subtitle for form in targets)
    subtitles = lay_out(transcript, layout) if layout is not None and subtitled else None

    def write_as(form: str, stream: TextIO) -> None:
        content = subtitles.transcript if subtitles is not None and OUTPUT_FORMATS[form].is_subtitle else transcript
        OUTPUT_FORMATS[form].write(content, stream, style)

    for form, target in targets.items():
        write_text(target, partial(write_as, form))
    return subtitles.broken if subtitles is not None else ()


def check_target(target: Path, sources: Sequence[str] = ()) -> None:
    """See that a file can be written there and is none of the `sources`. Raises `OutputError` or `UsageError`."""
    _refuse_overwriting(target, _files(sources))
    prepare(target.parent)


def write_text(target: Path, write_to: Callable[[TextIO], object]) -> None:
    """Write a text under a passing name and rename it. Raises `OutputError`, and leaves nothing behind then."""

    def write_into(passing: Path) -> None:
        # Bytes of a file's name that are not UTF-8 are written as Python and JSON write them: \udcff.
        with passing.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            write_to(stream)

    write_file(target, write_into)


def write_file(target: Path, write_into: Callable[[Path], object]) -> None:
    """The same for what writes a file by its name; an empty one is there already."""
    try:
        with _passing_file(target.parent) as passing:
            write_into(passing)
            passing.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: {_reason(error)}") from error


@contextlib.contextmanager
def _passing_file(folder: Path) -> Iterator[Path]:
    """An empty file there, locked, so that nobody takes it for torn; what is left of it in the end is removed."""
    while True:
        # Not named after the target: a long name would grow past what file systems take.
        passing = folder / f"{_PASSING}{secrets.token_hex(6)}.part"
        try:
            with passing.open("xb") as lock:
                system.lock_file(lock, wait=True)
                if passing.exists():  # else it was taken for torn before it was locked
                    yield passing
                    return
        finally:
            passing.unlink(missing_ok=True)


def remove_torn(folder: Path) -> None:
    """Remove the files under passing names whose writers were killed."""
    for passing in folder.glob(f"{_PASSING}*.part"):
        # What somebody is writing is locked. What cannot be removed stays.
        with contextlib.suppress(OSError), passing.open("rb") as stream:
            if system.lock_file(stream, wait=False):
                passing.unlink()


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
