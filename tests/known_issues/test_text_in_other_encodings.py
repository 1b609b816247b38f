"""Subtitles and lists from Windows are often UTF-16 or Windows-1252; they were refused or drawn as boxes."""

from __future__ import annotations

import codecs
import logging
import os
from pathlib import Path

import pytest
from tones import ffmpeg

from mtasr.audio.video import SubtitleTrack, burn, check_subtitles, embed
from mtasr.batch.inputs import gather
from mtasr.data.captions import read_captions
from mtasr.data.ingest import IngestOptions, ingest
from mtasr.errors import InputError
from mtasr.evaluation import read_manifest
from mtasr.text_files import read_text

TEXT = "Größe, naïve café – “déjà vu” 5 €"
SRT = f"1\r\n00:00:00,000 --> 00:00:01,000\r\n{TEXT}\r\n"
#: How a text may be stored, and what a warning calls it if it has to be guessed.
ENCODINGS = {
    "utf-8": None, "utf-8-sig": None, "utf-16": None, "utf-32": None, "cp1252": "Windows-1252", "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
}  # fmt: skip


def repair_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return lines


def check_told(caplog: pytest.LogCaptureFixture, path: Path, encoding: str) -> None:
    name = ENCODINGS[encoding]
    expected = [] if name is None else [f"{path}: does not state its encoding, and is read as {name}"]
    assert repair_lines(caplog) == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_captions(tmp_path: Path, caplog: pytest.LogCaptureFixture, encoding: str) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(SRT.encode(encoding))
    assert [caption.text for caption in read_captions(path).captions] == [TEXT]
    check_told(caplog, path, encoding)


def test_the_mark_of_the_other_order(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(codecs.BOM_UTF16_BE + SRT.encode("utf-16-be"))
    assert [caption.text for caption in read_captions(tmp_path / "a.srt").captions] == [TEXT]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_subtitles_for_a_video(tmp_path: Path, caplog: pytest.LogCaptureFixture, encoding: str) -> None:
    video, path = tmp_path / "a.mkv", tmp_path / "a.srt"
    ffmpeg("-f", "lavfi", "-i", "testsrc=duration=1:size=64x64", video)
    path.write_bytes(SRT.encode(encoding))
    check_subtitles(path)
    assert repair_lines(caplog) == []
    embed(video, [SubtitleTrack(file=path)], tmp_path / "out.mkv", tmp_path / "out.mkv")
    check_told(caplog, path, encoding)
    ffmpeg("-i", tmp_path / "out.mkv", "-map", "0:s", tmp_path / "again.srt")
    assert TEXT in (tmp_path / "again.srt").read_text(encoding="utf-8")
    burn(video, path, tmp_path / "drawn.mkv", tmp_path / "drawn.mkv")
    check_told(caplog, path, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_manifests_and_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f'audio,text,duration\r\na.wav,"{TEXT}",3\r\n'.encode(encoding))
    assert [clip.text for clip in read_manifest(path)] == [TEXT]
    check_told(caplog, path, encoding)
    (tmp_path / "a.wav").touch()
    (record,) = ingest(path, IngestOptions(language="en"), lambda line: None)
    assert [caption.text for caption in record.captions] == [TEXT]
    check_told(caplog, path, encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists(tmp_path: Path, caplog: pytest.LogCaptureFixture, encoding: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("Fähre.wav\r\nb c.wav\r\n".encode(encoding))
    assert [each.source for each in gather([], str(path))] == ["Fähre.wav", "b c.wav"]
    assert repair_lines(caplog) == []


def test_a_list_in_windows_1252_names_the_files_that_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_bytes("Fähre.wav\n".encode("cp1252"))
    assert [os.fsencode(each.source) for each in gather([], "list.txt")] == [b"F\xe4hre.wav"]
    Path("Fähre.wav").touch()
    assert [each.source for each in gather([], "list.txt")] == ["Fähre.wav"]
    assert repair_lines(caplog) == ["Fähre.wav: is written in Windows-1252 in the list"]
    Path(os.fsdecode(b"F\xe4hre.wav")).touch()
    assert [os.fsencode(each.source) for each in gather([], "list.txt")] == [b"F\xe4hre.wav"]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\x01\xff", b"\x80\x81\x8d", b"\xff\xfe\x00"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match="is not UTF-"):
        read_text(tmp_path / "a.txt", any_encoding=True)


def test_settings_stay_in_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(TEXT.encode("cp1252"))
    with pytest.raises(InputError, match="is not UTF-8"):
        read_text(tmp_path / "a.yaml")
