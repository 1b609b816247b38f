"""Shards made by hand: members in any order, with any names."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from training_data import record

#: Name and content of a member.
Item = tuple[str, bytes]


def items(number: int, language: str = "en", **fields: object) -> list[Item]:
    """The two members of a record, whose sound is a few bytes that nobody can hear."""
    key = f"{number:08}"
    named = record(f"Number {number}.", id=f"n{number}", audio=f"{key}.flac", language=language, **fields)
    return [(f"{key}.json", json.dumps(named.to_json()).encode()), (f"{key}.flac", b"sound %d" % number)]


def write_tar(path: Path, members: Iterable[Item]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_of(members))
    return path


def tar_of(members: Iterable[Item]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def write_shard(path: Path, numbers: Iterable[int], language: str = "en", **fields: object) -> Path:
    return write_tar(path, (item for number in numbers for item in items(number, language, **fields)))
