"""What a command or a setting calls RECORDS -> records: a file of lines, a shard, a folder of shards, or a pattern.

Records are read one at a time. A `RecordBlock` says where some of them are, so that they can be read in another order.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mtasr.data.records import Record, read_lines
from mtasr.data.shards.archive import ENDING
from mtasr.data.shards.reading import read_shard
from mtasr.errors import InputError, InputNotFoundError

#: Records and seconds of audio from which a block ends.
_MOST_RECORDS, _MOST_SECONDS = 256, 1800.0


def read_records(where: Path) -> Iterator[Record]:
    """The records of a file, a folder or a pattern, one at a time. Paths to their audio are absolute.

    Raises `InputNotFoundError`, and `InputError` that names the line or the member of the shard.
    """
    for path in files_of(where):
        for _, record in _read(path):
            yield record


def files_of(where: Path) -> list[Path]:
    """The file itself, the shards in the folder, or what the pattern (`*`, `?`, `[...]`) matches; sorted by name.

    Raises `InputError` for a folder without shards, and `InputNotFoundError` for a pattern that matches nothing.
    """
    if where.is_dir():
        found = sorted(_shards_in(where))
        if not found:
            raise InputError(f"{where}: is a folder without shards (*{ENDING})")
        return found
    if glob.has_magic(str(where)) and not where.exists():
        found = sorted(map(Path, glob.glob(str(where))))  # noqa: PTH207 - of any path, absolute or not
        if not found:
            raise InputNotFoundError(f"{where}: matches no file")
        return found
    return [where]


def is_sharded(where: Path) -> bool:
    """Whether it is a shard, a folder of shards or a pattern of their names."""
    return where.suffix == ENDING or (where.is_dir() and any(_shards_in(where)))


def _shards_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob(f"*{ENDING}") if not path.name.startswith("."))


#: Where a record begins: bytes from the start of its file, and its line.
_Place = tuple[int, int]


def _read(path: Path, place: _Place = (0, 1)) -> Iterator[tuple[_Place, Record]]:
    """The records from this place on, each with its own place."""
    if path.suffix == ENDING:
        for start, record in read_shard(path, place[0]):
            yield (start, 0), record
    else:
        yield from read_lines(path, *place)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBlock:
    """Records that follow each other in a file: at most 256, and half an hour of audio or one recording.

    `sizes` has, for each language in it, the number of records and their seconds.
    """

    path: Path
    place: _Place
    sizes: tuple[tuple[str | None, int, float], ...]

    @property
    def records(self) -> int:
        return sum(records for _, records, _ in self.sizes)

    @property
    def seconds(self) -> float:
        return sum(seconds for *_, seconds in self.sizes)

    def read(self) -> Iterator[Record]:
        """Raises `InputError` if the file is damaged or shorter than it was."""
        count = 0
        for _, record in itertools.islice(_read(self.path, self.place), self.records):
            yield record
            count += 1
        if count < self.records:
            raise InputError(f"{self.path}: has changed while it was used")


def blocks_of(where: Path, check: Callable[[Record], None] = lambda _: None) -> Iterator[RecordBlock]:
    """All records of a file, a folder or a pattern, as blocks. `check` is called with each record.

    Raises what `read_records` raises.
    """
    for path in files_of(where):
        begin: _Place | None = None
        sizes: dict[str | None, tuple[int, float]] = {}
        for place, record in _read(path):
            check(record)
            total, seconds = (sum(column) for column in zip((0, 0.0), *sizes.values(), strict=True))
            if begin is not None and (total >= _MOST_RECORDS or seconds + record.duration > _MOST_SECONDS):
                yield _block(path, begin, sizes)
                begin, sizes = None, {}
            begin = place if begin is None else begin
            count, length = sizes.get(record.language, (0, 0.0))
            sizes[record.language] = count + 1, length + record.duration
        if begin is not None:
            yield _block(path, begin, sizes)


def _block(path: Path, place: _Place, sizes: dict[str | None, tuple[int, float]]) -> RecordBlock:
    return RecordBlock(path=path, place=place, sizes=tuple((name, *size) for name, size in sizes.items()))
