"""Advanced SubStation Alpha as libass reads it (https://github.com/libass/libass/wiki/ASS-File-Format-Guide)."""

from __future__ import annotations

import itertools
from typing import TextIO

from mtasr.formats.cue_text import JOINER, lines_of, one_line
from mtasr.formats.cues import PLAIN, Cue, Style, cues_in_centiseconds
from mtasr.transcript import Transcript

#: Centred at the bottom. The second colour is that of words not yet spoken.
_HEAD = """\
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
#: Only libass knows an escape for braces, so full-width ones stand in. The joiner keeps a backslash from being a code.
_TEXT = str.maketrans({"{": "\uff5b", "}": "\uff5d", "\\": f"\\{JOINER}", "\n": r"\N"})
#: A comma would end the field of the name.
_NAME = str.maketrans({",": "\uff0c"})


def head(width: int = 1920, height: int = 1080, *, wrap: bool = False) -> str:
    """All that precedes the subtitles, for a picture of this size in pixels; `wrap` lets players break long lines."""
    return _HEAD.format(width=width, height=height, wrap=0 if wrap else 2)


def write(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write cues with karaoke codes, where the times of words are known, and the speaker as the actor."""
    stream.write(head())
    for cue in cues_in_centiseconds(transcript):
        text = _karaoke(cue) or cue.text.translate(_TEXT)
        name = one_line(cue.speaker or "").translate(_NAME)
        stream.write(f"Dialogue: 0,{_time(cue.start)},{_time(cue.end)},Default,{name},0,0,0,,{text}\n")


def _time(centiseconds: int) -> str:
    seconds, rest = divmod(centiseconds, 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:02}"


def _karaoke(cue: Cue) -> str | None:
    r"""The text with the duration of each word before it, as `{\k..}`; None if the words are not those of the text.

    A word lasts until the next one starts, so pauses belong to the word before them.
    """
    words = cue.words or ()
    if lines_of("".join(word.word for word in words)) != cue.text:
        return None
    starts = [min(max(round(word.start * 100), cue.start), cue.end) for word in words]
    starts = [cue.start, *itertools.accumulate(starts[1:], max), cue.end]
    pieces: list[str] = []
    for word, (start, following) in zip(words, itertools.pairwise(starts), strict=True):
        bare = word.word.lstrip()
        before = word.word[: len(word.word) - len(bare)] if pieces else ""
        lasts = max(following - start, 0)
        pieces.append(f"{before.translate(_TEXT)}{{\\k{lasts}}}{bare.translate(_TEXT)}")
    return "".join(pieces).rstrip()
