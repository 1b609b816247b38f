"""Recordings -> pieces -> batches of crops, and what counts as a recording."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from speech import SAMPLE_RATE, write_wav

from mtasr.data.reading import RecordBlock
from mtasr.data.records import Record, write_records
from mtasr.data.samples import SampleStore
from mtasr.data.shards.packing import pack
from mtasr.errors import InputError, InputNotFoundError, UsageError
from mtasr.pretraining.audio.crop_reader import CropReader, LeftOut
from mtasr.pretraining.audio.crops import (
    AudioPiece,
    LengthCheck,
    batches_of,
    cropped,
    pieces_of,
    recordings_in,
    spread,
)


def _record(seconds: float, name: str = "a.wav", language: str | None = None) -> Record:
    return Record(id=name, audio=name, duration=seconds, language=language, captions=())


def _pieces(*samples: int) -> list[AudioPiece]:
    return [AudioPiece(audio=str(number), first=1000, samples=each) for number, each in enumerate(samples)]


def _read(where: Path, listed: Path, *, again: bool = True) -> list[Record]:
    blocks: list[RecordBlock] = list(recordings_in(where, listed, again=again, check=lambda _: None))
    return [record for block in blocks for record in block.read()]


def test_pieces_cover_a_recording_from_a_random_place() -> None:
    rng = np.random.default_rng(0)
    firsts = set()
    for _ in range(50):
        pieces = pieces_of([_record(10.0, language="it")], 1, 3 * SAMPLE_RATE, rng)
        assert sum(piece.samples for piece in pieces) == 10 * SAMPLE_RATE
        assert [piece.first + piece.samples for piece in pieces[:-1]] == [piece.first for piece in pieces[1:]]
        assert {piece.samples for piece in pieces[1:-1]} == {3 * SAMPLE_RATE}
        assert {piece.language for piece in pieces} == {"it"}
        firsts.add(pieces[1].first)
    assert len(firsts) > 40


@pytest.mark.parametrize("seconds", [3.0, 3.1, 4.0, 5.9, 6.0, 7.0])
def test_every_recording_that_is_long_enough_gives_a_piece(seconds: float) -> None:
    """Also where all pieces have the same length, and what is left at both ends is too short."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        pieces = pieces_of([_record(seconds), _record(2.9)], 3 * SAMPLE_RATE, 3 * SAMPLE_RATE, rng)
        assert pieces
        assert {piece.samples for piece in pieces} == {3 * SAMPLE_RATE}
        assert all(piece.first + piece.samples <= seconds * SAMPLE_RATE for piece in pieces)


def test_batches_have_every_piece_once_within_limits() -> None:
    rng = np.random.default_rng(0)
    pieces = _pieces(*rng.integers(16000, 160000, 700))
    batches = batches_of(pieces, 480000, rng)
    assert sorted(each.audio for batch in batches for each in batch) == sorted(each.audio for each in pieces)
    shortest = [min(each.samples for each in batch) for batch in batches]
    assert max(least * len(batch) for least, batch in zip(shortest, batches, strict=True)) <= 480000
    for least, batch in zip(shortest, batches, strict=True):
        assert least * len(batch) >= 0.8 * sum(each.samples for each in batch), "hardly anything is cropped away"
    assert np.mean([len(batch) for batch in batches]) > 4
    assert [len(batch) for batch in batches_of(_pieces(90, 80), 50, rng)] == [1, 1], "larger than a batch"


def test_crops_have_one_length_within_their_pieces() -> None:
    rng = np.random.default_rng(0)
    pieces = _pieces(3210, 6400, 9999)
    found = [cropped(pieces, rng) for _ in range(50)]
    for crops in found:
        assert {crop.samples for crop in crops} == {3200}, "the shortest, in whole frames"
        for crop, piece in zip(crops, pieces, strict=True):
            assert 1000 <= crop.first <= crop.first + crop.samples <= 1000 + piece.samples
    assert len({crops[2].first for crops in found}) > 40


def test_the_audio_of_crops(tmp_path: Path) -> None:
    ramp = np.linspace(-0.9, 0.9, SAMPLE_RATE, dtype=np.float32)
    write_wav(tmp_path / "a.wav", ramp)
    crops = [AudioPiece(audio=str(tmp_path / "a.wav"), first=first, samples=640) for first in (0, 333, 15360)]
    kept, audio = CropReader(SampleStore(tmp_path / "store"), LeftOut(tmp_path / "left-out.tsv")).read(crops)
    assert kept == crops
    for row, crop in zip(audio, crops, strict=True):
        assert row.dtype == np.float32
        assert row == pytest.approx(ramp[crop.first : crop.first + 640], abs=1e-4)


def test_spread() -> None:
    pieces = _pieces(*range(1, 11))
    assert spread(pieces, 20) == pieces
    assert [piece.samples for piece in spread(pieces, 4)] == [1, 4, 7, 10]
    assert spread(pieces, 0) == spread([], 3) == []


