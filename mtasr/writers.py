"""Transcript -> text formats. A writer gets a transcript and a text stream, and knows nothing about paths.

Sources: SubRip as ffmpeg and VLC read it, WebVTT (https://www.w3.org/TR/webvtt1/), and for TSV and the names in
JSON openai-whisper, so that what reads its files reads these.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from mtasr.transcript import Alternatives, Coverage, Segment, Transcript, Word

Writer = Callable[[Transcript, TextIO], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """A subtitle: whole milliseconds, and text of one or more lines without a blank one."""

    start: int
    end: int
    text: str


def cues(transcript: Transcript) -> Iterator[Cue]:
    """The segments that hold text as cues with 0 <= start < end <= duration, in order and without overlap.

    Rounding to milliseconds may break any of these, and so may a caller's own segments. So starts are pushed apart
    first, each to a millisecond of its own, and then a cue ends where the next one starts at the latest.
    """
    spoken = [(segment, text) for segment in transcript if (text := _lines(segment.text))]
    # Floor, not round: a cue must not outlast the file. With more cues than milliseconds, order comes first.
    limit = max(math.floor(transcript.duration * 1000 + 1e-6), len(spoken))
    starts = _increasing([round(segment.start * 1000) for segment, _ in spoken], limit)
    for (segment, text), start, following in zip(spoken, starts, [*starts, limit][1:], strict=True):
        yield Cue(start=start, end=min(max(round(segment.end * 1000), start + 1), following), text=text)


def _increasing(times: list[int], limit: int) -> list[int]:
    """The nearest strictly increasing times from 0 to `limit` - 1; needs len(times) <= limit."""
    least = 0
    for i, time in enumerate(times):
        times[i] = max(time, least)
        least = times[i] + 1
    most = limit - 1
    for i in reversed(range(len(times))):
        times[i] = min(times[i], most)
        most = times[i] - 1
    return times


_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f]")


def _lines(text: str) -> str:
    """`text` without blank lines, control characters and space around lines: a blank line would end a cue."""
    lines = (_CONTROLS.sub("", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def one_line(text: str) -> str:
    """`text` on one line, without control characters."""
    return _lines(text).replace("\n", " ").replace("\t", " ")


_STAMP = r"(?:\d+:)?\d{1,2}:\d{1,2}[.,]\d{1,3}"
_SECOND_STAMP = re.compile(rf"({_STAMP}[^\d\n].*?)[ \t]*(?<!\d)({_STAMP})")
_LAST_NUMBER = re.compile(r"\n(?=\d+\Z)")


def _harmless(text: str) -> str:
    """Cue text that no reader takes for the frame around it; SubRip has no way to escape.

    Readers find a cue by two times on one line, and by a line that is only a number, which is the next cue's.
    So a spoken second time goes on a line of its own, and a number on the last line joins the line before.
    """
    while (apart := _SECOND_STAMP.sub(r"\1\n\2", text)) != text:
        text = apart
    return _LAST_NUMBER.sub(" ", text)


def _timestamp(milliseconds: int, mark: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{milliseconds:03}"


def write_txt(transcript: Transcript, stream: TextIO) -> None:
    """Plain text, a segment a line."""
    for segment in transcript:
        if text := one_line(segment.text):
            stream.write(f"{text}\n")


def write_srt(transcript: Transcript, stream: TextIO) -> None:
    """SubRip."""
    for number, cue in enumerate(cues(transcript), start=1):
        times = f"{_timestamp(cue.start, ',')} --> {_timestamp(cue.end, ',')}"
        stream.write(f"{number}\n{times}\n{_harmless(cue.text)}\n\n")


def write_vtt(transcript: Transcript, stream: TextIO) -> None:
    """WebVTT, with the text's `&`, `<` and `>` as entities, so that none of it is markup or `-->`."""
    stream.write("WEBVTT\n\n")
    for cue in cues(transcript):
        text = _harmless(cue.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        stream.write(f"{_timestamp(cue.start, '.')} --> {_timestamp(cue.end, '.')}\n{text}\n\n")


def write_tsv(transcript: Transcript, stream: TextIO) -> None:
    """Start and end in whole milliseconds and the text, separated by tabs, below a header."""
    stream.write("start\tend\ttext\n")
    for cue in cues(transcript):
        stream.write(f"{cue.start}\t{cue.end}\t{one_line(cue.text)}\n")


def write_json(transcript: Transcript, stream: TextIO) -> None:
    """Everything that is known, as JSON with a segment a line; times in seconds. null stands for no finite number."""
    head: dict[str, Any] = {
        "language": transcript.language,
        "language_probability": _finite(transcript.language_probability),
        "duration": _seconds(transcript.duration),
        "text": transcript.text,
    }
    if transcript.coverage is not None:
        head["coverage"] = _coverage(transcript.coverage)
    stream.write("{\n")
    for key, value in head.items():
        stream.write(f"  {_dumps(key)}: {_dumps(value)},\n")
    if transcript.alternatives is not None:
        windows = ",\n".join(f"    {_dumps(_alternatives(each))}" for each in transcript.alternatives)
        stream.write(f'  "alternatives": [\n{windows}\n  ],\n' if windows else '  "alternatives": [],\n')
    segments = ",\n".join(f"    {_dumps(_segment(segment))}" for segment in transcript)
    stream.write(f'  "segments": [\n{segments}\n  ]\n}}\n' if segments else '  "segments": []\n}\n')


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _segment(segment: Segment) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": segment.id,
        "start": _seconds(segment.start),
        "end": _seconds(segment.end),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "avg_logprob": _finite(segment.avg_logprob),
        "compression_ratio": _finite(segment.compression_ratio),
        "no_speech_prob": _finite(segment.no_speech_prob),
        "temperature": _finite(segment.temperature),
    }
    if segment.language is not None:
        fields["language"] = segment.language
    if segment.words is not None:
        fields["words"] = [_word(word) for word in segment.words]
    return fields


def _alternatives(alternatives: Alternatives) -> dict[str, Any]:
    return {
        "start": _seconds(alternatives.start),
        "end": _seconds(alternatives.end),
        "readings": [
            {"text": reading.text, "avg_logprob": _finite(reading.avg_logprob)} for reading in alternatives.readings
        ],
    }


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {
        "speech": _seconds(coverage.speech),
        "speech_without_text": [[_seconds(start), _seconds(end)] for start, end in coverage.speech_without_text],
        "text_without_speech": [[_seconds(start), _seconds(end)] for start, end in coverage.text_without_speech],
    }


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": _seconds(word.start),
        "end": _seconds(word.end),
        "probability": _finite(word.probability),
    }


def _finite(value: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _seconds(value: float) -> float | None:
    """To the microsecond: finer than a sample, and rid of digits such as 3.3000000000000003."""
    return round(value, 6) if math.isfinite(value) else None


#: Format, which is also the file name's extension -> writer.
WRITERS: dict[str, Writer] = {
    "txt": write_txt,
    "srt": write_srt,
    "vtt": write_vtt,
    "tsv": write_tsv,
    "json": write_json,
}

#: Those that show the text while it is spoken, and so want a layout.
SUBTITLE_FORMATS = frozenset({"srt", "vtt"})
