"""TTML, for the web and broadcasting (https://www.w3.org/TR/ttml2/)."""

from __future__ import annotations

import re
from typing import TextIO

from mtasr.formats.cue_text import prefix
from mtasr.formats.cues import PLAIN, Style, cues, timestamp
from mtasr.transcript import Transcript

#: Characters that XML cannot hold, not even escaped.
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write cues. Their language stays empty where that of the text is not known or changes."""
    from xml.sax.saxutils import escape, quoteattr  # which loads urllib and ssl: not at every start of the program

    language = quoteattr(transcript.text_language or "")
    stream.write(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" ttp:timeBase="media" '
        f'xml:lang={language} xml:space="preserve">\n<body>\n<div>\n'
    )
    for cue in cues(transcript):
        text = escape(_NOT_XML.sub("", prefix(cue.speaker) + cue.text)).replace("\n", "<br/>")
        stream.write(f'<p begin="{timestamp(cue.start, ".")}" end="{timestamp(cue.end, ".")}">{text}</p>\n')
    stream.write("</div>\n</body>\n</tt>\n")
