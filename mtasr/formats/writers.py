"""Transcript -> text formats. A writer gets a transcript and a text stream, and knows nothing about paths.

Sources: SubRip as ffmpeg and VLC read it, WebVTT (https://www.w3.org/TR/webvtt1/), Advanced SubStation as libass reads
it (https://github.com/libass/libass/wiki/ASS-File-Format-Guide), TTML (https://www.w3.org/TR/ttml2/), LRC as ffmpeg
reads it, CommonMark, and for TSV and the names in JSON openai-whisper, so that what reads its files reads these.
"""

from __future__ import annotations

import csv
import html
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

from mtasr.transcript import Alternatives, Coverage, Segment, Transcript, Word
from mtasr.writing_systems import join_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How subtitles look."""

    #: In SubRip and WebVTT each word is underlined while it is spoken, where the times of words are known.
    highlight_words: bool = False


#: What writers do unless they are told otherwise.
PLAIN = Style()

Writer = Callable[[Transcript, TextIO, Style], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """A subtitle: whole milliseconds, and text of one or more lines without a blank one.

    `underlined` is a part of the text: from which to before which of its characters, spaces not counted.
    `words` are those of its segment, with times in seconds; None if they are not known.
    """

    start: int
    end: int
    text: str
    speaker: str | None = None
    underlined: tuple[int, int] | None = None
    words: tuple[Word, ...] | None = None


def cues(transcript: Transcript, style: Style = PLAIN) -> Iterator[Cue]:
    """The segments that hold text as cues with 0 <= start < end <= duration, in the order they start.

    Those of one speaker do not overlap, nor do those of nobody in particular. Where words are highlighted, a segment
    becomes several cues, one after the other.
    """
    spoken: dict[str | None, list[tuple[Segment, str]]] = {}
    for segment in transcript:
        if text := _lines(segment.text):
            spoken.setdefault(segment.speaker, []).append((segment, text))
    found: list[Cue] = []
    for speaker, said in spoken.items():
        # Floor, not round: a cue must not outlast the file. With more cues than milliseconds, order comes first.
        limit = max(math.floor(transcript.duration * 1000 + 1e-6), len(said))
        times = _apart([(segment.start * 1000, segment.end * 1000) for segment, _ in said], 0, limit)
        for (segment, text), (start, end) in zip(said, times, strict=True):
            cue = Cue(start=start, end=end, text=text, speaker=speaker, words=segment.words)
            found += _highlighted(cue, segment.words or ()) if style.highlight_words else [cue]
    yield from sorted(found, key=lambda cue: cue.start)


def _apart(times: Sequence[tuple[float, float]], least: int, most: int) -> list[tuple[int, int]]:
    """Starts and ends as whole numbers of the same unit from `least` to `most`: in order, none empty, no overlap.

    Rounding may break any of these, and so may a caller's own segments and words. So starts are pushed apart first,
    each to a number of its own, and then a stretch ends where the next one starts at the latest. Needs as many
    numbers as there are stretches.
    """
    starts = _increasing([round(start) for start, _ in times], least, most)
    return [
        (start, min(max(round(end), start + 1), following))
        for (_, end), start, following in zip(times, starts, [*starts, most][1:], strict=True)
    ]


def _increasing(times: list[int], least: int, most: int) -> list[int]:
    """The nearest strictly increasing times from `least` to `most` - 1; needs len(times) <= most - least."""
    for i, time in enumerate(times):
        times[i] = max(time, least)
        least = times[i] + 1
    for i in reversed(range(len(times))):
        times[i] = min(times[i], most - 1)
        most = times[i]
    return times


def _highlighted(cue: Cue, words: Sequence[Word]) -> Iterator[Cue]:
    """The cue once for each word, which is underlined while it is spoken, and as it is for the time between."""
    seen = [(word, count) for word in words if (count := _visible(_lines(word.word)))]
    # Words that are not those of the text cannot be found in it.
    if sum(count for _, count in seen) != _visible(cue.text) or len(seen) > cue.end - cue.start:
        seen = []
    at, place = cue.start, 0
    times = _apart([(word.start * 1000, word.end * 1000) for word, _ in seen], cue.start, cue.end)
    for (_, count), (start, end) in zip(seen, times, strict=True):
        if at < start:
            yield replace(cue, start=at, end=start)
        yield replace(cue, start=start, end=end, underlined=(place, place + count))
        at, place = end, place + count
    if at < cue.end:
        yield replace(cue, start=at)


def _visible(text: str) -> int:
    """How many characters are no space."""
    return sum(not char.isspace() for char in text)


_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f]")


def _lines(text: str) -> str:
    """`text` without blank lines, control characters and space around lines: a blank line would end a cue."""
    lines = (_CONTROLS.sub("", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def one_line(text: str) -> str:
    """`text` on one line, without control characters; no space comes into scripts that have none."""
    return join_lines(_lines(text).split("\n")).replace("\t", " ")


#: Word joiner: a character without width or meaning that keeps others apart.
_JOINER = "\u2060"
#: Where a time has its seconds, and before a number that is the last of several lines.
_SECONDS = re.compile(r"(?<=\d:)(?=\d{1,2}[.,]\d)")
_LAST_NUMBER = re.compile(r"(?<=\n)(?=\d+\Z)")


def _harmless(text: str) -> str:
    """Cue text, escaped, that no reader takes for the frame around it, which SubRip has no way to escape.

    Readers find a cue by two times on one line, and by a line that is only a number, which is the next cue's.
    So a joiner parts what would be a second time, and one comes before a number on the last line.
    """
    lines = []
    for line in text.split("\n"):
        before, *times = _SECONDS.split(line)
        lines.append(before + _JOINER.join(times))
    return _LAST_NUMBER.sub(_JOINER, "\n".join(lines))


def labelled(segment: Segment) -> str:
    """A segment's text on one line, after its speaker; nothing for one without text."""
    text = one_line(segment.text)
    return f"{_prefix(segment.speaker)}{text}" if text else ""


