"""The output formats by name, and how a transcript becomes a file or a string in one of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mtasr import atomic
from mtasr.errors import UsageError
from mtasr.formats import ass, lrc, plain, rttm, srt, tables, transcript_json, ttml, vtt
from mtasr.formats.cues import Style
from mtasr.subtitles import STYLES, Layout, lay_out
from mtasr.transcript import Transcript


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """A text format of transcripts.

    `write` writes a transcript to a text stream. Subtitle formats show the text while it is spoken, so it is laid out
    first: they get cues for segments.
    """

    write: Callable[[Transcript, TextIO, Style], None]
    is_subtitle: bool = False


#: By name, which is also the ending of its files; in the order of the help.
OUTPUT_FORMATS: dict[str, OutputFormat] = {
    "txt": OutputFormat(plain.write_txt),
    "srt": OutputFormat(srt.write, is_subtitle=True),
    "vtt": OutputFormat(vtt.write, is_subtitle=True),
    "ass": OutputFormat(ass.write, is_subtitle=True),
    "lrc": OutputFormat(lrc.write, is_subtitle=True),
    "ttml": OutputFormat(ttml.write, is_subtitle=True),
    "tsv": OutputFormat(tables.write_tsv),
    "csv": OutputFormat(tables.write_csv),
    "md": OutputFormat(plain.write_md),
    "json": OutputFormat(transcript_json.write),
    "rttm": OutputFormat(rttm.write),
}


def render(
    transcript: Transcript,
    name: str,
    *,
    subtitle_style: str | Layout = "web",
    highlight_words: bool = False,
    recording: str = "",
) -> str:
    """A transcript in the format of that name; for the options and errors see `Transcript.write`."""
    form = OUTPUT_FORMATS.get(name)
    if form is None:
        raise UsageError(f"no output format is called {name!r}; choose one of {', '.join(OUTPUT_FORMATS)}")
    layout = subtitle_style if isinstance(subtitle_style, Layout) else _layout(subtitle_style)
    if form.is_subtitle and layout is not None:
        transcript = lay_out(transcript, layout).transcript
    stream = io.StringIO()
    form.write(transcript, stream, Style(highlight_words=highlight_words, recording=recording))
    return stream.getvalue()


def _layout(name: str) -> Layout | None:
    if name not in STYLES:
        raise UsageError(f"subtitle_style must be {', '.join(STYLES)} or a Layout, not {name!r}")
    return STYLES[name]


def write(
    transcript: Transcript,
    path: str | os.PathLike[str],
    output_format: str | None = None,
    *,
    subtitle_style: str | Layout = "web",
    highlight_words: bool = False,
) -> None:
    """Write a transcript to a file; see `Transcript.write`."""
    target = Path(path)
    name = output_format or target.suffix.removeprefix(".").lower()
    if not name:
        raise UsageError(f"{target}: has no ending that names an output format; give output_format")
    text = render(
        transcript, name, subtitle_style=subtitle_style, highlight_words=highlight_words, recording=target.stem
    )
    atomic.check_replaceable(target)
    atomic.write_text(target, lambda stream: stream.write(text))
