"""Who speaks when, without text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loudness_diarizer import LoudnessDiarizer, dialogue
from speech import write_wav
from test_diarized import model

import mtasr
from mtasr.errors import InputError, UsageError
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Turn


def test_turns_of_a_file(tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", dialogue())
    seen: list[tuple[float, float | None]] = []
    heard_at_end: list[int] = []
    found = mtasr.diarize(
        tmp_path / "talk.wav",
        speakers=["Anna"],
        num_speakers=2,
        diarizer=LoudnessDiarizer(),
        progress=lambda seconds, total: seen.append((seconds, total)),
        at_end=lambda: heard_at_end.append(len(seen)),
    )
    assert [(turn.start, turn.end, turn.speaker) for turn in found.turns] == [
        (1.0, 4.0, "Anna"), (6.0, 9.0, "Speaker 2"), (13.0, 16.0, "Speaker 2"), (16.0, 19.2, "Anna"),
    ]  # fmt: skip
    assert found.duration == pytest.approx(len(dialogue()) / SAMPLE_RATE, abs=0.001)
    assert found.speakers == ("Anna", "Speaker 2")
    assert seen == sorted(seen)
    assert seen[-1] == (found.duration, pytest.approx(found.duration, abs=0.001))
    assert heard_at_end == [len(seen) - 1], "before the last report"
    assert found.warnings == ()


def test_turns_are_those_of_the_transcript() -> None:
    found = mtasr.diarize(dialogue(), diarizer=LoudnessDiarizer())
    assert found.turns == model().transcribe(dialogue(), diarize=True).turns


def test_nobody_speaks() -> None:
    found = mtasr.diarize(np.zeros(SAMPLE_RATE, np.float32), diarizer=LoudnessDiarizer())
    assert (found.turns, found.speakers, found.duration, found.to_rttm()) == ((), (), 1.0, "")


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown option beam_size"):
        mtasr.diarize(dialogue(), beam_size=2, diarizer=LoudnessDiarizer())
    with pytest.raises(UsageError, match="min_speakers must be at most max_speakers"):
        mtasr.diarize(dialogue(), min_speakers=3, max_speakers=2, diarizer=LoudnessDiarizer())
    with pytest.raises(InputError, match="no such file"):
        mtasr.diarize(tmp_path / "missing.wav", diarizer=LoudnessDiarizer())


def test_a_turn_is_a_value() -> None:
    assert mtasr.Turn is Turn
