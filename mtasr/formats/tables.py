"""Tables of cues: TSV as openai-whisper writes it, so that what reads its files reads these, and CSV (RFC 4180)."""

from __future__ import annotations

import csv
from typing import TextIO

from mtasr.formats.cue_text import one_line, prefix
from mtasr.formats.cues import PLAIN, Style, cues
from mtasr.transcript import Transcript


def write_tsv(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write start and end in whole milliseconds and the text, separated by tabs, below a header.

    The speaker precedes the text and has no column: readers of openai-whisper's files expect three.
    """
    stream.write("start\tend\ttext\n")
    for cue in cues(transcript):
        stream.write(f"{cue.start}\t{cue.end}\t{prefix(cue.speaker)}{one_line(cue.text)}\n")


def write_csv(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write start and end in whole milliseconds, speaker and text, quoted where necessary."""
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("start", "end", "speaker", "text"))
    table.writerows((cue.start, cue.end, one_line(cue.speaker or ""), one_line(cue.text)) for cue in cues(transcript))
