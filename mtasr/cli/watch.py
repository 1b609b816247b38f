"""`mtasr watch`: transcribe recordings as they arrive in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from mtasr.batch import Input, Job, outputs
from mtasr.batch.inputs import recordings
from mtasr.cli.failures import ExitCode
from mtasr.cli.options.command import Command, option
from mtasr.cli.options.decoding import recognition_options, task_options
from mtasr.cli.options.files import output_options, progress_option, recursive_option, subtitle_options
from mtasr.cli.work import Work
from mtasr.errors import InputError, MtasrError, UsageError

#: When a missing file was modified.
_NEVER = float("-inf")


class _Stamp(NamedTuple):
    """What changes while a file is written."""

    size: int
    modified: int


class Watch:
    """Finds recordings in a folder that are new and complete."""

    def __init__(
        self, folder: str, *, recursive: bool, settled: float, report: Callable[[str], None] = lambda problem: None
    ) -> None:
        self._folder, self._recursive, self._settled = folder, recursive, settled
        self._report = report
        #: Problems of subfolders that have been reported.
        self._reported: set[str] = set()
        #: When each file was first seen as it is.
        self._seen: dict[str, tuple[_Stamp, float]] = {}
        self._given: dict[str, _Stamp] = {}

    def ready(self, now: float) -> list[Input]:
        """Recordings that have not changed for a while, again whenever they have changed. Raises `InputError`."""
        ready, seen = [], {}
        for each in recordings(self._folder, recursive=self._recursive, pass_over=self._pass_over):
            try:
                status = Path(each.source).stat()
            except OSError:  # gone already
                continue
            state = _Stamp(status.st_size, status.st_mtime_ns)
            before, since = self._seen.get(each.source, (None, now))
            since = since if before == state else now
            seen[each.source] = state, since
            if state.size and now - since >= self._settled and self._given.get(each.source) != state:
                self._given[each.source] = state
                ready.append(each)
        self._seen = seen
        return ready

    def _pass_over(self, problem: InputError) -> None:
        if str(problem) not in self._reported:
            self._reported.add(str(problem))
            self._report(str(problem))


@click.command(cls=Command)
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@recursive_option
@option(
    "Batches",
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    metavar="SECONDS",
    help="Time between checks of the folder.",
)
@option(
    "Batches",
    "--settled",
    type=click.FloatRange(min=0.0),
    default=5.0,
    metavar="SECONDS",
    help="Transcribe a file once it is unchanged for this long.",
)
@output_options
@progress_option
@subtitle_options
@recognition_options
@task_options
@click.pass_context
def watch(ctx: click.Context, /, **params: Any) -> int:
    """Transcribe the recordings in FOLDER, and those that arrive in it, until Ctrl-C.

    Skips a recording whose results are newer than the recording. Reports a failure, and goes on with the rest. Writes
    results to --output-dir, and those of subfolders to subfolders with the same names.
    """
    work = Work(ctx, params)
    folder = params["folder"]
    if not isinstance(work.directory, Path):
        raise UsageError(f"{work.directory}: results of a watched folder go to a folder of this machine")
    outputs.prepare(work.directory)
    work.enrol()
    looks = Watch(
        folder,
        recursive=params["recursive"],
        settled=params["settled"],
        report=lambda problem: work.display.note(f"error: {problem}"),
    )
    owners: dict[Path, str] = {}
    code = ExitCode.DONE
    work.display.note(f"watching {folder}; Ctrl-C ends it")
    while True:
        try:
            jobs = [job for each in looks.ready(time.monotonic()) for job in _planned(work, each, owners)]
            if not jobs:
                time.sleep(params["interval"])
                continue
        except KeyboardInterrupt:  # the normal end, unless a recording is being transcribed
            work.display.note(f"no longer watching {folder}")
            return code
        if work.run(jobs, "resume", keeps_done=False) != ExitCode.DONE:
            code = ExitCode.PART_FAILED


def _planned(work: Work, new: Input, owners: dict[Path, str]) -> list[Job]:
    """The job for a recording, unless it is done, was deleted, or its files have the names of another one's."""
    try:
        (job,) = work.plan([new])
        known = owners.get(job.local_files[0]) == new.source
        for file in job.local_files:
            if owners.setdefault(file, new.source) != new.source:
                raise UsageError(f"{new.source} would be written to {file}, like {owners[file]}; rename one of them")
    except MtasrError as error:
        work.display.note(f"error: {error}")
        return []
    recorded = _modified(Path(new.source))
    is_done = not known and all(_modified(file) >= recorded for file in job.local_files)
    return [] if is_done or recorded == _NEVER else [job]


def _modified(file: Path) -> float:
    """Seconds since the epoch, `_NEVER` for a missing file."""
    try:
        return file.stat().st_mtime
    except OSError:
        return _NEVER
