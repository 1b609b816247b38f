"""Transcripts from JSON files: ours, openai-whisper's, and what is none."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest

from mtasr.errors import InputError, InputNotFoundError
from mtasr.formats import transcript_json
from mtasr.transcript import Coverage, Segment, Transcript, Word

WORDS = (
    Word(word=" Good", start=0.5, end=1.0, probability=0.75),
    Word(word=" day.", start=1.0, end=2.0, probability=1.0),
)
SEGMENT = Segment(
    id=0, start=0.5, end=2.0, text=" Good day.", tokens=(), avg_logprob=-0.25, compression_ratio=1.0,
    no_speech_prob=0.0, temperature=0.0, words=WORDS, language="en", speaker="Anna",
)  # fmt: skip
TRANSCRIPT = Transcript(
    language="en", language_probability=0.5, duration=3.0, segments=(SEGMENT,),
    coverage=Coverage(speech=2.0, speech_without_text=((2.0, 2.5),)),
)  # fmt: skip


def test_what_we_write_is_read_back(tmp_path: Path) -> None:
    stream = io.StringIO()
    transcript_json.write(TRANSCRIPT, stream)
    (tmp_path / "a.json").write_text(stream.getvalue(), "utf-8")
    assert transcript_json.read(tmp_path / "a.json") == TRANSCRIPT


def test_what_others_leave_out_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"segments": [{"start": 1, "end": 2, "text": "a", "words": [{"word": "a", "start": 1, "end": 2}]}]}'
    )
    transcript = transcript_json.read(tmp_path / "a.json")
    (segment,) = transcript.segments
    assert (transcript.language, transcript.duration, transcript.coverage) == ("", 2.0, None)
    assert segment.words is not None
    assert math.isnan(segment.avg_logprob)
    assert math.isnan(segment.words[0].probability)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a transcript"),
        ("{}", "'segments' is missing"),
        ('{"segments": 1}', "is not a transcript"),
        ('{"segments": [{"start": 0, "end": 1}]}', "'text' is missing"),
        ('{"segments": [{"start": 0, "end": 1, "text": 5}]}', "5 is not text"),
        ('{"segments": [{"start": -1, "end": 1, "text": "a"}]}', "-1 is not a time"),
        ('{"segments": [{"start": 0, "end": 1e999, "text": "a"}]}', "inf is not a time"),
        ('{"segments": [{"start": null, "end": 1, "text": "a"}]}', "is not a transcript"),
    ],
)
def test_what_is_no_transcript(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=reason):
        transcript_json.read(tmp_path / "a.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        transcript_json.read(tmp_path / "a.json")


def test_numbers_that_json_has_no_sign_for(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"segments": [{"start": 0, "end": math.nan, "text": "a"}]}))
    with pytest.raises(InputError, match="nan is not a time"):
        transcript_json.read(tmp_path / "a.json")
