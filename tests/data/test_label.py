"""Pseudo-labels: only what the model is sure of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.cli import program
from mtasr.data.label import Trust, record_of, recordings_in
from mtasr.data.reading import read_records
from mtasr.data.records import Caption
from mtasr.transcript import Coverage, Segment, Transcript

SURE = Segment(
    id=0, start=1.0, end=2.0, text=" Bread.", tokens=(), avg_logprob=-0.2, compression_ratio=1.0, no_speech_prob=0.0,
    temperature=0.0,
)  # fmt: skip


def test_what_is_doubtful_is_unknown() -> None:
    doubtful = [
        replace(SURE, start=3.0, end=4.0, avg_logprob=-0.9),
        replace(SURE, start=5.0, end=6.0, compression_ratio=3.0),
        replace(SURE, start=7.0, end=8.0, temperature=0.2),
    ]
    transcript = Transcript(
        language="it", language_probability=0.9, duration=12.0, segments=(SURE, *doubtful),
        coverage=Coverage(speech=8.0, speech_without_text=((2.2, 2.8),)),
    )  # fmt: skip
    (bare,) = recordings_in([Path("/data/talk.wav")])
    found = record_of(transcript, bare, Trust())
    assert found.captions == (
        Caption(start=1.0, end=2.0, text="Bread."),
        Caption(start=2.2, end=2.8, text=""),
        *(Caption(start=each.start, end=each.end, text="") for each in doubtful),
    )
    assert (found.language, found.duration, found.source) == ("it", 12.0, "data")


@pytest.mark.weights
def test_the_command(tmp_path: Path) -> None:
    spoken = speak("Good morning, this is the baker. The bread is warm today.")
    write_wav(tmp_path / "a.wav", spoken)
    (tmp_path / "b.wav").write_bytes(b"no audio")
    command = ["data", "label", str(tmp_path / "a.wav"), str(tmp_path / "b.wav"), str(tmp_path / "all.jsonl")]
    done = CliRunner().invoke(program, command)
    assert done.exit_code == 6, done.output
    assert "skipped" in done.output
    (found,) = read_records(tmp_path / "all.jsonl")
    assert found.duration == pytest.approx(len(spoken) / SAMPLE_RATE, abs=0.01)
    assert found.text.startswith("Good morning")
