"""Where results go: files named and checked before any work, folders made when it begins."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from mtasr import atomic
from mtasr.batch.inputs import Input, name_of
from mtasr.errors import OutputError, UsageError
from mtasr.formats.cues import PLAIN, Style
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.remote.folder import RemotePath, check_writable, write_object
from mtasr.remote.listing import ask_all
from mtasr.remote.state import RemoteState
from mtasr.remote.urls import is_url, scheme_of, shown
from mtasr.subtitles import Broken, Layout, lay_out
from mtasr.transcript import Transcript

#: A file or a folder, here or in a store.
Destination = Path | RemotePath


@dataclass(frozen=True, slots=True)
class Job:
    """One input and the files it becomes. A batch holds thousands, so file names are made on demand."""

    source: str
    directory: Destination
    #: The path of its files below the directory, without their endings.
    stem: str
    formats: tuple[str, ...]
    #: Whether to write an English translation as well.
    translated: bool = False
    #: What a store says of a recording behind a URL, if it has been asked.
    state: RemoteState | None = None

    @property
    def name(self) -> str:
        return name_of(self.source)

    @property
    def targets(self) -> dict[str, Destination]:
        """The files of the transcript, by format."""
        return self._named(self.stem)

    @property
    def translations(self) -> dict[str, Destination]:
        """The files of the translation, by format; empty without one."""
        return self._named(f"{self.stem}.en") if self.translated else {}

    def _named(self, stem: str) -> dict[str, Destination]:
        return {form: self.directory / f"{stem}.{form}" for form in self.formats}

    @property
    def files(self) -> list[Destination]:
        return [*self.targets.values(), *self.translations.values()]

    @property
    def names(self) -> dict[str, Destination]:
        """The files by their paths below the output folder."""
        stems = (self.stem, f"{self.stem}.en") if self.translated else (self.stem,)
        return {f"{stem}.{form}": self.directory / f"{stem}.{form}" for stem in stems for form in self.formats}

    @property
    def local_files(self) -> list[Path]:
        """Those of the files that are on this machine."""
        return [file for file in self.files if isinstance(file, Path)]


def plan(
    inputs: Sequence[Input], directory: Destination, formats: Iterable[str], *, translated: bool = False
) -> list[Job]:
    """The jobs for these inputs; nothing is written yet. `a.wav` becomes `a.srt`, with `translated` also `a.en.srt`.

    The format "all" means every one. Raises `UsageError` when two inputs would become the same file, or an output would
    replace an input.
    """
    chosen = tuple(OUTPUT_FORMATS) if "all" in formats else tuple(dict.fromkeys(formats))
    jobs = [Job(each.source, directory, str(each.stem), chosen, translated, each.state) for each in inputs]
    owners: dict[Destination, str] = {}
    sources = _files(job.source for job in jobs)
    for job in jobs:
        for target in job.files:
            if target in owners:
                raise UsageError(
                    f"{owners[target]} and {job.name} would both be written to {target}; "
                    "name different files or run them with different --output-dir"
                )
            owners[target] = job.name
    named = {job.source for job in jobs}
    for target in owners:
        if isinstance(target, RemotePath) and target.url in named:
            raise UsageError(f"{target}: would be overwritten by its own or another input's result")
        _refuse_overwriting(target, sources)
    return jobs


def _files(sources: Iterable[str]) -> dict[tuple[int, int], str]:
    """Sources by device and inode, whatever their names. A missing file is reported later, for that recording alone."""
    found = {}
    for source in sources:
        if is_url(source):
            continue
        with contextlib.suppress(OSError):
            status = Path(source).stat()
            found[status.st_dev, status.st_ino] = source
    return found


def _refuse_overwriting(target: Destination, inputs: Mapping[tuple[int, int], str]) -> None:
    if isinstance(target, RemotePath):
        return
    status = atomic.check_replaceable(target)
    if status is not None and (source := inputs.get((status.st_dev, status.st_ino))) is not None:
        raise UsageError(f"{source}: would be overwritten by its own or another input's result {target}")


@contextlib.contextmanager
def new_folders(directories: Sequence[Destination]) -> Iterator[None]:
    """Make the folders, check that files can be made in them, and at the end remove new ones that stayed empty.

    Of folders in a store, the first is checked: the others are names in the same bucket.
    Raises `OutputError`.
    """
    made: list[Path] = []
    try:
        for directory in dict.fromkeys(directories):
            if isinstance(directory, RemotePath):
                if directory == directories[0]:
                    check_writable(directory)
                continue
            made += [each for each in (directory, *directory.parents) if not os.path.exists(each)]  # noqa: PTH110 - does not raise
            prepare(directory)
        yield
    finally:
        for each in sorted(dict.fromkeys(made), key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                each.rmdir()


def done(jobs: Sequence[Job]) -> frozenset[str]:
    """The sources of those jobs whose files all exist. A store is asked for many at the same time."""
    remote = {file.url: file for job in jobs for file in job.files if isinstance(file, RemotePath)}
    asked = ask_all(lambda url: remote[url].exists(), remote)
    if (problem := next((each for each in asked.values() if isinstance(each, Exception)), None)) is not None:
        raise problem

    def exists(file: Destination) -> bool:
        return file.exists() if isinstance(file, Path) else bool(asked[file.url])

    return frozenset(job.source for job in jobs if all(map(exists, job.files)))


def prepare(directory: Path) -> None:
    """Make a folder and check that files can be made in it. Raises `OutputError`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Permission bits say nothing of read-only file systems, quotas and the superuser.
        with tempfile.TemporaryFile(dir=directory):
            pass
    except FileExistsError as error:
        raise OutputError(f"{directory}: is a file, not a folder") from error
    except OSError as error:
        raise OutputError(f"{directory}: cannot write here: {atomic.reason(error)}") from error


