"""Manifests in each format, and what is wrong with bad ones."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.errors import ManifestError
from mtasr.evaluation import Clip, read_manifest

CLIPS = [
    {"audio": "a.wav", "text": "Guten Tag, sagte sie.", "language": "de", "translation": "Good day, she said."},
    {"audio": "b/c.flac", "text": 'he said "no"', "language": "English"},
]


def written(folder: Path, text: str) -> Path:
    path = folder / "manifest"
    path.write_text(text, encoding="utf-8")
    return path


def as_csv(rows: list[dict[str, str]]) -> str:
    stream = io.StringIO()
    table = csv.DictWriter(stream, ["language", "audio", "text", "translation"])
    table.writeheader()
    table.writerows(rows)
    return stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [json.dumps(CLIPS), "\n".join(map(json.dumps, CLIPS)) + "\n\n", as_csv(CLIPS), "\ufeff" + as_csv(CLIPS)],
    ids=["list", "lines", "csv", "csv with a mark"],
)
def test_formats(tmp_path: Path, text: str) -> None:
    first, second = read_manifest(written(tmp_path, text))
    assert first == Clip(
        audio=tmp_path / "a.wav", text="Guten Tag, sagte sie.", translation="Good day, she said.", language="de"
    )
    assert second == Clip(audio=tmp_path / "b" / "c.flac", text='he said "no"', language="en")


def test_silence_is_an_empty_text_in_csv_too(tmp_path: Path) -> None:
    content = "audio,text,translation\na.wav,,\nb.wav,,Good day.\n"
    assert [(clip.text, clip.translation) for clip in read_manifest(written(tmp_path, content))] == [
        ("", None),
        (None, "Good day."),
    ]


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(st.lists(st.tuples(texts, texts), min_size=1))
def test_all_formats_tell_the_same(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    clips = [{"audio": audio, "text": text} for audio, text in rows]
    found = [
        read_manifest(written(folder, text))
        for text in (json.dumps(clips), "\n".join(map(json.dumps, clips)), as_csv(clips))
    ]
    assert found[0] == found[1] == found[2] == [Clip(audio=folder / audio, text=text) for audio, text in rows]


def test_segments_stand_for_a_text(tmp_path: Path) -> None:
    rows = [{"audio": "a", "text": None, "segments": [{"text": "one", "start": 0}, {"text": "two"}]}]
    assert read_manifest(written(tmp_path, json.dumps(rows)))[0].text == "one two"


def test_segments_have_speakers(tmp_path: Path) -> None:
    segments = [
        {"text": "Good morning.", "speaker": "Ben"},
        {"text": "Good morning,", "speaker": "Anna"},
        {"text": "", "speaker": None},
        {"text": "Ben.", "speaker": "Anna"},
        {"text": "Shall we?", "speaker": "Ben"},
    ]
    clip = read_manifest(written(tmp_path, json.dumps([{"audio": "a", "segments": segments}])))[0]
    assert clip.speaker_texts == ("Good morning. Shall we?", "Good morning, Ben.")
    assert clip.text == "Good morning. Good morning, Ben. Shall we?"


def test_turns_come_from_rttm_files(tmp_path: Path) -> None:
    lines = [f"SPEAKER {name} 1 {start} 2 <NA> <NA> Anna <NA> <NA>" for name, start in (("a", 0), ("b", 3), ("a", 7))]
    (tmp_path / "all.rttm").write_text("\n".join(lines))
    table = "audio,text,rttm\nrecordings/a.wav,,all.rttm\nb.wav,Hello.,all.rttm\nc.wav,,\n"
    first, second, third = read_manifest(written(tmp_path, table))
    assert [(turn.start, turn.end, turn.speaker) for turn in first.turns or ()] == [(0, 2, "Anna"), (7, 9, "Anna")]
    assert [(turn.start, turn.end) for turn in second.turns or ()] == [(3, 5)]
    assert (first.text, second.text, third.text, third.turns) == (None, "Hello.", "", None)


@pytest.mark.parametrize(
    ("rttm", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("SPEAKER a 1 0 x <NA> <NA> b <NA> <NA>\n", "line 1: the duration 'x' is not a number of seconds"),
        (
            "SPEAKER b 1 0 1 <NA> <NA> b <NA> <NA>\nSPEAKER c 1 0 1 <NA> <NA> b <NA> <NA>\n",
            "has 2 files, and none is named 'a'",
        ),
    ],
)
def test_a_bad_rttm_is_told_with_the_place_in_the_manifest(tmp_path: Path, rttm: str | None, message: str) -> None:
    if rttm is not None:
        (tmp_path / "a.rttm").write_text(rttm)
    path = written(tmp_path, '[{"audio": "a.wav", "rttm": "a.rttm"}]')
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(caught.value) == f"{path}: item 1: {tmp_path / 'a.rttm'}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is neither JSON nor CSV with a column 'audio'"),
        ("name,text\na,b\n", "is neither JSON nor CSV with a column 'audio'"),
        ("audio,text\n", "has no recordings"),
        ("[]", "has no recordings"),
        ('[{"audio": "a", "text": "b"}', "it is not JSON: "),
        ('{"audio": "a", "text": "b"}\n{"audio"', "line 2 is not JSON: "),
        ("[1]", "item 1 is not an object with the field 'audio'"),
        ('{"text": "b"}', "line 1 has no 'audio'"),
        ("audio,text\na,b\n,c\n", "line 3 has no 'audio'"),
        ('{"audio": "a"}', "line 1 has none of 'text', 'translation' and 'rttm'"),
        ('{"audio": "a", "text": 5}', "line 1: 'text' is not a text"),
        ('{"audio": "a", "text": "b", "language": "klingonese"}', "line 1: unknown language 'klingonese'"),
        ('{"audio": "a", "segments": [{"text": "b", "speaker": 1}]}', "line 1: 'speaker' is not a text"),
        (
            '{"audio": "a", "segments": [{"text": "b", "speaker": "A"}, {"text": "c"}]}',
            "line 1: some of 'segments' have a 'speaker', and others have none",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        read_manifest(tmp_path / "no.json")
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="UTF-16"):
        read_manifest(tmp_path / "b")


def test_separators_of_unicode_end_no_line(tmp_path: Path) -> None:
    rows = [{"audio": "a.wav", "text": "one\u2028two\u0085three"}, {"audio": "b.wav", "text": "four"}]
    clips = read_manifest(written(tmp_path, "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)))
    assert [clip.text for clip in clips] == [row["text"] for row in rows]
