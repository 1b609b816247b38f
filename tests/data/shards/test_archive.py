"""Shards from anywhere: what is in them is read, and what is wrong with them is one line."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from shard_files import items, write_shard, write_tar

from mtasr.data.reading import read_records
from mtasr.data.shards.archive import member_at, members, open_recording
from mtasr.errors import InputError, InputNotFoundError


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(tmp_path / "a.tar", range(5))


def test_members_from_any_of_them_on(shard: Path) -> None:
    found = list(members(shard))
    assert [member.name for member in found[:3]] == ["00000000.json", "00000000.flac", "00000001.json"]
    for place, member in enumerate(found):
        assert list(members(shard, member.header)) == found[place:]
        assert member_at(member.address) == member


def test_a_member_is_an_open_file(shard: Path) -> None:
    third = list(read_records(shard))[3]
    with open_recording(third.audio) as file:
        assert not isinstance(file, Path)
        assert file.read() == b"sound 3"
        assert file.seek(-1, io.SEEK_END) == 6
        assert file.read(10) == b"3"
        assert (file.seek(1), file.read(3)) == (1, b"oun")
        assert file.name == f"{shard}/00000003.flac"
    with open_recording("/talks/a@7") as path:
        assert path == Path("/talks/a@7")
    with pytest.raises(FileNotFoundError, match="of the caller"), open_recording(third.audio):
        raise FileNotFoundError("of the caller")


def test_an_address_in_another_shard_is_refused(shard: Path) -> None:
    address = list(read_records(shard))[3].audio
    with pytest.raises(InputError, match="not in the shard, which has changed"):
        member_at(address.replace("00000003", "00000002"))
    write_shard(shard, [7], seconds=1000.0)
    with pytest.raises(InputError, match="is not in the shard"):
        member_at(address)
    shard.unlink()
    with pytest.raises(InputNotFoundError, match="no such file"):
        member_at(address)


def test_members_in_another_order_and_folder(tmp_path: Path) -> None:
    (text, sound) = items(4)
    path = write_tar(
        tmp_path / "a.tar", [(f"./x/{sound[0]}", sound[1]), ("x/00000004.txt", b""), (f"x/{text[0]}", text[1])]
    )
    (found,) = read_records(path)
    assert (found.id, found.audio) == ("n4", f"{path}/x/00000004.flac@0")


def cut(shard: Path, size: int) -> None:
    shard.write_bytes(shard.read_bytes()[:size])


def garbled(shard: Path, at: int) -> None:
    content = bytearray(shard.read_bytes())
    content[at : at + 64] = b"\xff" * 64
    shard.write_bytes(content)


def of_items(*members: tuple[str, bytes]) -> Callable[[Path], object]:
    return lambda shard: write_tar(shard, [*items(0), *members])


def with_link(shard: Path) -> None:
    with tarfile.open(shard, "w") as archive:
        info = tarfile.TarInfo("00000000.flac")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)


def with_long_name(shard: Path) -> None:
    """A header that states a name of 8 GB, which `tarfile` would read into memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    shard.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


def with_many_long_names(shard: Path) -> None:
    """Headers that only announce the next, each of which `tarfile` reads within its reading of the one before."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 5
    shard.write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")) * 2000 + bytes(1024))


def with_endless_map(shard: Path) -> None:
    """A sparse file whose map never ends, which `tarfile` would hold as a list."""
    info = tarfile.TarInfo("00000000.flac")
    info.size = 1 << 20
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "00000000.flac"}
    shard.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + b"500000\n" + b"1\n" * (1 << 19))


def with_huge_record(shard: Path) -> None:
    """A record that states 4 GB, in a file that has them, as a hole."""
    info = tarfile.TarInfo("00000000.json")
    info.size = 1 << 32
    with shard.open("wb") as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(512 + info.size + 1024)


(TEXT, SOUND) = items(1)

DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda shard: cut(shard, 2700), "is cut off inside 00000001.json"),
    (lambda shard: cut(shard, 1600), "is cut off inside 00000000.flac"),
    (lambda shard: cut(shard, 2048), "is cut off after 2048 bytes"),
    (lambda shard: cut(shard, 0), "is no tar file, or is damaged"),
    (lambda shard: garbled(shard, 2048 + 140), "is damaged at byte 2048"),
    (lambda shard: garbled(shard, 140), "is no tar file, or is damaged"),
    (lambda shard: shard.write_bytes(b"no tar file" * 100), "is no tar file, or is damaged"),
    (of_items(TEXT), "00000001.json: the audio '00000001.flac' is missing"),
    (of_items(SOUND), "00000001.flac: its key is 00000001 (up to the first point), and 00000001.json is missing"),
    (of_items(("v1.0_a.json", b""), ("v1.0_a.wav", b"")), "v1.0_a.json: its key is v1 (up to the first point)"),
    (of_items(*items(0)), "the key 00000000 comes twice"),
    (of_items(TEXT, SOUND, SOUND), "the key 00000001 comes twice"),
    (of_items(("1.json", b"{"), ("1.flac", b"")), "1.json: Expecting property name"),
    (of_items(("1.json", b"[" * 100_000), ("1.flac", b"")), "1.json: "),
    (of_items(("1.json", b"\xff"), ("1.flac", b"")), "1.json: "),
    (of_items(("1.json", json.dumps({"audio": "1.flac"}).encode()), ("1.flac", b"")), "1.json: cues is missing"),
    (of_items(*((f"1.x{number}", b"") for number in range(20))), "1 has more than 16 members"),
    (of_items(("../../etc/passwd", b"")), "holds the name '../../etc/passwd', which is not one inside"),
    (of_items(("/etc/passwd", b"")), "holds the name '/etc/passwd'"),
    (of_items(("a\nb.json", b"")), r"holds the name 'a\nb.json'"),
    (with_link, "00000000.flac is a link, a device or a sparse file"),
    (with_long_name, "is no tar file, or is damaged near byte 0: a header of over 65536 bytes"),
    (with_many_long_names, "damaged near byte 0: a header of over 65536 bytes"),
    (with_endless_map, "damaged near byte 0: a header of over 65536 bytes"),
    (with_huge_record, "00000000.json has 4294967296 bytes, more than 16777216"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGE)
def test_damage_is_one_line(shard: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(shard)
    with pytest.raises(InputError, match=re.escape(reason)) as raised:
        list(read_records(shard))
    assert str(raised.value).startswith(str(shard))
    assert "\n" not in str(raised.value)
