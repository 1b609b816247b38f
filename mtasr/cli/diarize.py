"""`mtasr diarize`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

import click

from mtasr.batch import Ending, Job, gather, outputs, plan
from mtasr.batch.identity import size_of
from mtasr.cli import failures
from mtasr.cli.display import Display, print_line
from mtasr.cli.options.command import Command, debug_option, switch
from mtasr.cli.options.decoding import audio_stream_option
from mtasr.cli.options.files import (
    allow_scheme_option,
    files_from_option,
    inputs_argument,
    output_dir_short_option,
    output_format_option,
    progress_option,
    quiet_option,
    recursive_option,
    skip_existing_option,
)
from mtasr.cli.options.speakers import count_options, to_speakers
from mtasr.cli.work import diarize_one, load_diarizer, with_known_voices
from mtasr.formats.turns import TURN_FORMATS, line_of
from mtasr.remote import urls

if TYPE_CHECKING:
    from mtasr.speakers.diarize import Diarization
    from mtasr.speakers.options import SpeakerOptions
    from mtasr.speakers.voices import Diarizes

_OUTPUT = "Output"


@click.command(cls=Command)
@inputs_argument
# A setting of this name is about transcripts.
@output_format_option("rttm", formats=TURN_FORMATS, example="rttm,json", configurable=False)
@output_dir_short_option
@switch(_OUTPUT, "verbose", default=True, help="Print the turns of each recording.")
@quiet_option
@files_from_option
@allow_scheme_option
@recursive_option
@skip_existing_option
@progress_option
@count_options
@audio_stream_option
@debug_option
@click.pass_context
def diarize(ctx: click.Context, /, **params: Any) -> int:
    """Find out who speaks when, without the text.

    Each FILE is an audio or video file, a folder of them, or - for standard input. Prints the turns of the speakers,
    and writes them to interview.rttm for interview.mp3 (see --output-format). If standard output is not a terminal,
    each line has file, start and end in seconds, and speaker, separated by tabs.

    For speakers with the text, see `mtasr transcribe --diarize`.
    """
    speakers, _ = to_speakers(ctx, {"diarize": True, "channels": "mix"} | params)
    inputs = gather(
        params["files"],
        params["files_from"],
        recursive=params["recursive"],
        allowed_schemes=params["allowed_schemes"],
    )
    jobs = plan(inputs, outputs.to_destination(params["directory"]), params["formats"])
    display = Display(quiet=params["quiet"], text=params["verbose"], progress=params["progress"])
    batch = _Batch(jobs, speakers, params, display, debug=ctx.meta.get(failures.DEBUG, False))
    return batch.run()


class _Batch:
    """Recordings whose turns are found one after the other."""

    def __init__(
        self,
        jobs: Sequence[Job],
        speakers: SpeakerOptions | None,
        params: dict[str, Any],
        display: Display,
        *,
        debug: bool,
    ) -> None:
        self._jobs, self._speakers, self._params, self._display = jobs, speakers, params, display
        reports = debug or not display.is_for_programs
        self._attempts = failures.Attempts(
            len(jobs), partial(failures.report, debug=debug) if reports else lambda error, source: None
        )
        self._endings: list[Ending] = []

    def run(self) -> failures.ExitCode:
        from mtasr.audio.read import check_input

        ready = []
        for job in self._jobs:
            if self._params["skip_existing"] and all(file.exists() for file in job.files):
                self._ended(Ending(job.name, "skipped", "its files are there already"))
            elif self._attempt(job, partial(check_input, job.source)):
                ready.append(job)
        if ready:
            with outputs.new_folders([ready[0].directory, *(file.parent for job in ready for file in job.files)]):
                self._run(ready)
        self._display.finish(self._endings)
        return self._attempts.code

    def _run(self, ready: Sequence[Job]) -> None:
        diarizer = load_diarizer(self._display)
        self._speakers = with_known_voices(self._speakers, self._display)
        self._display.begin({job.name: size_of(job.source, job.state) for job in ready})
        for job in ready:
            self._attempt(job, partial(self._diarize, job, diarizer))

    def _attempt(self, job: Job, work: Any) -> bool:
        try:
            work()
        except (BrokenPipeError, click.ClickException, click.Abort):
            raise
        except Exception as error:
            self._attempts.fail(job.name, error)
            self._ended(Ending(job.name, "failed", failures.message_of(error, debug=True)))
            return False
        return True

    def _diarize(self, job: Job, diarizer: Diarizes) -> None:
        found = diarize_one(
            job.source, diarizer, self._speakers, self._params["audio_stream"], self._display, name=job.name
        )
        if self._params["verbose"] and not self._params["quiet"]:
            _print(job, found)
        for form, target in job.targets.items():
            text = found.to_format(form, target.stem)
            outputs.write_text(target, partial(_write, text))
        count = len(found.speakers)
        said = f"{count} speaker{'' if count == 1 else 's'}" if count else "no speech found"
        files = tuple(map(str, job.files))
        self._display.note(f"{job.name}: {said}; wrote {', '.join(files)}")
        self._ended(Ending(job.name, "done", seconds=found.duration, files=files))

    def _ended(self, ending: Ending) -> None:
        self._endings.append(ending)
        self._display.ended(ending)


def _print(job: Job, found: Diarization) -> None:
    if sys.stdout.isatty():
        for turn in found.turns:
            print_line(failures.printable(line_of(turn)))
        return
    name = failures.printable(urls.name_of(job.source))
    for turn in found.turns:
        print_line(f"{name}\t{turn.start:.3f}\t{turn.end:.3f}\t{failures.printable(turn.speaker)}")


def _write(text: str, stream: TextIO) -> None:
    stream.write(text)
