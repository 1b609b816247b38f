"""`mtasr transcribe` and `mtasr translate`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mtasr.cli import failures, outputs
from mtasr.cli.display import Display, clock, timestamp
from mtasr.cli.options import (
    Command,
    debug_option,
    decoding_options,
    files_argument,
    language_option,
    load,
    model_options,
    needs_word_times,
    output_options,
    subtitle_options,
    task_options,
    to_decoding_options,
    to_layout,
    to_style,
    to_tracks,
    track_options,
)
from mtasr.errors import OutputError

if TYPE_CHECKING:
    from mtasr.decoding.options import DecodingOptions
    from mtasr.subtitles import Broken, Layout
    from mtasr.tracks import Tracks
    from mtasr.transcribe import Transcription
    from mtasr.transcript import Coverage, Transcript
    from mtasr.writers import Style

_SETTINGS = {"show_default": True}


@click.command(cls=Command, context_settings=_SETTINGS)
@files_argument
@output_options
@subtitle_options
@language_option
@task_options
@model_options
@decoding_options
@track_options
@debug_option
@click.pass_context
def transcribe(ctx: click.Context, /, **params: Any) -> int:
    """Write down what is said in each FILE: audio or video, or - for standard input.

    The text comes on standard output as it is recognised, and a file FILE.srt (--output-format) is written.
    """
    return _run(ctx, params)


@click.command(cls=Command, context_settings=_SETTINGS)
@files_argument
@output_options
@subtitle_options
@language_option
@model_options
@decoding_options
@track_options
@debug_option
@click.pass_context
def translate(ctx: click.Context, /, **params: Any) -> int:
    """Write down in English what is said in each FILE: audio or video, or - for standard input.

    The text comes on standard output as it is recognised, and a file FILE.srt (--output-format) is written.
    """
    return _run(ctx, params | {"task": "translate"})


def _run(ctx: click.Context, params: dict[str, Any]) -> int:
    """Everything that can be refused is refused before a model is loaded, which may take long and cost a download."""
    from mtasr.models import check_use

    options, layout = to_decoding_options(params), to_layout(params)
    undecided = ctx.get_parameter_source("word_timestamps") is ParameterSource.DEFAULT
    if undecided and needs_word_times(params, options, layout):
        options = replace(options, word_timestamps=True)
    tracks, style = to_tracks(params), to_style(params, options)
    directory = Path(params["directory"])
    jobs = outputs.plan(params["files"], directory, params["formats"], translated=options.also_translate)
    batch = failures.Batch(len(jobs), debug=ctx.meta.get(failures.DEBUG, False))
    ready = [job for job in jobs if batch.attempt(job.name, partial(_check, job.source, tracks))]
    if not ready:
        return batch.code
    outputs.prepare(directory)
    display = Display(quiet=params["quiet"], text=params["verbose"])
    task = "translate" if options.translates else "transcribe"
    if params["model"] is None:
        note_default_model(display, task)
    else:
        check_use(params["model"], options.language, task)
    model = load(params, display)
    doubt = batch.doubt if params["strict"] else None
    began, spoken = time.monotonic(), 0.0
    with model.stream_all([job.source for job in ready], options, tracks=tracks) as streams:
        for job, stream in zip(ready, streams, strict=True):
            work = partial(_do, job, stream, options, style, layout, display, doubt, alone=len(jobs) == 1)
            batch.attempt(job.name, work)
            spoken += stream.position
    if len(jobs) > 1:
        failed = f"; {batch.failed} of {len(jobs)} failed" if batch.failed else ""
        display.note(f"{_speed(spoken, time.monotonic() - began)}{failed}")
    if params["timings"]:
        Path(params["timings"]).write_text(json.dumps(model.timings), encoding="utf-8")
    return batch.code


def _check(source: str, tracks: Tracks) -> None:
    """Refuse what cannot be read, as far as that shows without decoding."""
    from mtasr.audio import check_input, check_reopenable

    check_input(source)
    if tracks.channels == "split":
        check_reopenable(source)


def note_default_model(display: Display, task: str = "transcribe") -> None:
    """Say once that there is better than the model that every first run works with."""
    from mtasr.models import DEFAULT_MODEL

    better = "large-v3-turbo" if task == "transcribe" else "medium"  # turbo does not translate
    display.note(f"Using the model {DEFAULT_MODEL!r}, which is quick; fewer errors, but slower: --model {better}")


def _do(
    job: outputs.Job,
    stream: Transcription,
    options: DecodingOptions,
    style: Style,
    layout: Layout | None,
    display: Display,
    doubt: Callable[[], None] | None,
    *,
    alone: bool,
) -> None:
    """Transcribe one recording and write its files; `doubt` is called if speech and text do not go together."""
    began = time.monotonic()
    with stream:
        _note_language(job.name, stream, options, display)
        with display.working(job.name, lambda: stream.position, lambda: stream.total):
            unprinted = None
            for segment in stream:
                try:
                    if unprinted is None:
                        display.segment(segment)
                except OutputError as error:  # A full disk behind stdout does not cost the files.
                    unprinted = error
        for warning in stream.warnings:
            display.note(f"warning: {warning}")
        transcript = stream.transcript()
    _note_other_languages(job.name, transcript, options, display)
    broken = outputs.write(transcript, job.targets, style, layout)
    if transcript.translation is not None:
        broken += outputs.write(transcript.translation, job.translations, style, layout)
    if transcript.coverage is not None and not transcript.coverage.complete:
        display.note(f"warning: {job.name}: {_doubts(transcript.coverage)}")
        if doubt is not None:
            doubt()
    if unprinted is not None:
        raise unprinted
    notes = [] if transcript.text else ["no speech found"]
    if alone:  # Several are decoded side by side: they took their time together.
        notes.append(_speed(transcript.duration, time.monotonic() - began))
    notes.append(f"wrote {', '.join(map(str, job.files))}")
    display.note(f"{job.name}: {'; '.join(notes)}")
    note_broken(job.name, broken, display)


def note_broken(name: str, broken: Sequence[Broken], display: Display) -> None:
    """Say how many subtitles break which rule of their layout and why, on one line."""
    counts = Counter((each.rule, each.reason) for each in broken).most_common()
    if counts:
        reasons = "; ".join(f"{rule} of {count} ({reason})" for (rule, reason), count in counts)
        display.note(f"{name}: subtitles off the rules: {reasons}")


#: Places that a warning names; the JSON has them all.
_NAMED = 5


def _doubts(coverage: Coverage) -> str:
    """Where text and speech do not go together, on one line."""
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


def _speed(seconds: float, took: float) -> str:
    return f"{clock(round(seconds))} of audio in {took:.1f} s ({seconds / took:.1f}x)"


def _note_language(name: str, stream: Transcription, options: DecodingOptions, display: Display) -> None:
    if options.language is None and stream.language_probability > 0:
        language = english_name(stream.language)
        display.note(f"{name}: detected language {language} ({stream.language}, {stream.language_probability:.0%})")


def _note_other_languages(name: str, transcript: Transcript, options: DecodingOptions, display: Display) -> None:
    """Say which channels are in another language than the one that has been told."""
    if options.multilingual or options.language is not None:
        return
    spoken = {each.speaker: each.language for each in transcript if each.speaker is not None and each.language}
    for speaker, code in spoken.items():
        if code != transcript.language:
            display.note(f"{name}: {speaker}: detected language {english_name(code)} ({code})")


def english_name(code: str) -> str:
    from mtasr.tokenizer.languages import LANGUAGES

    return LANGUAGES.get(code, code).title()
