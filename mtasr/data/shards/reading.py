"""The records of a shard, in order, from any of them on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mtasr.data.records import Record, from_json
from mtasr.data.shards.archive import ArchiveMember, content, members
from mtasr.errors import InputError

#: Bytes of a record at most: the captions of some hundred hours.
_MOST_BYTES = 1 << 24
#: Members of one record at most. Only the record and its audio are looked at.
_MOST_MEMBERS = 16


def read_shard(shard: Path, start: int = 0) -> Iterator[tuple[int, Record]]:
    """The records from the one at byte `start` on, each with its place, and with the address of its audio.

    Raises `InputNotFoundError`, and `InputError` that names the member.
    """
    shard = shard.absolute()
    for key, group in itertools.groupby(members(shard, start), key=lambda member: member.key):
        found = list(itertools.islice(group, _MOST_MEMBERS + 1))
        if len(found) > _MOST_MEMBERS:
            raise InputError(f"{shard}: {key} has more than {_MOST_MEMBERS} members")
        yield found[0].header, _record(shard, key, found)


def _record(shard: Path, key: str, found: list[ArchiveMember]) -> Record:
    written = [member for member in found if member.name.lower() == f"{key}.json".lower()]
    if len(written) > 1 or len({member.name for member in found}) < len(found):
        raise InputError(f"{shard}: the key {key} comes twice")
    if not written:
        raise InputError(
            f"{shard}: {found[0].name}: its key is {key} (up to the first point), and {key}.json is missing"
        )
    where = f"{shard}, {written[0].name}"
    try:
        record = from_json(json.loads(content(written[0], _MOST_BYTES)))
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{where}: {exc}") from exc
    audio = [member for member in found if record.audio in {member.name, Path(member.name).name}]
    if not audio:
        raise InputError(f"{where}: the audio {record.audio[:100]!r} is missing")
    return replace(record, audio=audio[0].address)