def test_a_folder_with_subfolders(recordings: Path, tmp_path: Path) -> None:
    records = _read(recordings, tmp_path)
    assert [Path(record.audio).relative_to(recordings).as_posix() for record in records] == [
        "0.wav", "1.wav", "2.wav", "3.wav", "4.wav", "below/5.wav", "below/6.wav",
    ]  # fmt: skip
    assert [record.duration for record in records] == pytest.approx([1.3, 2.0, 2.7, 3.4, 5.0, 1.9, 2.2], abs=1e-3)
    assert _read(recordings / "1.wav", tmp_path)[0].audio == records[1].audio
    assert [record.audio for record in _read(recordings / "[0-2].wav", tmp_path)] == [
        record.audio for record in records[:3]
    ]


def test_records_and_shards(recordings: Path, tmp_path: Path) -> None:
    """What they hold counts, and the recordings beside them do not."""
    records = _read(recordings, tmp_path / "listed")[:2]
    write_records(records, tmp_path / "records.jsonl")
    assert _read(tmp_path / "records.jsonl", tmp_path) == records
    pack(tmp_path / "records.jsonl", tmp_path / "shards", print)
    reader = CropReader(SampleStore(tmp_path / "store"), LeftOut(tmp_path / "left-out.tsv"))
    for record, packed in zip(records, _read(tmp_path / "shards", tmp_path), strict=True):
        crops = [AudioPiece(audio=each.audio, first=4000, samples=3200) for each in (record, packed)]
        _, (one, other) = reader.read(crops)
        assert (one == other).all()


def test_what_cannot_be_read_is_left_out(recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "broken.mp3").write_bytes(b"no sound")
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match="some: none of its recordings can be read"):
        _read(folder, tmp_path / "listed")
    assert "broken.mp3" in caplog.text
    assert caplog.text.rstrip().endswith("; it is left out")
    shutil.copy(recordings / "0.wav", folder)
    assert [Path(record.audio).name for record in _read(folder, tmp_path / "listed")] == ["0.wav"]


def test_a_run_keeps_the_recordings_that_it_began_with(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(recordings / "below", tmp_path / "folder")
    before = _read(folder, tmp_path / "listed")
    shutil.copy(recordings / "0.wav", folder)
    assert _read(folder, tmp_path / "listed", again=False) == before
    asked: list[Path] = []
    monkeypatch.setattr("mtasr.pretraining.audio.crops.duration_of", lambda path: asked.append(path) or 1.3)
    assert len(_read(folder, tmp_path / "listed")) == 3
    assert asked == [folder / "0.wav"], "the durations of the others are known"


def test_a_run_goes_on_in_another_working_directory(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the recordings that it began with; and if their list is lost, it says so."""
    monkeypatch.chdir(recordings)
    before = _read(Path("below"), tmp_path / "listed")
    (tmp_path / "below").mkdir()
    shutil.copy(recordings / "0.wav", tmp_path / "below")
    monkeypatch.chdir(tmp_path)
    assert _read(Path("below"), tmp_path / "listed", again=False) == before
    assert caplog.messages == []
    assert len(_read(Path("below"), tmp_path / "elsewhere", again=False)) == 1
    (message,) = caplog.messages
    assert message.startswith("below: the list of what the run began with is gone")


def test_what_is_no_data(recordings: Path, tmp_path: Path) -> None:
    listed = tmp_path / "listed"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: is a folder without recordings and without shards"):
        _read(tmp_path / "empty", listed)
    with pytest.raises(InputNotFoundError, match=r"none\.wav: no such file"):
        _read(tmp_path / "none.wav", listed)
    with pytest.raises(InputNotFoundError, match=r"none\.jsonl: no such file"):
        _read(tmp_path / "none.jsonl", listed)
    with pytest.raises(InputNotFoundError, match="matches no file"):
        _read(tmp_path / "*.ogg", listed)
    mixed = shutil.copytree(recordings, tmp_path / "mixed")
    (mixed / "00000.tar").write_bytes(bytes(1024))
    with pytest.raises(UsageError, match="mixed: holds recordings beside shards"):
        _read(mixed, listed)
    with pytest.raises(UsageError, match=r"matches recordings, and others such as .*00000\.tar"):
        _read(mixed / "*", listed)
    assert not listed.exists()


def test_recordings_that_are_too_short_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    check = LengthCheck(2.0)
    for seconds in (0.5, 1.5, 2.0):
        check(_record(seconds))
    with caplog.at_level(logging.INFO):
        check.conclude("data")
    assert caplog.messages == ["data: 2 records shorter than 2 s left out"]
    check = LengthCheck(2.0, "data.shortest")
    check(_record(1.25))
    with pytest.raises(UsageError, match=r"no recording lasts data\.shortest=2 s; the longest lasts 1\.25 s"):
        check.conclude("data")
