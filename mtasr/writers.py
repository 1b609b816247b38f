"""Transcript -> text formats. A writer gets a transcript and a text stream, and knows nothing about paths.

Sources: SubRip as ffmpeg and VLC read it, WebVTT (https://www.w3.org/TR/webvtt1/), Advanced SubStation as libass reads
it (https://github.com/libass/libass/wiki/ASS-File-Format-Guide), TTML (https://www.w3.org/TR/ttml2/), LRC as ffmpeg
reads it, CommonMark, and for TSV and the names in JSON openai-whisper, so that what reads its files reads these.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TextIO
from xml.sax.saxutils import escape

from mtasr.transcript import Alternatives, Coverage, Segment, Transcript, Word

Writer = Callable[[Transcript, TextIO], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """A subtitle: whole milliseconds, and text of one or more lines without a blank one.

    `words` are those of its segment, with times in seconds; None if they are not known.
    """

    start: int
    end: int
    text: str
    words: tuple[Word, ...] | None = None


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
        end = min(max(round(segment.end * 1000), start + 1), following)
        yield Cue(start=start, end=end, text=text, words=segment.words)


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


def write_csv(transcript: Transcript, stream: TextIO) -> None:
    """The columns of the TSV, with quotes where they are needed (RFC 4180)."""
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("start", "end", "text"))
    table.writerows((cue.start, cue.end, one_line(cue.text)) for cue in cues(transcript))


_MARKDOWN = re.compile(r"([\\`*_\[\]<>&~|#$])")


def write_md(transcript: Transcript, stream: TextIO) -> None:
    """CommonMark: a paragraph for each segment, its times in bold; what the text has of markup is escaped."""
    for number, cue in enumerate(cues(transcript)):
        text = _MARKDOWN.sub(r"\\\1", one_line(cue.text))
        blank = "\n" if number else ""
        stream.write(f"{blank}**{_timestamp(cue.start, '.')} – {_timestamp(cue.end, '.')}** {text}\n")


#: Centred at the bottom. The second colour is that of words not yet spoken.
_ASS_HEAD = """\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
WrapStyle: 2
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,60,&H00FFFFFF,&H00A0A0A0,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,0,2,80,80,60,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
#: Word joiner: a character without width or meaning that keeps others apart.
_JOINER = "\u2060"
#: No reader but libass knows an escape for braces, so these stand in. A backslash is kept from becoming a code.
_ASS_TEXT = str.maketrans({"{": "\uff5b", "}": "\uff5d", "\\": f"\\{_JOINER}", "\n": r"\N"})


def write_ass(transcript: Transcript, stream: TextIO) -> None:
    """Advanced SubStation Alpha, with karaoke codes where the times of words are known. Times in centiseconds."""
    stream.write(_ASS_HEAD)
    for cue in _in_centiseconds(transcript):
        text = _karaoke(cue) or cue.text.translate(_ASS_TEXT)
        stream.write(f"Dialogue: 0,{_ass_time(cue.start)},{_ass_time(cue.end)},Default,,0,0,0,,{text}\n")


def _in_centiseconds(transcript: Transcript) -> Iterator[Cue]:
    """Cues with times in centiseconds, still in order and each with some time."""
    fine = list(cues(transcript))
    starts = _increasing([round(cue.start / 10) for cue in fine], max(round(transcript.duration * 100), len(fine)) + 1)
    for cue, start, following in itertools.zip_longest(fine, starts, starts[1:]):
        end = max(round(cue.end / 10), start + 1)
        yield replace(cue, start=start, end=end if following is None else min(end, following))


def _ass_time(centiseconds: int) -> str:
    seconds, rest = divmod(centiseconds, 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:02}"


def _karaoke(cue: Cue) -> str | None:
    r"""The text with a code `{\k..}` before each word that tells how long it lasts, None if the words are not its text.

    A word lasts until the next one starts, so pauses belong to the word before them.
    """
    words = cue.words or ()
    if _lines("".join(word.word for word in words)) != cue.text:
        return None
    starts = [min(max(round(word.start * 100), cue.start), cue.end) for word in words]
    starts = [cue.start, *itertools.accumulate(starts[1:], max), cue.end]
    pieces: list[str] = []
    for word, (start, following) in zip(words, itertools.pairwise(starts), strict=True):
        bare = word.word.lstrip()
        before = word.word[: len(word.word) - len(bare)] if pieces else ""
        lasts = max(following - start, 0)
        pieces.append(f"{before.translate(_ASS_TEXT)}{{\\k{lasts}}}{bare.translate(_ASS_TEXT)}")
    return "".join(pieces).rstrip()


def write_lrc(transcript: Transcript, stream: TextIO) -> None:
    """LRC, for music players: a line lasts until the next, so an empty one follows where nothing is said."""
    lines = list(_in_centiseconds(transcript))
    for cue, after in itertools.zip_longest(lines, lines[1:]):
        text = one_line(cue.text)
        # A bracket at the start would be read as one more time; the joiner has no width.
        apart = _JOINER if text.startswith("[") else ""
        stream.write(f"[{_lrc_time(cue.start)}]{apart}{text}\n")
        if after is None or after.start > cue.end:
            stream.write(f"[{_lrc_time(cue.end)}]\n")


def _lrc_time(centiseconds: int) -> str:
    minutes, rest = divmod(centiseconds, 6000)
    return f"{minutes:02}:{rest // 100:02}.{rest % 100:02}"


#: Characters that XML has no place for, not even escaped.
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write_ttml(transcript: Transcript, stream: TextIO) -> None:
    """TTML for the web and broadcasting. The language of the text is left open: it may be a translation."""
    stream.write(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" ttp:timeBase="media" '
        'xml:lang="" xml:space="preserve">\n<body>\n<div>\n'
    )
    for cue in cues(transcript):
        text = escape(_NOT_XML.sub("", cue.text)).replace("\n", "<br/>")
        stream.write(f'<p begin="{_timestamp(cue.start, ".")}" end="{_timestamp(cue.end, ".")}">{text}</p>\n')
    stream.write("</div>\n</body>\n</tt>\n")


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
    "ass": write_ass,
    "lrc": write_lrc,
    "ttml": write_ttml,
    "tsv": write_tsv,
    "csv": write_csv,
    "md": write_md,
    "json": write_json,
}

#: Those that show the text while it is spoken, and so want a layout.
SUBTITLE_FORMATS = frozenset({"srt", "vtt", "ass", "lrc", "ttml"})