def _prefix(speaker: str | None) -> str:
    """What goes before the text."""
    return "" if speaker is None else f"{one_line(speaker)}: "


def _marked(cue: Cue, before: str, escape: Callable[[str], str]) -> str:
    """The text of a cue, escaped, with the underlined part between tags, after something that needs no escape."""
    text = cue.text
    if cue.underlined is None:
        return _harmless(before + escape(text))
    visible = [place for place, char in enumerate(text) if not char.isspace()]
    first, last = visible[cue.underlined[0]], visible[cue.underlined[1] - 1] + 1
    return _harmless(f"{before}{escape(text[:first])}<u>{escape(text[first:last])}</u>{escape(text[last:])}")


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


#: What SubRip has no escape for: a joiner keeps `<` from beginning a tag and a backslash a code. Readers that go by way
#: of ASS drop whatever is in braces, so full-width ones stand in, and the joiner after them tells them from others.
_SRT_TEXT = str.maketrans({"<": f"<{_JOINER}", "\\": f"\\{_JOINER}", "{": f"\uff5b{_JOINER}", "}": f"\uff5d{_JOINER}"})
_SRT_ORIGINALS = {written: chr(code) for code, written in _SRT_TEXT.items()} | {f"&{_JOINER}": "&"}
_SRT_WRITTEN = re.compile(f"[<&\\\\\uff5b\uff5d]{_JOINER}")
#: The joiners of `_harmless`.
_SRT_APART = re.compile(rf"(?<=\d:){_JOINER}(?=\d{{1,2}}[.,]\d)|(?<=\n){_JOINER}(?=\d+\Z)")


def to_srt_text(text: str) -> str:
    """Text as it is in SubRip, where nothing that looks like a tag, a code or an entity shall be taken for one."""
    if html.unescape(text) != text:
        text = text.replace("&", f"&{_JOINER}")
    return text.translate(_SRT_TEXT)


def from_srt_text(text: str) -> str:
    """The text of a cue as it was before it was written, for one without joiners; what others write stays as it is."""
    return _SRT_WRITTEN.sub(lambda found: _SRT_ORIGINALS[found[0]], _SRT_APART.sub("", text))


