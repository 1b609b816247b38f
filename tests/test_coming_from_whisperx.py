"""The program of the guide that makes whisperX's JSON of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mtasr.speakers.assignment import assign
from mtasr.transcript import Segment, Transcript, Turn, Word

GUIDE = Path(__file__).parent.parent / "docs" / "guide" / "coming-from-whisper.md"


def test_the_program_adds_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tuple(
        Word(word=text, start=start, end=start + 1, probability=0.5)
        for text, start in ((" Good", 0.0), (" morning", 2.0))
    )
    said = Segment(
        id=0,
        start=0.0,
        end=3.0,
        text=" Good morning",
        words=words,
        tokens=(),
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        temperature=0.0,
    )
    turns = [Turn(start=0.0, end=1.0, speaker="Speaker 1"), Turn(start=2.0, end=3.0, speaker="Speaker 2")]
    transcript = assign(Transcript(segments=(said,), language="en", language_probability=1.0, duration=3.0), turns)
    monkeypatch.chdir(tmp_path)
    transcript.write("call.json")
    (program,) = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exec(program, {})
    made = json.loads(Path("call.whisperx.json").read_text(encoding="utf-8"))
    assert made["language"] == "en"
    fields = ("word", "start", "end", "score", "speaker")
    assert [tuple(word[field] for field in fields) for word in made["word_segments"]] == [
        ("Good", 0.0, 1.0, 0.5, "Speaker 1"),
        ("morning", 2.0, 3.0, 0.5, "Speaker 2"),
    ]
    assert [(each["text"], each["speaker"]) for each in made["segments"]] == [
        (" Good", "Speaker 1"),
        (" morning", "Speaker 2"),
    ]
