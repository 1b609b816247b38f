"""Transcripts written as JSON, by mtasr or openai-whisper -> `Transcript`: the inverse of `writers.write_json`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from mtasr.errors import InputError, InputNotFoundError
from mtasr.transcript import Coverage, Segment, Transcript, Word


def read_json(path: Path) -> Transcript:
    """The transcript in a file. What openai-whisper leaves out, such as the duration, is made up from the rest.

    Raises `InputError` for a file that is no transcript.
    """
    try:
        document: Any = json.loads(path.read_bytes())
    except FileNotFoundError as exc:
        raise InputNotFoundError(f"{path}: no such file") from exc
    except OSError as exc:
        raise InputNotFoundError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{path}: is not JSON") from exc
    try:
        return _transcript(document)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as exc:
        what = f"{exc.args[0]!r} is missing" if isinstance(exc, KeyError) else str(exc)
        raise InputError(f"{path}: is not a transcript as `--output-format json` writes it: {what}") from exc


def _transcript(document: dict[str, Any]) -> Transcript:
    segments = tuple(_segment(number, each) for number, each in enumerate(document["segments"]))
    ends = [segment.end for segment in segments]
    return Transcript(
        language=_text(document.get("language") or ""),
        language_probability=_number(document.get("language_probability")),
        duration=max([_time(document.get("duration") or 0.0), *ends]),
        segments=segments,
        coverage=_coverage(document["coverage"]) if document.get("coverage") else None,
    )


def _segment(number: int, given: dict[str, Any]) -> Segment:
    words = given.get("words")
    return Segment(
        id=number,
        start=_time(given["start"]),
        end=_time(given["end"]),
        text=_text(given["text"]),
        tokens=(),
        avg_logprob=_number(given.get("avg_logprob")),
        compression_ratio=_number(given.get("compression_ratio")),
        no_speech_prob=_number(given.get("no_speech_prob")),
        temperature=_number(given.get("temperature")),
        words=None if words is None else tuple(map(_word, words)),
        language=None if given.get("language") is None else _text(given["language"]),
        speaker=None if given.get("speaker") is None else _text(given["speaker"]),
    )


def _word(given: dict[str, Any]) -> Word:
    return Word(
        word=_text(given["word"]),
        start=_time(given["start"]),
        end=_time(given["end"]),
        probability=_number(given.get("probability")),
    )


def _coverage(given: dict[str, Any]) -> Coverage:
    places = [
        tuple((_time(start), _time(end)) for start, end in given[name])
        for name in ("speech_without_text", "text_without_speech")
    ]
    return Coverage(speech=_time(given["speech"]), speech_without_text=places[0], text_without_speech=places[1])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _time(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is no time in seconds")
    return seconds


def _number(value: Any) -> float:
    """null, or nothing at all, stands for a number that is not known."""
    return math.nan if value is None else float(value)
