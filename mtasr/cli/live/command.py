"""`mtasr live`: text while somebody speaks."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mtasr import atomic
from mtasr.batch import Job, outputs
from mtasr.cli import failures
from mtasr.cli.display import Display, print_line
from mtasr.cli.options.command import Command, normalise, option, together
from mtasr.cli.options.decoding import live_options, task_options, to_decoding_options, with_word_times
from mtasr.cli.options.files import (
    check_readings,
    needs_word_times,
    output_dir_short_option,
    output_format_option,
    quiet_option,
    subtitle_options,
    to_layout,
    to_style,
)
from mtasr.cli.options.speakers import live_speaker_options, to_speakers
from mtasr.cli.options.types import Count, NoneOr, OneOf
from mtasr.cli.work import doubts, english_name, load, note_broken, with_known_voices
from mtasr.errors import OutputError, UsageError
from mtasr.formats.registry import OUTPUT_FORMATS

if TYPE_CHECKING:
    from mtasr.cli.display.captions import Captions
    from mtasr.cli.live.growing_files import GrowingFiles
    from mtasr.cli.live.source import LiveSource, SoundFeed
    from mtasr.live import LiveSession
    from mtasr.options import DecodingOptions, Task
    from mtasr.transcript import Transcript

_SOUND, _OUTPUT = "Sound", "Output"

#: A language that is less probable, as after half a second of sound, is told with a "perhaps".
_SURE = 0.5
#: Seconds of sound that a microphone may have kept before the command reads it.
_AHEAD = 2.0
#: Seconds from which on a note says how late the text is.
_LATE = 10.0

_sound_options = together(
    option(
        _SOUND,
        "--input-device",
        type=NoneOr(click.STRING),
        metavar="N|NAME",
        help="Microphone, by number or a part of its name.  [default: the system's]",
    ),
    option(_SOUND, "--list-devices", is_flag=True, configurable=False, help="List microphones, and exit."),
    option(
        _SOUND,
        "--input-format",
        type=OneOf("auto", "raw", "media"),
        default="auto",
        metavar="FORM",
        help="Of standard input. raw: samples; media: a format of ffmpeg; auto: by its first bytes.",
    ),
    option(_SOUND, "--sample-rate", type=Count(1), default=16_000, help="Raw samples per second of standard input."),
    option(
        _SOUND,
        "--stop-after",
        type=NoneOr(click.FloatRange(min=0.0, min_open=True)),
        metavar="SECONDS",
        help="Listen for so long.  [default: until Ctrl-C]",
    ),
)

_live_output_options = together(
    option(_OUTPUT, "--events", is_flag=True, help="Print each event as a line of JSON, for programs."),
    output_format_option(),
    output_dir_short_option,
    option(
        _OUTPUT,
        "--name",
        metavar="NAME",
        configurable=False,
        help="Name of the files, without ending.  [default: live- and the time]",
    ),
    option(_OUTPUT, "--overwrite", is_flag=True, configurable=False, help="Replace files of that name."),
    quiet_option,
)


@click.command("live", cls=Command)
@click.argument("source", metavar="[-]", required=False)
@_sound_options
@_live_output_options
@subtitle_options
@live_speaker_options
@option("Language", "--translate", is_flag=True, help="Write English: --task translate.")
@task_options
@live_options
@click.pass_context
def live(ctx: click.Context, /, **params: Any) -> int:
    """Turn speech into text while it is spoken, until Ctrl-C.

    Listens to the microphone or, with -, to standard input: raw samples (16 kHz, mono, 16-bit little-endian), WAV, or
    another format that ffmpeg reads. On a terminal, words appear while they are spoken: dimmed as long as they may
    change. Otherwise each sentence is printed when it is final. The files of --output-format grow meanwhile, and are
    the transcript of the whole in the end.
    """
    if params["list_devices"]:
        return _list_devices()
    from mtasr.models import check_use

    if params["translate"]:
        params["task"] = "translate"
    options, layout = to_decoding_options(params), to_layout(params)
    options = with_word_times(ctx, options, needed=needs_word_times(params, options, layout))
    speakers, _ = to_speakers(ctx, {"channels": "mix", "audio_stream": 0} | params)
    if "rttm" in params["formats"] and speakers is None:
        raise UsageError("--output-format rttm says who speaks: add --diarize")
    check_readings(params, options)
    style = to_style(params, options)
    task: Task = "translate" if options.translates else "transcribe"
    if params["model"] is not None:
        check_use(params["model"], options.language, task)
    job = _job(params, options)
    source = _source(ctx, params)
    display = Display(quiet=params["quiet"])
    speakers = with_known_voices(speakers, display)
    model = load(params, display, task)

    from mtasr.cli.display.captions import captions
    from mtasr.cli.live.growing_files import GrowingFiles
    from mtasr.live import LivePolicy, LiveSession

    shown = captions(quiet=params["quiet"], objects=params["events"])
    with LiveSession(model, options, LivePolicy(exact=job is not None), diarize=speakers or False) as session:
        record = None
        if job is not None:
            record = GrowingFiles(job, style, layout, translates=options.task == "translate", note=shown.note)
        return _Run(session, source, shown, record, display, params["stop_after"]).run()


def _list_devices() -> int:
    from mtasr.cli.live.microphone import devices

    found = False
    for line in devices():
        found = True
        print_line(failures.printable(line))
    if not found:
        Display().note("no microphone was found")
    return failures.ExitCode.DONE


def _source(ctx: click.Context, params: Mapping[str, Any]) -> LiveSource:
    """What to listen to, which is there. Raises `UsageError` for options of the other source."""
    named = params["source"]
    if named not in (None, "-"):
        raise UsageError(f"live listens to the microphone or standard input (-); for a file: mtasr transcribe {named}")
    for name in ("input_format", "sample_rate") if named is None else ("input_device",):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            other = "standard input: add -" if named is None else "the microphone: leave out -"
            raise UsageError(f"--{normalise(name)} is for {other}")
    if named is None:
        from mtasr.cli.live.microphone import Microphone

        return Microphone(params["input_device"])
    from mtasr.cli.live.piped import StandardInput

    return StandardInput(params["input_format"], params["sample_rate"])


def _job(params: Mapping[str, Any], options: DecodingOptions) -> Job | None:
    """The files to write, None for none. Raises `UsageError` or `OutputError` for those that cannot be."""
    formats = tuple(OUTPUT_FORMATS) if "all" in params["formats"] else tuple(dict.fromkeys(params["formats"]))
    if not formats:
        if params["name"] is not None:
            raise UsageError("--name is of the files: add --output-format")
        return None
    name = params["name"] or time.strftime("live-%Y-%m-%d-%H%M%S")
    if Path(name).name != name:
        raise UsageError(f"--name is a name without folders, which --output-dir names, not {name!r}")
    directory = outputs.to_folder(params["directory"])
    job = Job("-", directory, name, formats, options.also_translate)
    for file in job.local_files:
        if atomic.check_replaceable(file) is not None and not params["overwrite"]:
            raise UsageError(f"{file} exists: choose another --name, or add --overwrite")
    outputs.prepare(directory)
    return job


class _Run:
    """One session, from the first sample to the files."""

    def __init__(
        self,
        session: LiveSession,
        source: LiveSource,
        shown: Captions,
        record: GrowingFiles | None,
        display: Display,
        most: float | None,
    ) -> None:
        from mtasr.cli.live.source import SoundFeed

        self._session, self._source, self._shown, self._record = session, source, shown, record
        self._display = display
        self._feed: SoundFeed = SoundFeed(source, session, shown.note, most)
        self._is_late = self._has_text = False
        self._began = time.monotonic()

    def run(self) -> failures.ExitCode:
        """Listen to the end; returns the exit code. Whatever goes wrong, the final texts are in the files."""
        try:
            with failures.ending_on_signal(self._feed.stop) as signals:
                self._shown.note(f"listening to {self._source.name}; Ctrl-C ends it")
                self._feed.start()
                self._follow()
                self._feed.join()
                if self._feed.error is not None and not self._feed.seconds:
                    raise self._feed.error
                transcript = self._session.transcript() if self._record is not None else None
                self._finish(transcript)
        except BaseException:
            self._keep()
            raise
        if self._feed.error is not None:
            raise self._feed.error
        ended_by = signals[0] if signals else None
        return failures.ExitCode.TERMINATED if ended_by == signal.SIGTERM else failures.ExitCode.DONE

    def _follow(self) -> None:
        from mtasr.live import Final, Lag, LanguageFound, SpeakersChanged

        for event in self._session.events():
            match event:
                case Final():
                    self._has_text = self._has_text or bool(event.segments)
                    if self._record is not None:
                        self._record.add(event)
                case SpeakersChanged() if self._record is not None:
                    self._record.correct(event)
                case LanguageFound(language=code):
                    share = event.probability
                    perhaps = "perhaps " if share < _SURE else ""
                    self._shown.note(f"detected language {perhaps}{english_name(code)} ({code}, {share:.0%})")
                case Lag(seconds=seconds) if seconds >= _LATE and not self._is_late and self._is_live():
                    self._is_late = True
                    self._shown.note(f"warning: the text is {seconds:.0f} s late; a smaller --model is faster")
            self._shown.show(event)

    def _is_live(self) -> bool:
        """Whether the sound comes as it is made: a file in a pipe comes as fast as it is taken, and nobody is late."""
        return self._feed.seconds <= time.monotonic() - self._began + _AHEAD

    def _finish(self, transcript: Transcript | None) -> None:
        files: list[str] = []
        if self._record is not None and transcript is not None:
            files = self._record.files
            broken = self._record.finish(transcript)
            if transcript.coverage is not None and not transcript.coverage.complete:
                self._shown.note(f"warning: {doubts(transcript.coverage)}")
        for warning in self._session.warnings:
            self._shown.note(f"warning: {warning}")
        self._shown.end(seconds=round(self._feed.seconds, 3), files=files)
        notes = [] if self._has_text else ["no speech found"]
        notes += [f"wrote {', '.join(files)}"] if files else []
        if notes:
            self._shown.note("; ".join(notes))
        if files:
            note_broken(self._source.name, broken, self._display)

    def _keep(self) -> None:
        if self._record is None:
            return
        try:
            if self._record.keep():
                self._shown.note(f"wrote {', '.join(self._record.files)}: the final text so far")
        except OutputError as error:
            self._shown.note(f"warning: {error}")
