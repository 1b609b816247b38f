"""The members of a tar file from anywhere, and one of them as an open file. Nothing is unpacked.

Python's `tarfile` parses the headers. It takes a damaged header for the end of a file, and reads as many headers and
bytes for a name as they state; both are checked here.
"""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mtasr.errors import InputError, InputNotFoundError

#: How the names of shards end.
ENDING = ".tar"

_BLOCK = tarfile.BLOCKSIZE
#: Bytes at most that are read for one member before its content, long names included.
_MOST_HEADER = 1 << 16
#: The address of a member: file, name, and where its header begins.
_ADDRESS = re.compile(rf"(?s)(.*{re.escape(ENDING)})/(.*)@(\d{{1,18}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMember:
    """A file within a tar file: where its header and its content begin, and the size of the content, in bytes."""

    shard: Path
    name: str
    header: int
    start: int
    size: int

    @property
    def address(self) -> str:
        """What a record has instead of the path of its audio."""
        return f"{self.shard}/{self.name}@{self.header}"

    @property
    def key(self) -> str:
        """What the members of one record share: the name up to the first point."""
        folder, mark, name = self.name.rpartition("/")
        return folder + mark + name.partition(".")[0]

    @property
    def end(self) -> int:
        """Where the next header begins."""
        return -(-(self.start + self.size) // _BLOCK) * _BLOCK


class _Headers:
    """A file of which `tarfile` reads headers only; `count` is set to 0 at each member."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        self.count += size
        if size < 0 or self.count > _MOST_HEADER:
            raise tarfile.ReadError(f"a header of over {_MOST_HEADER} bytes")
        return self._file.read(size)


def members(shard: Path, start: int = 0) -> Iterator[ArchiveMember]:
    """The files in a shard from the header at byte `start` on. Raises `InputNotFoundError` and `InputError`."""
    with _opened(shard) as file:
        whole = file.seek(0, io.SEEK_END)
        end = file.seek(start)
        try:
            headers = _Headers(file)
            with tarfile.open(fileobj=headers, mode="r:") as archive:  # type: ignore[call-overload]
                while (info := archive.next()) is not None:
                    headers.count = 0
                    archive.members.clear()  # which would grow with the shard
                    member = _checked(info, shard)
                    end = member.end
                    if end > whole:
                        raise InputError(f"{shard}: is cut off inside {member.name}")
                    if info.isfile():
                        yield member
        except (tarfile.TarError, ValueError, RecursionError) as exc:
            # An archive without members is one block of zeros for `tarfile`, and an empty file an error.
            raise InputError(f"{shard}: is no tar file, or is damaged near byte {end}: {exc}") from exc
        file.seek(end)
        rest = file.read(_BLOCK)
        if len(rest) < _BLOCK:
            raise InputError(f"{shard}: is cut off after {end} bytes")
        if any(rest):
            raise InputError(f"{shard}: is damaged at byte {end}")


def _checked(info: tarfile.TarInfo, shard: Path) -> ArchiveMember:
    name = info.name.removeprefix("./")
    if name.startswith("/") or ".." in name.split("/") or re.search(r"[\0-\x1f\\]", name):
        raise InputError(f"{shard}: holds the name {name[:100]!r}, which is not one inside the shard")
    if not (info.isdir() or info.isfile()) or info.issparse():
        raise InputError(f"{shard}: {name} is a link, a device or a sparse file")
    return ArchiveMember(shard=shard, name=name, header=info.offset, start=info.offset_data, size=info.size)


@contextlib.contextmanager
def _opened(shard: Path) -> Iterator[BinaryIO]:
    """For reading within the block; what else it does must raise no `OSError`."""
    with _reading(shard), shard.open("rb") as file:
        yield file


@contextlib.contextmanager
def _reading(shard: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise InputNotFoundError(f"{shard}: no such file") from exc
    except OSError as exc:
        raise InputError(f"{shard}: cannot be read: {exc.strerror or exc}") from exc


class _Content(io.RawIOBase):
    """The content of a member, read from the shard as it is asked for."""

    def __init__(self, file: BinaryIO, member: ArchiveMember) -> None:
        self._file, self._member, self._place = file, member, 0
        self.name = f"{member.shard}/{member.name}"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._member.size}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        with _reading(self._member.shard):
            self._file.seek(self._member.start + self._place)
            content = self._file.read(max(0, min(len(view), self._member.size - self._place)))
        view[: len(content)] = content
        self._place += len(content)
        return len(content)


def content(member: ArchiveMember, most: int) -> bytes:
    """All of a member of at most `most` bytes. Raises `InputError`."""
    if member.size > most:
        raise InputError(f"{member.shard}: {member.name} has {member.size} bytes, more than {most}")
    with _opened(member.shard) as file:
        file.seek(member.start)
        return file.read(member.size)


def file_of(audio: str) -> str:
    """The file with the audio of a record: the shard in an address, and any other path itself."""
    found = _ADDRESS.fullmatch(audio)
    return audio if found is None else found[1]


def member_at(audio: str) -> ArchiveMember | None:
    """The member that an address means, or None for any other path. Raises `InputError` if it is not there."""
    found = _ADDRESS.fullmatch(audio)
    if found is None:
        return None
    shard, name, header = Path(found[1]), found[2], int(found[3])
    try:
        member = next(members(shard, header), None)
    except InputNotFoundError:
        raise
    except InputError as exc:
        raise InputError(f"{audio}: is not in the shard: {exc}") from exc
    if member is None or member.name != name:
        raise InputError(f"{audio}: is not in the shard, which has changed")
    return member


@contextlib.contextmanager
def open_recording(audio: str | Path) -> Iterator[Path | BinaryIO]:
    """What `open_audio` and `Model` take for the audio of a record: its path, or a member of a shard as an open file.

    Raises `InputError` if a shard is missing or has changed.
    """
    member = member_at(str(audio))
    if member is None:
        yield Path(audio)
        return
    with _reading(member.shard):
        file = member.shard.open("rb")
    with file, _Content(file, member) as content:  # an error of the caller's is none of reading
        yield cast(BinaryIO, content)
