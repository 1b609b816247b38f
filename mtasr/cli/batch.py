"""Recordings, one or many, with one set of options and one model: what is left of the work, done and told."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click
from click.core import ParameterSource

from mtasr.cli import failures, outputs
from mtasr.cli.display import Display
from mtasr.cli.inputs import Input
from mtasr.cli.options import load, needs_word_times, to_decoding_options, to_layout, to_style, to_tracks
from mtasr.cli.recording import note_default_model, speed, transcribe_one
from mtasr.cli.summary import RESULTS, Ending
from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.audio.tracks import Tracks
    from mtasr.cli.journal import Journal, Notes
    from mtasr.transcribe import Model, Transcription

#: What is done about files that are there already.
Existing = Literal["overwrite", "skip_existing", "resume"]
EXISTING: tuple[Existing, ...] = get_args(Existing)


class Work:
    """What a command's parameters ask for. Whatever of it makes no sense is refused before a model is loaded."""

    def __init__(self, ctx: click.Context, params: dict[str, Any]) -> None:
        from mtasr.models import check_use

        self._params = params
        self._debug: bool = ctx.meta.get(failures.DEBUG, False)
        self.directory = Path(params["directory"])
        self._options, self._layout = to_decoding_options(params), to_layout(params)
        if self._options.n_best > 1 and not {"json", "all"} & set(params["formats"]):
            raise UsageError("--n-best is told in JSON: add --output-format json")
        undecided = ctx.get_parameter_source("word_timestamps") is ParameterSource.DEFAULT
        if undecided and needs_word_times(params, self._options, self._layout):
            self._options = replace(self._options, word_timestamps=True)
        self._tracks, self._style = to_tracks(params), to_style(params, self._options)
        self.display = Display(quiet=params["quiet"], text=params["verbose"], progress=params["progress"])
        self._task = "translate" if self._options.translates else "transcribe"
        if params["model"] is not None:
            check_use(params["model"], self._options.language, self._task)

    def plan(self, inputs: Sequence[Input]) -> list[outputs.Job]:
        """As `outputs.plan`."""
        formats = self._params["formats"]
        return outputs.plan(inputs, self.directory, formats, translated=self._options.also_translate)

    def run(self, jobs: Sequence[outputs.Job], existing: Existing, *, keeps_done: bool = True) -> failures.ExitCode:
        """Do what is left of the work, report what goes wrong, and tell how it went.

        If something does go wrong, what is done is noted for the next run, unless that will see it by the files.
        """
        course = _Course(self.display, jobs, debug=self._debug)
        ready = []
        for job in jobs:
            if existing == "skip_existing" and all(file.exists() for file in job.files):
                course.end(Ending(job.name, "skipped", "its files are there already"))
            elif course.attempt(job, partial(_check, job, self._tracks)):
                ready.append(job)
        folders = (self.directory, *(file.parent for job in ready for file in job.files))
        with outputs.new_folders(folders if ready else ()):
            return self._run(ready, existing, course, keeps_done=keeps_done)

    def _run(
        self, ready: Sequence[outputs.Job], existing: Existing, course: _Course, *, keeps_done: bool
    ) -> failures.ExitCode:
        journal: Journal | None = None
        if ready:
            timings = Path(self._params["timings"]) if self._params["timings"] else None
            if timings is not None:
                outputs.check_target(timings, [job.source for job in ready])
            journal = self._transcribe(ready, course, resume=existing == "resume", keeps_done=keeps_done)
            if timings is not None:
                outputs.write_text(timings, lambda stream: stream.write(json.dumps(self._model.timings)))
        if journal is not None and not course.is_complete:
            self._leave(journal, keep=True, keeps_done=keeps_done)
        course.close()
        if journal is not None and course.is_complete:
            journal.close(keep=False)  # last of all: whatever stops the program before, --resume does nothing again
        return course.code

    @cached_property
    def _model(self) -> Model:
        if self._params["model"] is None:
            note_default_model(self.display, self._task)
        return load(self._params, self.display)

    def _transcribe(self, jobs: Sequence[outputs.Job], course: _Course, *, resume: bool, keeps_done: bool) -> Journal:
        from mtasr.cli.journal import Journal, memory_of

        settings = (self._model.fingerprint(), self._options, self._tracks, self._layout, self._style)
        journal = Journal(self.directory, settings, resume=resume, keeps_done=keeps_done)
        left: list[tuple[outputs.Job, Notes | None]] = []
        for job in jobs:
            notes = journal.notes(job)
            if resume and notes is not None and notes.is_done():
                course.end(Ending(job.name, "skipped", "it was done before"))
            else:
                left.append((job, notes))
        if journal.discarded:
            self.display.note("an earlier run did not end well here; --resume would have gone on from there")
        course.begin([job for job, _ in left])
        sources, memories = [job.source for job, _ in left], [memory_of(notes) for _, notes in left]
        try:
            with self._model.stream_all(sources, self._options, tracks=self._tracks, memories=memories) as streams:
                for (job, notes), stream in zip(left, streams.drain(), strict=True):
                    course.attempt(job, partial(self._one, job, stream, notes, course))
        except BrokenPipeError:
            # Whoever reads no more has read enough; but files that are written are wanted.
            self._leave(journal, keep=resume or course.has_results, keeps_done=keeps_done)
            raise
        except (KeyboardInterrupt, SystemExit):
            self._leave(journal, keep=True, keeps_done=keeps_done)
            raise
        return journal

    def _leave(self, journal: Journal, *, keep: bool, keeps_done: bool) -> None:
        """Close the journal, and say so if there is anything in it to go on with."""
        journal.close(keep=keep)
        if journal.exists:
            how = " with --resume" if keeps_done else ""
            self.display.note(f"what is done is kept: the same command{how} goes on from here")

    def _one(self, job: outputs.Job, stream: Transcription, notes: Notes | None, course: _Course) -> Ending:
        try:
            ending = transcribe_one(
                job, stream, self._options, self._style, self._layout, self.display, alone=course.is_of_one
            )
            if notes is not None:
                notes.done()
        finally:
            if notes is not None:
                notes.close()
        if ending.result == "in doubt" and self._params["strict"]:
            course.doubt()
        return ending


