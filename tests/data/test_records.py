"""Records survive a file, and errors name the line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_data import record

from mtasr.data.reading import read_records
from mtasr.data.records import Caption, Record, write_records
from mtasr.errors import InputError, InputNotFoundError, OutputError

times = st.floats(0, 1e5, allow_nan=False)
captions = st.builds(Caption, start=times, end=times, text=st.text(st.characters(codec="utf-8")))
records = st.builds(
    Record,
    id=st.text(st.characters(codec="utf-8"), min_size=1),
    audio=st.from_regex(r"/[a-z]{1,8}/[^/\x00-\x1f]{1,8}\.wav", fullmatch=True),
    duration=times,
    language=st.sampled_from([None, "en", "fr", "yue"]),
    captions=st.lists(captions, max_size=4).map(tuple),
    task=st.sampled_from(["transcribe", "translate"]),
    timed=st.booleans(),
    source=st.text(st.characters(codec="utf-8")),
)


@given(st.lists(records, max_size=4))
def test_what_is_written_is_read(session_folder: Path, given_records: list[Record]) -> None:
    path = session_folder / "all.jsonl"
    assert write_records(given_records, path) == len(given_records)
    assert list(read_records(path)) == given_records


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    named = replace(record("Hello there."), audio="/talks/\udcff.wav", source="\udcff")
    write_records([named], tmp_path / "all.jsonl")
    assert list(read_records(tmp_path / "all.jsonl")) == [named]


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "all.jsonl"
    write_records([replace(record("Hello there."), audio="../talk.wav")], path)
    (found,) = read_records(path)
    assert found.audio == str(tmp_path / "talk.wav")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"duration": -1}, "duration is not a time"),
        ({"duration": True}, "duration is not a time"),
        ({"duration": float("nan")}, "duration is not a time"),
        ({"audio": ""}, "audio is not a path"),
        ({"language": "klingon"}, "language is not a language code"),
        ({"task": "sing"}, "task must be transcribe or translate"),
        ({"cues": "text"}, "cues is not a list"),
        ({"cues": [{"start": 0, "end": 1}]}, "a cue is not an object"),
        ({"langauge": "en"}, "unknown field 'langauge'"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    path = tmp_path / "all.jsonl"
    good = record("Hello there.").to_json()
    path.write_text(json.dumps(good) + "\n\n" + json.dumps(good | change) + "\n")
    reading = read_records(path)
    next(reading)
    with pytest.raises(InputError, match=rf"all\.jsonl, line 3: {reason}"):
        next(reading)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        list(read_records(tmp_path / "none.jsonl"))
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(InputError, match="line 1: is not JSON"):
        list(read_records(tmp_path / "bad.jsonl"))


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def failing():
        yield record("Hello.")
        raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        write_records(failing(), tmp_path / "all.jsonl")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_records([], tmp_path / "file" / "all.jsonl")
