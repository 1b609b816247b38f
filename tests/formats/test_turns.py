"""Who speaks when, in RTTM, JSON and tables."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_writers import transcript, written
from timed_text import segment

from mtasr.errors import UsageError
from mtasr.formats import transcript_json
from mtasr.formats.cues import Style
from mtasr.formats.rttm import read_rttm
from mtasr.speakers.diarize import Diarization
from mtasr.transcript import Transcript, Turn, Word

TURNS = (
    Turn(start=0.5, end=2.25, speaker="Anna Lee", confidence=0.875),
    Turn(start=2.0, end=3.0004, speaker="Speaker 2", confidence=1.0),
)


def test_a_line_of_rttm_has_ten_fields() -> None:
    result = replace(transcript(), turns=TURNS)
    assert written(result, "rttm", Style(recording="my talk")) == (
        "SPEAKER my_talk 1 0.500 1.750 <NA> <NA> Anna_Lee 0.875 <NA>\n"
        "SPEAKER my_talk 1 2.000 1.000 <NA> <NA> Speaker_2 1.000 <NA>\n"
    )
    assert written(replace(transcript(), turns=()), "rttm") == ""


def test_channels_are_counted_from_one() -> None:
    turns = [Turn(start=channel, end=channel + 1.5, speaker=f"Speaker {channel + 1}", channel=channel)
             for channel in range(2)]  # fmt: skip
    assert written(replace(transcript(), turns=tuple(turns)), "rttm") == (
        "SPEAKER recording 1 0.000 1.500 <NA> <NA> Speaker_1 <NA> <NA>\n"
        "SPEAKER recording 2 1.000 1.500 <NA> <NA> Speaker_2 <NA> <NA>\n"
    )


def test_segments_stand_for_turns_that_are_not_known() -> None:
    result = transcript(segment(1, 2, " a", speaker="Ann"), segment(3, 3.5, " b"))
    lines = written(result, "rttm").splitlines()
    assert [line.split()[3:5] + line.split()[7:8] for line in lines] == [
        ["1.000", "1.000", "Ann"], ["3.000", "0.500", "<NA>"],
    ]  # fmt: skip


def test_a_speaker_may_be_called_like_nobody() -> None:
    turns = (Turn(start=0.0, end=1.0, speaker="<NA>", confidence=0.5),)
    assert written(replace(transcript(), turns=turns), "rttm") == (
        "SPEAKER recording 1 0.000 1.000 <NA> <NA> <NA> 0.500 <NA>\n"
    )


def test_a_file_is_named_after_itself(tmp_path: Path) -> None:
    replace(transcript(), turns=TURNS).write(tmp_path / "a talk.rttm")
    assert list(read_rttm(tmp_path / "a talk.rttm")) == ["a_talk"]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda name: name.strip())


@given(
    turns=st.lists(
        st.tuples(st.integers(0, 10_000_000), st.integers(1, 1_000_000), NAMES, st.floats(0, 1)), max_size=6
    ),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
def test_rttm_reads_back(session_folder: Path, turns: list[tuple[int, int, str, float]], name: str) -> None:
    made = [
        Turn(start=start / 1000, end=(start + length) / 1000, speaker=speaker, confidence=sure)
        for start, length, speaker, sure in turns
    ]
    path = session_folder / "turns.rttm"
    path.write_text(Diarization(turns=tuple(made), duration=1.0).to_rttm(name), encoding="utf-8", newline="\n")
    files = read_rttm(path)
    assert len(files) == bool(turns)
    found = [turn for each in files.values() for turn in each]
    assert sorted((round(turn.start * 1000), round(turn.end * 1000)) for turn in found) == sorted(
        (start, start + length) for start, length, _, _ in turns
    )
    assert len({turn.speaker for turn in found}) <= len({speaker for _, _, speaker, _ in turns})


def spoken_by_voice() -> Transcript:
    words = (
        Word(word=" Hello", start=0.5, end=1.0, probability=0.9, speaker="Anna", speaker_confidence=0.9),
        Word(word=" you.", start=1.0, end=2.0, probability=0.8, speaker="Anna", speaker_confidence=0.7, overlap=True),
    )
    said = segment(0.5, 2.0, " Hello you.", words, speaker="Anna", speaker_confidence=0.767, overlap=True)
    return replace(transcript(said), turns=TURNS)


def test_json_has_speakers_of_segments_and_words_and_turns() -> None:
    document = json.loads(written(spoken_by_voice(), "json"))
    assert document["turns"] == [
        {"start": 0.5, "end": 2.25, "speaker": "Anna Lee", "confidence": 0.875},
        {"start": 2.0, "end": 3.0004, "speaker": "Speaker 2", "confidence": 1.0},
    ]
    (said,) = document["segments"]
    assert (said["speaker"], said["speaker_confidence"], said["overlap"]) == ("Anna", 0.767, True)
    assert said["words"][0] == {
        "word": " Hello", "start": 0.5, "end": 1.0, "probability": 0.9, "speaker": "Anna", "speaker_confidence": 0.9,
    }  # fmt: skip
    assert said["words"][1]["overlap"] is True


def test_json_reads_back() -> None:
    result = spoken_by_voice()
    read = transcript_json.loads(written(result, "json").encode(), "a.json")
    assert read.turns == result.turns
    (said,) = read.segments
    assert (said.speaker, said.speaker_confidence, said.overlap) == ("Anna", 0.767, True)
    assert said.words == result.segments[0].words


@pytest.mark.parametrize(
    "turns",
    [[{"start": 1, "end": 1, "speaker": "A"}], [{"start": 1, "end": 2}], [{"start": -1, "end": 2, "speaker": ""}]],
)
def test_turns_that_are_none_are_refused(turns: list[dict[str, object]]) -> None:
    document = {"segments": [], "turns": turns}
    with pytest.raises(Exception, match=r"a\.json: is not a transcript"):
        transcript_json.loads(json.dumps(document).encode(), "a.json")


def test_json_of_channels_says_it_in_segments_alone() -> None:
    turns = (Turn(start=1.0, end=2.0, speaker="Ann", channel=0),)
    result = transcript(segment(1, 2, " a", (Word(word=" a", start=1, end=2, probability=0.5),), speaker="Ann"))
    assert written(replace(result, turns=turns), "json") == written(result, "json")
    assert set(json.loads(written(result, "json"))["segments"][0]["words"][0]) == {
        "word", "start", "end", "probability",
    }  # fmt: skip


def test_turns_alone(tmp_path: Path) -> None:
    found = Diarization(turns=TURNS, duration=4.0)
    assert found.speakers == ("Anna Lee", "Speaker 2")
    assert found.to_dict()["speakers"] == ["Anna Lee", "Speaker 2"]
    found.write(tmp_path / "a b.rttm")
    assert list(read_rttm(tmp_path / "a b.rttm")) == ["a_b"]
    found.write(tmp_path / "turns.csv")
    rows = list(csv.reader((tmp_path / "turns.csv").read_text().splitlines()))
    assert rows == [
        ["start", "end", "speaker", "confidence"],
        ["500", "2250", "Anna Lee", "0.875"],
        ["2000", "3000", "Speaker 2", "1.000"],
    ]
    found.write(tmp_path / "turns.json")
    assert json.loads((tmp_path / "turns.json").read_text()) == found.to_dict()
    assert found.to_format("txt").splitlines() == [
        "00:00:00.500 – 00:00:02.250 Anna Lee", "00:00:02.000 – 00:00:03.000 Speaker 2",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no format of turns is called 'srt'; choose one of rttm, json, csv, txt"):
        found.write(tmp_path / "turns.srt")