class _Course:
    """What becomes of each recording of a batch, as it is told on the way and at the end."""

    def __init__(self, display: Display, jobs: Sequence[outputs.Job], *, debug: bool) -> None:
        self._display = display
        tell = partial(failures.report, debug=debug) if debug or not display.is_for_programs else failures.keep_quiet
        self._failures = failures.Batch(len(jobs), tell)
        self._endings: dict[str, Ending] = {job.name: Ending(job.name, "skipped") for job in jobs}
        self._began = time.monotonic()

    @property
    def code(self) -> failures.ExitCode:
        return self._failures.code

    @property
    def is_complete(self) -> bool:
        """Whether nothing has failed."""
        return not self._failures.failed

    @property
    def has_results(self) -> bool:
        """Whether files of any have been written."""
        return any(each.files for each in self._endings.values())

    @property
    def is_of_one(self) -> bool:
        return len(self._endings) == 1

    def begin(self, jobs: Sequence[outputs.Job]) -> None:
        """Now these are decoded."""
        self._began = time.monotonic()
        self._display.begin({job.name: _size(job.source) for job in jobs})

    def attempt(self, job: outputs.Job, work: Callable[[], Ending | None]) -> bool:
        """Do `work`, which gives what has come of the recording once it is at its end; tells whether it went well."""
        ending: Ending | None = None

        def do() -> None:
            nonlocal ending
            ending = work()

        if not self._failures.attempt(job.name, do):
            ending = Ending(job.name, "failed", self._failures.failed[job.name])
        if ending is not None:
            self.end(ending)
        return ending is None or ending.result != "failed"

    def end(self, ending: Ending) -> None:
        self._endings[ending.name] = ending
        self._display.ended(ending)

    def doubt(self) -> None:
        self._failures.doubt()

    def close(self) -> None:
        """Tell how it went, if it was more than one recording."""
        endings = list(self._endings.values())
        seconds, took = sum(each.seconds or 0.0 for each in endings), time.monotonic() - self._began
        counts = Counter(each.result for each in endings)
        if not self.is_of_one:
            told = [speed(seconds, took)] if seconds else []
            told += [f"{counts[result]} of {len(endings)} {result}" for result in RESULTS if counts[result]]
            self._display.note("; ".join(told))
        self._display.finish(endings)


def _size(source: str) -> int:
    """Bytes, where a file has some: what is known of its length before it is opened."""
    with contextlib.suppress(OSError):
        return Path(source).stat().st_size
    return 0


def _check(job: outputs.Job, tracks: Tracks) -> None:
    """Refuse what cannot be read, as far as that shows without decoding."""
    from mtasr.audio.read import check_input, check_reopenable

    check_input(job.source)
    if tracks.channels == "split":
        check_reopenable(job.source)
