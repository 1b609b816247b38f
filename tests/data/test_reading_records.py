"""What RECORDS may be: a file, a shard, a folder, a pattern."""

from __future__ import annotations

from pathlib import Path

import pytest
from shard_files import write_shard
from training_data import record

from mtasr.data.reading import blocks_of, files_of, is_sharded, read_records
from mtasr.data.records import write_records
from mtasr.errors import InputError, InputNotFoundError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_shard(tmp_path / f"shards/{number}.tar", range(10 * number, 10 * number + 3))
    (tmp_path / "shards/.3.tar").touch()
    (tmp_path / ".4.tar").touch()
    write_records([record("Hello.", id="line")], tmp_path / "lines.jsonl")
    return tmp_path


def ids(where: Path) -> list[str]:
    return [each.id for each in read_records(where)]


def test_files_folders_and_patterns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [f"n{number}" for number in (0, 1, 2, 10, 11, 12, 20, 21, 22)]
    assert ids(folder / "shards") == everything
    assert ids(folder / "shards/1.tar") == everything[3:6]
    assert ids(folder / "shards/[12].tar") == everything[3:]
    assert ids(folder / "*.jsonl") == ["line"]
    monkeypatch.chdir(folder)
    assert ids(Path("shards/?.tar")) == everything
    assert all(Path(each.audio.partition("@")[0]).is_absolute() for each in read_records(Path("shards")))
    assert [is_sharded(Path(each)) for each in ("shards", "shards/*.tar", "lines.jsonl", ".")] == [
        True,
        True,
        False,
        False,
    ]


def test_nothing_is_there(folder: Path) -> None:
    with pytest.raises(InputNotFoundError, match="matches no file"):
        files_of(folder / "*.tar")
    with pytest.raises(InputNotFoundError, match="no such file"):
        ids(folder / "none.tar")
    with pytest.raises(InputError, match="is a folder without shards"):
        ids(folder)


def test_records_from_a_shard_go_through_a_file_of_lines(folder: Path) -> None:
    write_records(read_records(folder / "shards"), folder / "other/kept.jsonl")
    assert list(read_records(folder / "other/kept.jsonl")) == list(read_records(folder / "shards"))


def test_blocks_have_every_record_once(folder: Path) -> None:
    write_records(
        (record("Hi.", id=f"{n}", language="fr" if n % 3 else "en") for n in range(700)), folder / "many.jsonl"
    )
    write_records((record("Hi.", id=f"{n}", seconds=600.0) for n in range(10)), folder / "long.jsonl")
    for name in ("many.jsonl", "long.jsonl", "shards"):
        checked: list[str] = []
        blocks = list(blocks_of(folder / name, lambda each, checked=checked: checked.append(each.id)))
        assert [each.id for block in blocks for each in block.read()] == ids(folder / name) == checked
        assert all(block.records <= 256 for block in blocks)
        assert all(block.seconds <= 1800 for block in blocks)
        for block in blocks:
            found = [each.language for each in block.read()]
            assert {language: (found.count(language)) for language in found} == {name: n for name, n, _ in block.sizes}
    assert len(list(blocks_of(folder / "many.jsonl"))) == 3
    assert len(list(blocks_of(folder / "long.jsonl"))) == 5


def test_a_block_of_a_file_that_has_changed(folder: Path) -> None:
    blocks = list(blocks_of(folder / "shards"))
    write_shard(folder / "shards/1.tar", [10])
    with pytest.raises(InputError, match="has changed while it was used"):
        list(blocks[1].read())
