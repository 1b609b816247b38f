"""Where results go: names planned and checked before any work, files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from mtasr.errors import OutputError, UsageError
from mtasr.subtitles import Broken, Layout, lay_out
from mtasr.transcript import Transcript
from mtasr.writers import PLAIN, SUBTITLE_FORMATS, WRITERS, Style

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Job:
    """One input and the files it becomes, by format."""

    source: str
    targets: dict[str, Path]
    #: The same of its translation, if that is wanted too.
    translations: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name_of(self.source)

    @property
    def files(self) -> list[Path]:
        return [*self.targets.values(), *self.translations.values()]


def name_of(source: str) -> str:
    """What messages call an input."""
    return "standard input" if source == STDIN else source


def plan(sources: Sequence[str], directory: Path, formats: Iterable[str], *, translated: bool = False) -> list[Job]:
    """The work to do, nothing written yet. `a.wav` becomes `a.srt`, and with `translated` also `a.en.srt`.

    Raises `UsageError` when two inputs would become the same file, or an output would replace an input.
    """
    chosen = list(WRITERS) if "all" in formats else list(dict.fromkeys(formats))

    def targets(name: str) -> dict[str, Path]:
        return {form: directory / f"{name}.{form}" for form in chosen}

    jobs = [
        Job(source, targets(_stem(source)), targets(f"{_stem(source)}.en") if translated else {}) for source in sources
    ]
    _refuse_collisions(jobs)
    for job in jobs:
        for target in job.files:
            _refuse_overwriting_input(target, sources)
    return jobs


def _stem(source: str) -> str:
    return "stdin" if source == STDIN else Path(source).stem


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    owners: dict[Path, str] = {}
    for job in jobs:
        for target in job.files:
            if owners.get(target) == job.name:
                raise UsageError(f"{job.name} is given twice")
            if target in owners:
                raise UsageError(
                    f"{owners[target]} and {job.name} would both be written to {target}; "
                    "name different files or run them with different --output-dir"
                )
            owners[target] = job.name


def _refuse_overwriting_input(target: Path, sources: Sequence[str]) -> None:
    try:
        if not target.exists():
            return
        if target.is_dir():
            raise OutputError(f"{target}: is a folder")
        same = [source for source in sources if source != STDIN and Path(source).exists() and target.samefile(source)]
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {_reason(error)}") from error
    for source in same:
        raise UsageError(f"{source}: would be overwritten by its own or another input's result {target}")


def prepare(directory: Path) -> None:
    """Make the folder and see that files can be made in it. Raises `OutputError`."""
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
    subtitled = any(form in SUBTITLE_FORMATS for form in targets)
    subtitles = lay_out(transcript, layout) if layout is not None and subtitled else None

    def write_as(form: str, stream: TextIO) -> None:
        content = subtitles.transcript if subtitles is not None and form in SUBTITLE_FORMATS else transcript
        WRITERS[form](content, stream, style)

    for form, target in targets.items():
        write_text(target, partial(write_as, form))
    return subtitles.broken if subtitles is not None else ()


def check_target(target: Path, sources: Sequence[str] = ()) -> None:
    """See that a file can be written there and is none of the `sources`. Raises `OutputError` or `UsageError`."""
    _refuse_overwriting_input(target, sources)
    prepare(target.parent)


def write_text(target: Path, write_to: Callable[[TextIO], object]) -> None:
    """Write a text under a passing name and rename it. Raises `OutputError`, and leaves nothing behind then."""

    def write_into(passing: Path) -> None:
        with passing.open("x", encoding="utf-8", newline="\n") as stream:
            write_to(stream)

    write_file(target, write_into)


def write_file(target: Path, write_into: Callable[[Path], object]) -> None:
    """The same for what writes a file by its name."""
    # Not named after the target: a long name would grow past what file systems take.
    passing = target.with_name(f".mtasr-{secrets.token_hex(6)}.part")
    try:
        write_into(passing)
        passing.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: {_reason(error)}") from error
    finally:
        passing.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