def write(
    transcript: Transcript, targets: Mapping[str, Destination], style: Style = PLAIN, layout: Layout | None = None
) -> tuple[Broken, ...]:
    """Write a transcript to a file for each format. Raises `OutputError`.

    With a layout, subtitles are laid out first; returns the rules that the speech did not allow to keep.
    """
    subtitled = any(OUTPUT_FORMATS[form].is_subtitle for form in targets)
    subtitles = lay_out(transcript, layout) if layout is not None and subtitled else None

    def write_as(form: str, stream: TextIO) -> None:
        content = subtitles.transcript if subtitles is not None and OUTPUT_FORMATS[form].is_subtitle else transcript
        OUTPUT_FORMATS[form].write(content, stream, replace(style, recording=style.recording or targets[form].stem))

    for form, target in targets.items():
        write_text(target, partial(write_as, form))
    return subtitles.broken if subtitles is not None else ()


def write_text(target: Destination, write_to: Callable[[TextIO], object]) -> None:
    """As `atomic.write_text`, also into a store."""
    if not isinstance(target, RemotePath):
        atomic.write_text(target, write_to)
        return
    text = io.StringIO(newline="\n")
    write_to(text)
    write_object(target, text.getvalue().encode("utf-8", "backslashreplace"))


def to_destination(directory: str) -> Destination:
    """The output folder of this name, which may be a URL. Raises `UsageError` for one that cannot be one."""
    if not is_url(directory):
        return Path(directory)
    if scheme_of(directory) in ("file", "local"):
        raise UsageError(f"{shown(directory)}: is a folder of this machine: give its path")
    return RemotePath(directory)


def to_folder(directory: str) -> Path:
    """The output folder of this name. Raises `UsageError` for a URL."""
    if is_url(directory):
        raise UsageError(f"{shown(directory)}: these results go to a folder of this machine")
    return Path(directory)


def write_job(transcript: Transcript, job: Job, style: Style, layout: Layout | None) -> tuple[Broken, ...]:
    """Write the files of a job: those of the transcript, and of its translation if it has one. As `write`."""
    broken = write(transcript, job.targets, style, layout)
    if transcript.translation is not None:
        broken += write(transcript.translation, job.translations, style, layout)
    return broken


def check_target(target: Path, sources: Sequence[str] = ()) -> None:
    """Check that a file can be written there and is none of the `sources`. Raises `OutputError` or `UsageError`."""
    _refuse_overwriting(target, _files(sources))
    prepare(target.parent)
