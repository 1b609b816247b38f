"""What commands do with a model: load it, transcribe one recording, or a batch whose progress is shown."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtasr import atomic
from mtasr.batch import BatchRun, Ending, Input, Job, Observer, outputs, plan
from mtasr.batch.identity import size_of
from mtasr.batch.inputs import name_of
from mtasr.batch.run import OUTCOMES, Existing
from mtasr.cli import clusters, failures
from mtasr.cli.display import Display
from mtasr.cli.display.pace import clock, timestamp
from mtasr.cli.options.decoding import to_decoding_options, with_word_times
from mtasr.cli.options.files import check_readings, needs_word_times, to_layout, to_style
from mtasr.cli.options.speakers import asks_for_speakers, to_speakers, to_turns
from mtasr.errors import OutputError, UsageError

if TYPE_CHECKING:
    from mtasr.batch.recogniser import Recogniser
    from mtasr.cluster import ClusterModel
    from mtasr.decoding.transcription import Transcription
    from mtasr.options import DecodingOptions, Task
    from mtasr.speakers.diarize import Diarization
    from mtasr.speakers.options import SpeakerOptions
    from mtasr.speakers.voices import Diarizes
    from mtasr.subtitles import Broken
    from mtasr.transcribe import Model
    from mtasr.transcript import Coverage, Segment, Transcript

#: Places that a warning names; the JSON has them all.
_NAMED = 5
#: Seconds of speech without a turn of which a warning tells: times of words and turns differ by tenths of a second.
_GAPS = 1.0


def load(params: Mapping[str, Any], display: Display, task: Task | None = None) -> Model:
    """The model that a command's parameters ask for.

    With a `task`, and no model asked for, a note recommends a better one than the default.
    """
    from mtasr.system import share_freed_memory
    from mtasr.transcribe import load_model

    if task is not None and params["model"] is None:
        _note_default_model(display, task)
    share_freed_memory()
    if params.get("diarize"):
        load_diarizer(display)
    with display.downloads() as progress:
        return load_model(
            params["model"],
            device=params["device"],
            device_index=params["device_index"],
            compute_type=params["compute_type"],
            threads=params["threads"],
            workers=1 if params.get("condition_on_previous_text") else params["workers"],
            batch_size=params["batch_size"],
            engine=params["engine"],
            progress=progress,
        )


def load_diarizer(display: Display) -> Diarizes:
    """What tells speakers apart."""
    from mtasr.speakers import diarize

    with display.downloads() as progress:
        return diarize.load_diarizer(progress)


def with_known_voices(speakers: SpeakerOptions | None, display: Display) -> SpeakerOptions | None:
    """The options, after the recordings of known voices have been heard, if there are any."""
    from mtasr.speakers.voices import enrolled

    if speakers is None or speakers.voices is None:
        return speakers
    return enrolled(speakers, load_diarizer(display))


def _note_default_model(display: Display, task: Task) -> None:
    """Recommend a better model, until the cache shows that the user chose the default by name."""
    from mtasr.models import DEFAULT_MODEL, cache

    if cache.copies(DEFAULT_MODEL):
        return
    better = "large-v3-turbo" if task == "transcribe" else "medium"  # turbo does not translate
    display.note(
        f"Using the model {DEFAULT_MODEL!r}, which is quick; --model {better} is slower and makes fewer errors"
    )


def transcribe_one(ctx: click.Context, source: str, options: DecodingOptions, display: Display) -> Transcript:
    """The transcript of one recording, for commands that make something of it."""
    speakers, tracks = to_speakers(ctx, ctx.params)
    speakers = with_known_voices(speakers, display)
    model = load(ctx.params, display, _task(options))
    with (
        model.stream_all([source], options, tracks=tracks, diarize=speakers or False) as streams,
        streams[0] as stream,
        display.working(
            name_of(source), lambda: stream.position, lambda: stream.total, lambda: stream.is_telling_apart
        ),
    ):
        transcript: Transcript = stream.transcript()
    for warning in stream.warnings:
        display.note(f"warning: {warning}")
    return transcript


def diarize_one(
    source: str,
    diarizer: Diarizes,
    speakers: SpeakerOptions | None,
    audio_stream: int,
    display: Display,
    *,
    name: str | None = None,
) -> Diarization:
    """Who speaks when in one recording, which is called `name`."""
    from mtasr.speakers.diarize import diarize

    heard: dict[str, float | None] = {"seconds": 0.0, "total": None}
    ended = threading.Event()
    with display.working(
        name or name_of(source), lambda: heard["seconds"] or 0.0, lambda: heard["total"], ended.is_set
    ):
        found = diarize(
            source,
            speakers,
            audio_stream=audio_stream,
            progress=lambda seconds, total: heard.update(seconds=seconds, total=total),
            at_end=ended.set,
            diarizer=diarizer,
        )
    for warning in found.warnings:
        display.note(f"warning: {warning}")
    return found


def with_speakers(ctx: click.Context, transcript: Transcript, source: str, display: Display) -> Transcript:
    """A transcript of a recording that was there before, with the speakers that --diarize tells apart.

    A setting does not: the transcript may have speakers, which somebody corrected.
    """
    from mtasr.speakers.assignment import assign

    speakers, tracks = to_speakers(ctx, ctx.params)
    if not asks_for_speakers(ctx):
        return transcript
    diarizer = load_diarizer(display)
    return assign(transcript, diarize_one(source, diarizer, speakers, tracks.audio_stream, display).turns)


def _task(options: DecodingOptions) -> Task:
    return "translate" if options.translates else "transcribe"


class Work:
    """A batch as a command's parameters ask for it. What makes no sense is refused before a model is loaded."""

    def __init__(self, ctx: click.Context, params: dict[str, Any]) -> None:
        from mtasr.models import check_use

        self._rttm, params = to_turns(ctx, params)
        self._params = params
        self._debug: bool = ctx.meta.get(failures.DEBUG, False)
        self.directory = outputs.to_destination(params["directory"])
        options, self._layout = to_decoding_options(params), to_layout(params)
        self._options = with_word_times(ctx, options, needed=needs_word_times(params, options, self._layout))
        check_readings(params, self._options)
        self._speakers, self._tracks = to_speakers(ctx, params)
        knows_speakers = self._rttm is not None or self._speakers is not None or self._tracks.channels == "split"
        if "rttm" in params["formats"] and not knows_speakers:
            raise UsageError(
                "--output-format rttm says who speaks: add --diarize, or --channels split if each has a channel"
            )
        self._style = to_style(params, self._options)
        self.display = Display(quiet=params["quiet"], text=params["verbose"], progress=params["progress"])
        self._model: Model | None = None
        self._cluster: ClusterModel | None = None
        if params["model"] is not None:
            check_use(params["model"], self._options.language, _task(self._options))
        if params.get("cluster"):
            clusters.check(params)

    def plan(self, inputs: Sequence[Input]) -> list[Job]:
        if self._params.get("cluster"):
            clusters.check_inputs(inputs)
        return plan(inputs, self.directory, self._params["formats"], translated=self._options.also_translate)

    def run(self, jobs: Sequence[Job], existing: Existing, *, keeps_done: bool = True) -> failures.ExitCode:
        """Transcribe the recordings, and show how it goes; `keeps_done` as in `BatchRun`."""
        progress = _Progress(
            jobs,
            self._options,
            self.display,
            strict=self._params["strict"],
            debug=self._debug,
            advice="the same command with --resume" if keeps_done else "the same command",
        )
        batch = BatchRun(
            jobs,
            partial(self._loaded, jobs),
            self._options,
            tracks=self._tracks,
            diarize=lambda: self._speakers or False,
            style=self._style,
            layout=self._layout,
            existing=existing,
            keeps_done=keeps_done,
            turns=self._rttm,
            observer=progress,
        )
        try:
            for _ in batch.run():
                pass
        finally:
            if self._cluster is not None:
                self._cluster.close()
        if self._params["timings"] and self._model is not None:
            timings = json.dumps(self._model.timings)
            atomic.write_text(Path(self._params["timings"]), lambda stream: stream.write(timings))
        return progress.code

    def _loaded(self, jobs: Sequence[Job]) -> Recogniser:
        if self._params["timings"]:
            outputs.check_target(Path(self._params["timings"]), [job.source for job in jobs])
        if self._model is None:
            self.enrol()
            if self._params.get("cluster"):
                sources = [job.source for job in jobs]
                self._cluster = clusters.load(self._params, sources, self.display, diarize=self._speakers is not None)
                return self._cluster
            self._model = load(self._params, self.display, _task(self._options))
        return self._model

    def enrol(self) -> None:
        """Hear the recordings of known voices, if there are any, for all batches to come."""
        self._speakers = with_known_voices(self._speakers, self.display)


