"""Records -> shards -> the same records with the same sound; a packing that is stopped goes on."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from speech import SAMPLE_RATE, write_wav
from training_data import record

from mtasr import system
from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.cli import program
from mtasr.data import samples
from mtasr.data.mixture import Mixture
from mtasr.data.reading import blocks_of, read_records
from mtasr.data.records import Record, read_lines, write_records
from mtasr.data.samples import SampleStore, read_samples
from mtasr.data.shards.archive import open_recording
from mtasr.data.shards.packing import pack
from mtasr.data.shards.writing import PackedSound, Packing, Written, write_shards
from mtasr.errors import FfmpegError, FfmpegNotFoundError, InputError, OutputError


def ignored(line: str) -> None:
    raise AssertionError(line)


def talks(folder: Path, count: int = 7, seconds: int = 1) -> Path:
    """Records of noise."""
    found = []
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number}.wav"
        write_wav(path, (0.2 * rng.standard_normal(seconds * SAMPLE_RATE + 100 * number)).astype(np.float32))
        found.append(record(f"Number {number}.", id=f"n{number}", audio=str(path)))
    write_records(found, folder / "all.jsonl")
    return folder / "all.jsonl"


def packed(*arguments: object) -> str:
    done = CliRunner().invoke(program, ["data", "pack", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def without_audio(records: list[Record]) -> list[Record]:
    return [replace(each, audio="") for each in records]


def samples_of(path: Path) -> list[np.ndarray]:
    return [read_samples(each.audio) for each in read_records(path)]


def test_flac_has_what_training_hears(tmp_path: Path) -> None:
    path = talks(tmp_path)
    assert "7 records written to" in packed(path, tmp_path / "shards")
    before, after = list(read_records(path)), list(read_records(tmp_path / "shards"))
    assert without_audio(before) == without_audio(after)
    store = SampleStore(tmp_path / "store")
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(store.stretch(one.audio, 0, 2), store.stretch(other.audio, 0, 2))
    assert not list(tmp_path.glob(".*"))


def test_other_encodings_and_orders(tmp_path: Path) -> None:
    path = talks(tmp_path)
    packed(path, tmp_path / "opus", "--audio", "opus", "--shuffle", 1)
    packed(path, tmp_path / "copy", "--audio", "copy")
    packed(tmp_path / "copy", tmp_path / "again", "--audio", "copy")
    wanted = samples_of(path)
    assert all(map(np.array_equal, samples_of(tmp_path / "copy"), wanted))
    assert (tmp_path / "again/00000.tar").read_bytes() == (tmp_path / "copy/00000.tar").read_bytes()
    shuffled = list(read_records(tmp_path / "opus"))
    order = [int(each.id[1:]) for each in shuffled]
    assert sorted(order) == list(range(7))
    assert order != list(range(7))
    for number, sound in zip(order, samples_of(tmp_path / "opus"), strict=True):
        assert len(sound) == pytest.approx(len(wanted[number]), abs=400)


def test_a_bad_recording_is_left_out(tmp_path: Path) -> None:
    path = talks(tmp_path)
    (tmp_path / "3.wav").write_bytes(b"no sound")
    done = CliRunner().invoke(program, ["data", "pack", str(path), str(tmp_path / "shards")])
    assert done.exit_code == 6
    assert "skipped: " in done.output
    assert "1 record left out" in done.output
    assert [each.id for each in read_records(tmp_path / "shards")] == ["n0", "n1", "n2", "n4", "n5", "n6"]


def test_a_machine_that_cannot_encode_is_no_bad_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = talks(tmp_path, 2), find_ffmpeg()
    monkeypatch.setenv("MTASR_FFMPEG", "/none")
    with pytest.raises(FfmpegNotFoundError):
        pack(path, tmp_path / "shards", ignored)
    broken = tmp_path / "ffmpeg"
    broken.write_text(f'#!/bin/sh\ncase "$*" in *"-c:a flac"*) echo disk full >&2; exit 1;; esac\nexec {real} "$@"\n')
    broken.chmod(0o755)
    monkeypatch.setenv("MTASR_FFMPEG", str(broken))
    with pytest.raises(FfmpegError, match="disk full"):
        pack(path, tmp_path / "shards", ignored)
    assert not list(tmp_path.glob("*shards*"))
    monkeypatch.setenv("MTASR_FFMPEG", real)
    assert pack(path, tmp_path / "shards", ignored).records == 2


def test_without_a_recording_there_is_no_folder(tmp_path: Path) -> None:
    write_records([record("Hello.", audio=str(tmp_path / "none.wav"))], tmp_path / "all.jsonl")
    lines: list[str] = []
    with pytest.raises(InputError, match="there is no recording to put into it"):
        pack(tmp_path / "all.jsonl", tmp_path / "shards", lines.append)
    assert len(lines) == 1
    assert not list(tmp_path.glob("*shards*"))


def test_a_long_recording_passes_through_a_file(tmp_path: Path) -> None:
    with (tmp_path / "long.wav").open("wb") as file:
        file.truncate(32 << 20)
    write_records([record("Hello.", audio=str(tmp_path / "long.wav"))], tmp_path / "all.jsonl")
    tracemalloc.start()
    try:
        pack(tmp_path / "all.jsonl", tmp_path / "shards", ignored, audio="copy")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "shards/00000.tar").stat().st_size > 32 << 20


def test_a_folder_that_exists_or_was_begun_differently(tmp_path: Path) -> None:
    path = talks(tmp_path)
    (tmp_path / "shards").mkdir()
    pack(path, tmp_path / "shards", ignored, audio="copy")
    with pytest.raises(OutputError, match="exists already"):
        pack(path, tmp_path / "shards", ignored, audio="copy")
    path.write_text(path.read_text() + "{")
    with pytest.raises(InputError, match=r"line 8: is not JSON"):
        pack(path, tmp_path / "more", ignored, audio="copy")
    assert not (tmp_path / "more").exists()
    assert not list(tmp_path.glob(".more*")), "nothing was written that could be continued"
    path.write_text(path.read_text()[:-1])
    write_shards(read_records(path), tmp_path / "more", packing(), ignored)
    (tmp_path / "more").rename(tmp_path / ".more.packing")
    (tmp_path / ".more.packing/notes.jsonl").write_text(json.dumps({"a": 2}) + "\n")
    with pytest.raises(OutputError, match="was begun with other settings"):
        write_shards(read_records(path), tmp_path / "more", packing(), ignored)


def test_no_shard_is_replaced_by_lines(tmp_path: Path) -> None:
    path = talks(tmp_path, 1)
    packed(path, tmp_path / "shards", "--audio", "copy")
    (shard,) = (tmp_path / "shards").iterdir()
    before = shard.read_bytes()
    for command in (["filter", tmp_path / "shards"], ["ingest", tmp_path / "shards"], ["label", path]):
        done = CliRunner().invoke(program, ["data", *map(str, command), str(shard)])
        assert done.exit_code == 2, done.output
        assert "mtasr data pack makes shards" in done.output
    done = CliRunner().invoke(program, ["data", "filter", str(tmp_path / "*.jsonl"), str(path)])
    assert done.exit_code == 2, done.output
    assert shard.read_bytes() == before


def packing(shard_bytes: int = 50_000) -> Packing:
    def sound(each: Record) -> PackedSound:
        if each.id == "bad":
            raise InputError("no sound")
        return PackedSound(io.BytesIO(each.id.encode() * 9), "wav")

    return Packing(sound=sound, shard_bytes=shard_bytes, settings={"a": 1})


def hellos(stop: int = -1) -> Iterator[Record]:
    """200 records, of which the fourth has no sound; the disk fails before the one at `stop`."""
    for number in range(200):
        if number == stop:
            raise InputError("the disk is gone")
        yield record("Hello.", id="bad" if number == 3 else f"n{number}")


def begun(folder: Path) -> Path:
    """Stop a packing after some shards; returns the folder in which it goes on."""
    with pytest.raises(InputError, match="the disk is gone"):
        write_shards(hellos(150), folder, packing(), lambda line: None)
    return folder.parent / f".{folder.name}.packing"


def test_a_packing_that_fails_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    lines: list[str] = []
    write_shards(hellos(), tmp_path / "whole", packing(), lines.append)
    assert lines == ["no sound"]
    for stop in (1, 90, 199):
        with pytest.raises(InputError, match="the disk is gone"):
            write_shards(hellos(stop), tmp_path / "parts", packing(), lines.append)
        assert not (tmp_path / "parts").exists()
    with (tmp_path / ".parts.packing/notes.jsonl").open("a") as notes:
        notes.write('{"taken": 1')  # as if stopped while it wrote
    (tmp_path / ".parts.packing/.00009.tar.partial").touch()
    written = write_shards(hellos(), tmp_path / "parts", packing(), ignored)
    assert 0 < written.before < 200
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert written == Written(199, len(names), written.before, skipped=1)
    assert names == sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert len(names) > 3
    assert all((tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes() for name in names)


def test_a_packing_goes_on_before_a_shard_that_is_lost(tmp_path: Path) -> None:
    write_shards(hellos(), tmp_path / "whole", packing(), lambda line: None)
    staging = begun(tmp_path / "parts")
    (staging / "00001.tar").unlink()
    written = write_shards(hellos(), tmp_path / "parts", packing(), ignored)
    assert written.before == len(list(read_records(tmp_path / "whole/00000.tar")))
    for shard in (tmp_path / "whole").iterdir():
        assert shard.read_bytes() == (tmp_path / "parts" / shard.name).read_bytes()


@pytest.mark.parametrize("damage", ["\0\0\0\n", "[]\n", "{}\n"])
def test_damaged_notes_are_one_line(tmp_path: Path, damage: str) -> None:
    notes = begun(tmp_path / "parts") / "notes.jsonl"
    settings, *rest = notes.read_text().splitlines(keepends=True)
    notes.write_text("".join([settings, damage, *rest]))
    with pytest.raises(OutputError, match="its notes are damaged; remove it"):
        write_shards(hellos(), tmp_path / "parts", packing(), ignored)
    notes.write_text("\0\n")
    with pytest.raises(OutputError, match="its notes are damaged; remove it"):
        write_shards(hellos(), tmp_path / "parts", packing(), ignored)


def test_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def overtaken(*_: object, wait: bool) -> bool:
        (tmp_path / "late").mkdir()
        (tmp_path / "late/00000.tar").touch()
        return not wait

    monkeypatch.setattr(system, "lock_file", lambda *_, wait: wait)
    with pytest.raises(OutputError, match="another process is writing it"):
        write_shards(hellos(), tmp_path / "rival", packing(), ignored)
    monkeypatch.setattr(system, "lock_file", overtaken)
    with pytest.raises(OutputError, match="exists already"):
        write_shards(hellos(), tmp_path / "late", packing(), ignored)
    assert not (tmp_path / ".late.packing").exists()
    monkeypatch.setattr(system, "lock_file", lambda *_, wait: None)
    assert write_shards(hellos(), tmp_path / "none", packing(), lambda line: None).records == 199
    assert "this disk has no locks" in caplog.text


@pytest.mark.slow
def test_a_killed_packing_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    """The last recording keeps it waiting until it is killed."""
    path, last = talks(tmp_path, 24, seconds=4), tmp_path / "23.wav"
    packed(path, tmp_path / "whole", "--shard-size", 1)
    last.rename(tmp_path / "kept.wav")
    os.mkfifo(last)
    command = [sys.executable, "-m", "mtasr", "data", "pack", str(path), str(tmp_path / "killed"), "--shard-size", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".killed.packing/00001.tar")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    os.close(os.open(last, os.O_RDWR))  # so that ffmpeg ends, which waits to open it
    process.communicate()
    last.unlink()
    (tmp_path / "kept.wav").rename(last)
    assert not (tmp_path / "killed").exists()
    assert "records were there already" in packed(path, tmp_path / "killed", "--shard-size", "1")
    for shard in (tmp_path / "whole").iterdir():
        assert shard.read_bytes() == (tmp_path / "killed" / shard.name).read_bytes()


def many(path: Path, count: int) -> Path:
    """A folder of shards and a file of lines with the same records, some of them long."""
    path.mkdir(exist_ok=True)
    write_records(
        (record(*["Some words."] * (number % 4), id=f"n{number}") for number in range(count)), path / "all.jsonl"
    )
    write_shards(read_records(path / "all.jsonl"), path / "shards", packing(500_000), ignored)
    return path


@pytest.mark.slow
def test_ten_thousand_records_come_back(tmp_path: Path) -> None:
    many(tmp_path, 10_000)
    count = 0
    pairs = zip(read_records(tmp_path / "all.jsonl"), read_records(tmp_path / "shards"), strict=True)
    for number, (one, other) in enumerate(pairs):
        assert replace(one, audio="") == replace(other, audio="")
        if number % 500 == 0:
            with open_recording(other.audio) as file:
                assert file.read() == one.id.encode() * 9
        count += 1
    assert count == 10_000
    assert len(list((tmp_path / "shards").iterdir())) > 20


def peak(path: Path) -> int:
    """The most bytes that reading all records once and drawing some pools of them takes."""
    tracemalloc.start()
    try:
        mixture = Mixture([list(blocks_of(path))], pool_seconds=1000)
        for number in range(3):
            mixture.pool(number)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    few, more = many(tmp_path / "few", 300), many(tmp_path / "more", 3000)
    for name in ("shards", "all.jsonl"):
        most = peak(few / name) + 500_000
        # Again if it was more, since Python's own tables grow by megabytes at times. Records alone would take two.
        assert any(peak(more / name) < most for _ in range(2))


def test_the_library_of_the_format_reads_shards(tmp_path: Path) -> None:
    from webdataset import TarWriter
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    pack(talks(tmp_path), tmp_path / "shards", ignored, audio="copy")
    with (tmp_path / "shards/00000.tar").open("rb") as file, TarWriter(str(tmp_path / "theirs.tar")) as theirs:
        samples = group_by_keys({**each, "__url__": "shard"} for each in tar_file_iterator(file))
        for sample in samples:
            assert set(sample) == {"__key__", "__url__", "json", "wav"}
            theirs.write({**sample, "json": json.loads(sample["json"])})
    ours, theirs_read = (list(read_records(tmp_path / name)) for name in ("shards", "theirs.tar"))
    assert without_audio(ours) == without_audio(theirs_read)
    assert all(map(np.array_equal, samples_of(tmp_path / "shards"), samples_of(tmp_path / "theirs.tar")))


def test_the_place_of_a_line(tmp_path: Path) -> None:
    path = talks(tmp_path)
    places = [place for place, _ in read_lines(path)]
    for (start, number), following in itertools.pairwise(places):
        (_, _), (place, _) = itertools.islice(read_lines(path, start, number), 2)
        assert place == following


def test_a_store_keeps_what_was_used_last(tmp_path: Path) -> None:
    records = list(read_records(talks(tmp_path, 5)))
    store = SampleStore(tmp_path / "store", most_bytes=100_000)
    sounds = samples_of(tmp_path / "all.jsonl")
    for number, (each, wanted) in enumerate(zip([*records, *records], [*sounds, *sounds], strict=True)):
        found = store.stretch(each.audio, 0, len(wanted) / SAMPLE_RATE)
        assert found == pytest.approx(wanted, abs=1 / 32768)
        for place, path in enumerate(sorted((tmp_path / "store").iterdir(), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(path, ns=(number * 1000 + place, number * 1000 + place))
        assert sum(path.stat().st_size for path in (tmp_path / "store").iterdir()) <= 100_000
    assert len(list((tmp_path / "store").iterdir())) >= 2


def test_a_store_removes_no_files_of_others(tmp_path: Path) -> None:
    records = list(read_records(talks(tmp_path, 3)))
    (tmp_path / "store").mkdir()
    foreign = tmp_path / "store/features.npy"
    foreign.write_bytes(bytes(100_000))
    os.utime(foreign, (0, 0))
    store = SampleStore(tmp_path / "store", most_bytes=1)
    for each in records:
        store.stretch(each.audio, 0, 1)
    assert foreign.exists()
    assert len(list((tmp_path / "store").iterdir())) == 1


def test_a_store_makes_again_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (each,) = read_records(talks(tmp_path, 1))
    store = SampleStore(tmp_path / "store", most_bytes=1e9)
    wanted = store.stretch(each.audio, 0.25, 1.5)
    (stored,) = (tmp_path / "store").iterdir()
    content = stored.read_bytes()
    for damage in (b"", content[:-2], content[:40], b"x" * 200):
        stored.write_bytes(damage)
        assert np.array_equal(store.stretch(each.audio, 0.25, 1.5), wanted)
    assert stored.read_bytes() == content

    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, "another machine has removed it")

    monkeypatch.setattr(samples, "_read", stale)
    assert np.array_equal(store.stretch(each.audio, 0.25, 1.5), wanted)
