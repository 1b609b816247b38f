"""Subtitle and transcript files -> captions: srt, vtt, txt, and the JSON that mtasr and openai-whisper write."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtasr.data.records import Caption
from mtasr.errors import InputError, UsageError
from mtasr.formats.srt import from_srt_text
from mtasr.text_files import read_text
from mtasr.tokenizer import to_code

#: File name endings, in order of preference.
CAPTION_ENDINGS = (".srt", ".vtt", ".json", ".txt")

# WebVTT may leave out the hours. A comma (SubRip) or a point (WebVTT) separates the milliseconds.
_TIME = r"(?:(\d{1,9}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
# Markup never contains its opening character, so that many unclosed ones cost no more than a pass over the line.
# A word joiner after an opening angle bracket marks it as text (`from_srt_text`).
_MARKUP = re.compile(r"<(?!\u2060)[^<>\n]*>|\{\\[^{}\n]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionFile:
    """The content of a caption file. Without times, the whole text is one caption that begins and ends at 0."""

    captions: tuple[Caption, ...]
    timed: bool
    #: The code of the language, if the file names one.
    language: str | None = None


def read_captions(path: Path) -> CaptionFile:
    """Read a caption file of the kind that its name ends with; any other ending means plain text.

    Raises `InputError` for a file that cannot be read or is malformed.
    """
    text = read_text(path, any_encoding=True)
    ending = path.suffix.lower()
    if ending in {".srt", ".vtt"}:
        return CaptionFile(captions=parse_subtitles(text), timed=True)
    if ending == ".json":
        return _from_json(text, path)
    return untimed(text)


def untimed(text: str, language: str | None = None) -> CaptionFile:
    return CaptionFile(captions=(Caption(start=0, end=0, text=text.strip()),), timed=False, language=language)


def parse_subtitles(text: str) -> tuple[Caption, ...]:
    """The captions of SubRip or WebVTT without markup, in the order of the file.

    Skips everything but a line of times and the text below it: numbers, names, headers, styles, notes.
    """
    captions = []
    times: tuple[float, float] | None = None
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if found := _TIMES.match(line):
            times, lines = (_seconds(*found.groups()[:4]), _seconds(*found.groups()[4:])), []
        elif not line.strip():
            if times and (content := _plain("\n".join(lines))):
                captions.append(Caption(start=times[0], end=times[1], text=content))
            times = None
        elif times:
            lines.append(line)
    return tuple(captions)


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return (whole * 1000 + int(fraction.ljust(3, "0"))) / 1000


def _plain(text: str) -> str:
    return from_srt_text(html.unescape(_MARKUP.sub("", text))).strip()


def _from_json(text: str, path: Path) -> CaptionFile:
    """`segments` with times and text, or `text` alone; `language` as a code or a name."""
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{path}: is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise InputError(f"{path}: is not a JSON object")
    language = document.get("language")
    try:
        code = to_code(language) if isinstance(language, str) and language else None
    except UsageError as exc:
        raise InputError(f"{path}: {exc}") from exc
    segments: Any = document.get("segments")
    if segments is None and isinstance(document.get("text"), str):
        return untimed(document["text"], code)
    try:
        captions = tuple(
            Caption(start=float(s["start"]), end=float(s["end"]), text=s["text"].strip()) for s in segments
        )
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as exc:
        raise InputError(f"{path}: its segments do not have start, end and text") from exc
    return CaptionFile(captions=captions, timed=True, language=code)