class _Progress(Observer):
    """Shows the course of a batch, and gathers its exit code."""

    def __init__(
        self, jobs: Sequence[Job], options: DecodingOptions, display: Display, *, strict: bool, debug: bool, advice: str
    ) -> None:
        self._options, self._display = options, display
        self._strict, self._advice = strict, advice
        reports = debug or not display.is_for_programs  # programs read the reason in the event
        tell = partial(failures.report, debug=debug) if reports else lambda error, source: None
        self._attempts = failures.Attempts(len(jobs), tell)
        self._endings = {job.name: Ending(job.name, "skipped") for job in jobs}
        #: When the batch and the current recording began.
        self._began = self._recording_began = time.monotonic()

    @property
    def code(self) -> failures.ExitCode:
        return self._attempts.code

    def begun(self, jobs: Sequence[Job]) -> None:
        self._began = time.monotonic()
        self._display.begin({job.name: size_of(job.source, job.state) for job in jobs})

    def discarded(self) -> None:
        self._display.note("an earlier run left work undone; --resume would have kept what it did")

    @contextlib.contextmanager
    def transcribing(self, job: Job, transcription: Transcription) -> Iterator[None]:
        self._recording_began = time.monotonic()
        position, total = lambda: transcription.position, lambda: transcription.total
        with self._display.working(job.name, position, total, lambda: transcription.is_telling_apart):
            try:
                self._note_language(job, transcription)
                yield
            except BaseException:  # Ctrl-C too: what is said so far of a turn is shown.
                with contextlib.suppress(OSError, OutputError):  # of the two errors, the first is told
                    self._display.end_turn()
                raise

    def _note_language(self, job: Job, transcription: Transcription) -> None:
        if self._options.language is None and transcription.language_probability > 0:
            code, share = transcription.language, transcription.language_probability
            self._display.note(f"{job.name}: detected language {english_name(code)} ({code}, {share:.0%})")

    def segment(self, segment: Segment) -> None:
        self._display.segment(segment)

    def all_segments(self) -> None:
        self._display.end_turn()

    def transcribed(self, job: Job, transcription: Transcription, transcript: Transcript) -> None:
        for warning in transcription.warnings:
            self._display.note(f"warning: {warning}")
        if self._options.multilingual or self._options.language is not None:
            return
        spoken = {each.speaker: each.language for each in transcript if each.speaker is not None and each.language}
        for speaker, code in spoken.items():
            if code != transcript.language:
                self._display.note(f"{job.name}: {speaker}: detected language {english_name(code)} ({code})")

    def ended(self, ending: Ending) -> None:
        if ending.error is not None:
            self._attempts.fail(ending.name, ending.error)
            ending = replace(ending, reason=failures.message_of(ending.error, debug=True), error=None)
        if ending.coverage is not None:
            ending = replace(ending, reason=doubts(ending.coverage), coverage=None)
            self._display.note(f"warning: {ending.name}: {ending.reason}")
            if self._strict:
                self._attempts.doubt()
        if ending.without_turn >= _GAPS:
            seconds = f"{ending.without_turn:.1f} s of speech"
            self._display.note(f"warning: {ending.name}: no turn covers {seconds}; who speaks there is a guess")
        if ending.files:
            self._note_files(ending)
            note_broken(ending.name, ending.broken, self._display)
        self._endings[ending.name] = replace(ending, broken=())
        self._display.ended(ending)

    def _note_files(self, ending: Ending) -> None:
        notes = [] if ending.language is not None else ["no speech found"]
        if len(self._endings) == 1:  # else others were decoded meanwhile
            notes.append(_speed(ending.seconds or 0.0, time.monotonic() - self._recording_began))
        notes.append(f"wrote {', '.join(ending.files)}")
        self._display.note(f"{ending.name}: {'; '.join(notes)}")

    def kept(self) -> None:
        self._display.note(f"finished work is kept: {self._advice} continues from here")

    def finished(self) -> None:
        endings = list(self._endings.values())
        seconds = sum(each.seconds or 0.0 for each in endings)
        if len(endings) > 1:
            counts = Counter(each.result for each in endings)
            figures = [_speed(seconds, time.monotonic() - self._began)] if seconds else []
            figures += [f"{counts[result]} of {len(endings)} {result}" for result in OUTCOMES if counts[result]]
            self._display.note("; ".join(figures))
        self._display.finish(endings)


def _speed(seconds: float, took: float) -> str:
    return f"{clock(round(seconds))} of audio in {took:.1f} s ({seconds / took:.1f}x)"


def english_name(code: str) -> str:
    from mtasr.tokenizer.languages import LANGUAGES

    return LANGUAGES.get(code, code).title()


def note_broken(name: str, broken: Sequence[Broken], display: Display) -> None:
    """One line about how many subtitles break which rule of their layout, and why."""
    counts = Counter((each.rule, each.reason) for each in broken).most_common()
    if counts:
        reasons = "; ".join(f"{rule} of {count} ({reason})" for (rule, reason), count in counts)
        display.note(f"{name}: subtitles break rules of the style: {reasons}")


def doubts(coverage: Coverage) -> str:
    """Where text and speech do not match, on one line."""
    found = (
        ("speech without text", coverage.speech_without_text),
        ("text without speech", coverage.text_without_speech),
    )
    return "; ".join(
        f"{what} at {', '.join(f'{timestamp(start)}-{timestamp(end)}' for start, end in places[:_NAMED])}"
        + (f" and {len(places) - _NAMED} more" if len(places) > _NAMED else "")
        for what, places in found
        if places
    )
