"""RTTM as others write it, and what is wrong with bad files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.errors import InputError
from mtasr.formats.rttm import read_rttm, turns_of, write_turns
from mtasr.transcript import Turn

RTTM = """\
;; made by hand
SPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA> <NA>
SPEAKER talk 1 2.50 1.25 <NA> <NA> ben <NA> <NA>
SPEAKER talk 1 0 3.5 <NA> <NA> Zoë_M. 0.75 <NA>

# an older version of the format has nine fields
SPEAKER other 1 1e1 2 <NA> <NA> anna <NA>
SPEAKER other 2 4.000 0.000 <NA> <NA> anna 12.5 <NA>
LEXEME talk 1 0.10 0.20 hello lex anna 0.9 <NA>
"""
TALK = (
    Turn(start=0.0, end=3.5, speaker="Zoë_M.", confidence=0.75),
    Turn(start=2.5, end=3.75, speaker="ben"),
)


def written(folder: Path, text: str) -> Path:
    path = folder / "a.rttm"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [RTTM, "\ufeff" + RTTM, RTTM.replace("\n", "\r\n"), RTTM.replace(" ", "\t")])
def test_turns_of_each_file(tmp_path: Path, text: str) -> None:
    found = read_rttm(written(tmp_path, text))
    assert found == {"talk": TALK, "other": (Turn(start=10.0, end=12.0, speaker="anna"),)}


turns = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**5), st.sampled_from("abc")), min_size=1)


@given(turns)
def test_thousandths_of_seconds(tmp_path_factory: pytest.TempPathFactory, spoken: list[tuple[int, int, str]]) -> None:
    lines = [
        f"SPEAKER x 1 {start / 1000:.3f} {length / 1000:.3f} <NA> <NA> {name} <NA> <NA>\n"
        for start, length, name in spoken
    ]
    found = read_rttm(written(tmp_path_factory.mktemp("rttm"), "".join(lines)))["x"]
    assert [(round(1000 * each.start), round(1000 * each.end), each.speaker) for each in found] == sorted(
        (start, start + length, name) for start, length, name in spoken
    )


def test_the_recording_s_own_turns(tmp_path: Path) -> None:
    path = written(tmp_path, RTTM + "SPEAKER a_long_talk 1 0 1 <NA> <NA> ben <NA> <NA>\n")
    files = read_rttm(path)
    assert turns_of("talk", path, files) == TALK
    assert turns_of("a long talk", path, files) == (Turn(start=0.0, end=1.0, speaker="ben"),)
    with pytest.raises(InputError) as caught:
        turns_of("speech", path, files)
    assert str(caught.value) == f"{path}: has 3 files, and none is named 'speech'"


def test_an_rttm_of_one_file_or_none(tmp_path: Path) -> None:
    assert turns_of("speech", tmp_path, {"talk": TALK}) == TALK
    assert turns_of("silence", tmp_path, read_rttm(written(tmp_path, ";; nobody\n"))) == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER talk 1 0.0 1.0 <NA> <NA>", "has 7 fields instead of 9 or 10"),
        ("SPEAKER talk 1 -1 1.0 <NA> <NA> a <NA> <NA>", "the start '-1' is not a number of seconds"),
        ("SPEAKER talk 1 0 nan <NA> <NA> a <NA> <NA>", "the duration 'nan' is not a number of seconds"),
        ("SPEAKER talk 1 0 <NA> <NA> <NA> a <NA> <NA>", "the duration '<NA>' is not a number of seconds"),
        ("SPEAKER my talk 1 0 2 <NA> <NA> a <NA> <NA>", "has 11 fields instead of 9 or 10"),
        ("1", "'1' is not a type of RTTM line"),
        ("00:00:01,000 --> 00:00:02,000", "'00:00:01,000' is not a type of RTTM line"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, f"{RTTM}{line}\n")
    with pytest.raises(InputError) as caught:
        read_rttm(path)
    assert str(caught.value).startswith(f"{path}: line 10: {message}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_rttm(tmp_path / "no.rttm")


def test_speakers_without_names_are_called_what_they_were(tmp_path: Path) -> None:
    stream = io.StringIO()
    said = [Turn(start=0.0, end=1.0, speaker="Speaker 1"), Turn(start=1.0, end=2.0, speaker="Speaker 12")]
    write_turns(said, stream, "talk")
    assert " Speaker_12 " in stream.getvalue()
    assert read_rttm(written(tmp_path, stream.getvalue())) == {"talk": tuple(said)}