def _timestamp(milliseconds: int, mark: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{milliseconds:03}"


def write_txt(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Plain text, a segment a line, after the speaker if there is one."""
    for segment in transcript:
        if text := labelled(segment):
            stream.write(f"{text}\n")


def write_srt(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """SubRip, the speaker before the text, which holds no markup; see `to_srt_text`."""
    for number, cue in enumerate(cues(transcript, style), start=1):
        times = f"{_timestamp(cue.start, ',')} --> {_timestamp(cue.end, ',')}"
        stream.write(f"{number}\n{times}\n{_marked(cue, to_srt_text(_prefix(cue.speaker)), to_srt_text)}\n\n")


def write_vtt(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """WebVTT, the speaker in a voice tag, the text's `&`, `<` and `>` as entities: none of it is markup or `-->`."""
    stream.write("WEBVTT\n\n")
    for cue in cues(transcript, style):
        voice = "" if cue.speaker is None else f"<v {_entities(one_line(cue.speaker))}>"
        text = _marked(cue, voice, _entities)
        stream.write(f"{_timestamp(cue.start, '.')} --> {_timestamp(cue.end, '.')}\n{text}\n\n")


def write_tsv(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Start and end in whole milliseconds and the text, separated by tabs, below a header.

    The speaker comes before the text and not in a column: readers of openai-whisper's files expect three.
    """
    stream.write("start\tend\ttext\n")
    for cue in cues(transcript):
        stream.write(f"{cue.start}\t{cue.end}\t{_prefix(cue.speaker)}{one_line(cue.text)}\n")


def write_csv(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Start and end in whole milliseconds, speaker and text, with quotes where they are needed (RFC 4180)."""
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("start", "end", "speaker", "text"))
    table.writerows((cue.start, cue.end, one_line(cue.speaker or ""), one_line(cue.text)) for cue in cues(transcript))


_MARKDOWN = re.compile(r"([\\`*_\[\]<>&~|#$])")


def write_md(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """CommonMark: a paragraph for each segment, times and speaker in bold; what the text has of markup is escaped."""
    for number, cue in enumerate(cues(transcript)):
        bold = f"{_timestamp(cue.start, '.')} – {_timestamp(cue.end, '.')} {_prefix(cue.speaker)}".rstrip()
        blank = "\n" if number else ""
        stream.write(f"{blank}**{_unmarked(bold)}** {_unmarked(one_line(cue.text))}\n")


def _unmarked(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


#: Centred at the bottom. The second colour is that of words not yet spoken. A line is as long as it was laid out.
_ASS_HEAD = """\
[Script Info]
ScriptType: v4.00+
PlayResX: {width}
PlayResY: {height}
WrapStyle: {wrap}
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,60,&H00FFFFFF,&H00A0A0A0,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,0,2,80,80,60,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
#: No reader but libass knows an escape for braces, so these stand in. A backslash is kept from becoming a code.
_ASS_TEXT = str.maketrans({"{": "\uff5b", "}": "\uff5d", "\\": f"\\{_JOINER}", "\n": r"\N"})
#: A comma would end the field of the name.
_ASS_NAME = str.maketrans({",": "\uff0c"})


def ass_head(width: int = 1920, height: int = 1080, *, wrap: bool = False) -> str:
    """All before the subtitles, for a picture of these proportions; with `wrap` too long a line is broken."""
    return _ASS_HEAD.format(width=width, height=height, wrap=0 if wrap else 2)


def write_ass(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Advanced SubStation Alpha, with karaoke codes where the times of words are known and the speaker as the actor."""
    stream.write(ass_head())
    for cue in _in_centiseconds(transcript):
        text = _karaoke(cue) or cue.text.translate(_ASS_TEXT)
        name = one_line(cue.speaker or "").translate(_ASS_NAME)
        stream.write(f"Dialogue: 0,{_ass_time(cue.start)},{_ass_time(cue.end)},Default,{name},0,0,0,,{text}\n")


def _in_centiseconds(transcript: Transcript) -> list[Cue]:
    """Cues with times in centiseconds, still in order and each with some time."""
    voices: dict[str | None, list[Cue]] = {}
    for cue in cues(transcript):
        voices.setdefault(cue.speaker, []).append(cue)
    found: list[Cue] = []
    for own in voices.values():
        most = max(round(transcript.duration * 100), len(own)) + 1
        times = _apart([(cue.start / 10, cue.end / 10) for cue in own], 0, most)
        found += [replace(cue, start=start, end=end) for cue, (start, end) in zip(own, times, strict=True)]
    return sorted(found, key=lambda cue: cue.start)


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


def write_lrc(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """LRC, for music players: a line lasts until the next, so an empty one follows where nobody speaks."""
    lines = _in_centiseconds(transcript)
    silent = itertools.accumulate((cue.end for cue in lines), max)
    for cue, end, after in itertools.zip_longest(lines, silent, lines[1:]):
        text = f"{_prefix(cue.speaker)}{one_line(cue.text)}"
        # A bracket at the start would be read as one more time; the joiner has no width.
        apart = _JOINER if text.startswith("[") else ""
        stream.write(f"[{_lrc_time(cue.start)}]{apart}{text}\n")
        if after is None or after.start > end:
            stream.write(f"[{_lrc_time(end)}]\n")


def _lrc_time(centiseconds: int) -> str:
    minutes, rest = divmod(centiseconds, 6000)
    return f"{minutes:02}:{rest // 100:02}.{rest % 100:02}"


#: Characters that XML has no place for, not even escaped.
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write_ttml(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """TTML for the web and broadcasting. The language is left open where that of the text is not known or changes."""
    language = quoteattr(transcript.text_language or "")
    stream.write(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" ttp:timeBase="media" '
        f'xml:lang={language} xml:space="preserve">\n<body>\n<div>\n'
    )
    for cue in cues(transcript):
        text = escape(_NOT_XML.sub("", _prefix(cue.speaker) + cue.text)).replace("\n", "<br/>")
        stream.write(f'<p begin="{_timestamp(cue.start, ".")}" end="{_timestamp(cue.end, ".")}">{text}</p>\n')
    stream.write("</div>\n</body>\n</tt>\n")


def write_json(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
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
    if segment.speaker is not None:
        fields["speaker"] = segment.speaker
    if segment.words is not None:
        fields["words"] = [_word(word) for word in segment.words]
    return fields


def _alternatives(alternatives: Alternatives) -> dict[str, Any]:
    speaker = {} if alternatives.speaker is None else {"speaker": alternatives.speaker}
    return speaker | {
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
