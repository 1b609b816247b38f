"""One recording: its text on the screen, its files, and what is said about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtasr.cli import outputs
from mtasr.cli.display import Display
from mtasr.cli.summary import Ending
from mtasr.cli.times import clock, timestamp
from mtasr.errors import OutputError

if TYPE_CHECKING:
    from mtasr.formats.cues import Style
    from mtasr.options import DecodingOptions
    from mtasr.subtitles import Broken, Layout
    from mtasr.transcribe import Transcription
    from mtasr.transcript import Coverage, Transcript

#: Places that a warning names; the JSON has them all.
_NAMED = 5


def transcribe_one(
    job: outputs.Job,
    stream: Transcription,
    options: DecodingOptions,
    style: Style,
    layout: Layout | None,
    display: Display,
    *,
    alone: bool,
) -> Ending:
    """Transcribe one recording and write its files; `alone` if it is not decoded side by side with others."""
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
    doubts = ""
    if transcript.coverage is not None and not transcript.coverage.complete:
        doubts = _doubts(transcript.coverage)
        display.note(f"warning: {job.name}: {doubts}")
    if unprinted is not None:
        raise unprinted
    notes = [] if transcript.text else ["no speech found"]
    if alone:
        notes.append(speed(transcript.duration, time.monotonic() - began))
    notes.append(f"wrote {', '.join(map(str, job.files))}")
    display.note(f"{job.name}: {'; '.join(notes)}")
    note_broken(job.name, broken, display)
    return Ending(
        job.name,
        "in doubt" if doubts else "done",
        doubts,
        seconds=transcript.duration,
        language=transcript.language if transcript.text else None,
        files=tuple(map(str, job.files)),
    )


def note_default_model(display: Display, task: str = "transcribe") -> None:
    """Say that there is better than the model that every first run works with, until it is in the cache."""
    from mtasr.models import DEFAULT_MODEL, cache

    if cache.copies(DEFAULT_MODEL):
        return
    better = "large-v3-turbo" if task == "transcribe" else "medium"  # turbo does not translate
    display.note(f"Using the model {DEFAULT_MODEL!r}, which is quick; fewer errors, but slower: --model {better}")


def note_broken(name: str, broken: Sequence[Broken], display: Display) -> None:
    """Say how many subtitles break which rule of their layout and why, on one line."""
    counts = Counter((each.rule, each.reason) for each in broken).most_common()
    if counts:
        reasons = "; ".join(f"{rule} of {count} ({reason})" for (rule, reason), count in counts)
        display.note(f"{name}: subtitles off the rules: {reasons}")


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


def speed(seconds: float, took: float) -> str:
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
