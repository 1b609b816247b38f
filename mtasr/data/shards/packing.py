"""What `mtasr data pack` does: the recordings of RECORDS in one encoding, in shards of about the same size."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, cast, get_args

import numpy as np

from mtasr import system
from mtasr.audio.read import open_audio
from mtasr.audio.write import Encoding, SoundWriter
from mtasr.data.reading import blocks_of, files_of, read_records
from mtasr.data.records import Record
from mtasr.data.shards.archive import open_recording
from mtasr.data.shards.writing import PackedSound, Packing, Written, write_shards
from mtasr.errors import InputError, InputNotFoundError, OutputError

Packed = Literal["flac", "opus", "copy"]

#: Bytes of a recording at most that are copied as they are: a header has no room for more.
_MOST_BYTES = 8_000_000_000
#: What this machine lacks, whatever the recording.
_MACHINE_LACKS = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EROFS}
#: Blocks whose records are shuffled together.
_TOGETHER = 64


def pack(
    where: Path,
    folder: Path,
    problem: Callable[[str], None],
    *,
    audio: Packed = "flac",
    shard_bytes: int = 500_000_000,
    shuffle: int | None = None,
) -> Written:
    """Write the records of `where` to a folder of shards (`write_shards`).

    `audio` is how they hold recordings: `flac` is exactly what training hears, 16 kHz and 16 bits; `opus` takes a
    quarter of that; `copy` keeps the files as they are. `shuffle` is the seed of a random order. Raises what
    `read_records` and `write_shards` raise; `FfmpegNotFoundError` and `OutputError` if the machine is at fault, such as
    a full disk, and not a recording.
    """
    settings = {"audio": audio, "shard_bytes": shard_bytes, "shuffle": shuffle, "records": _fingerprint(where)}
    with tempfile.TemporaryDirectory(prefix="mtasr-") as passing:
        made = _copied if audio == "copy" else partial(_encoded, encoding=audio)
        sound = partial(_sound, made=partial(made, folder=Path(passing)))
        packing = Packing(sound=sound, shard_bytes=shard_bytes, settings=settings, workers=system.available_cores())
        records = read_records(where) if shuffle is None else shuffled(where, shuffle)
        return write_shards(records, folder, packing, problem)


def _fingerprint(where: Path) -> list[list[str | int]]:
    """Name, size and time of the files, by which a stopped packing knows them again."""
    found: list[list[str | int]] = []
    for path in files_of(where):
        try:
            info = path.stat()
        except OSError as exc:
            raise InputNotFoundError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
        found.append([str(path.absolute()), info.st_size, info.st_mtime_ns])
    return found


def shuffled(where: Path, seed: int) -> Iterator[Record]:
    """All records in a random order: blocks from anywhere come together, and the records of 64 of them are shuffled."""
    blocks = list(blocks_of(where))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(blocks))
    for first in range(0, len(order), _TOGETHER):
        records = [record for index in order[first : first + _TOGETHER] for record in blocks[index].read()]
        yield from (records[index] for index in rng.permutation(len(records)))


def _sound(record: Record, made: Callable[[Record], PackedSound]) -> PackedSound:
    try:
        return made(record)
    except InputError as exc:
        cause = exc.__cause__
        if isinstance(cause, OSError) and cause.errno in _MACHINE_LACKS:
            raise OutputError(str(exc)) from exc
        raise


def _encoded(record: Record, *, encoding: Encoding, folder: Path) -> PackedSound:
    descriptor, name = tempfile.mkstemp(suffix=f".{encoding}", dir=folder)
    os.close(descriptor)
    path = Path(name)
    try:
        with open_recording(record.audio) as source, open_audio(source) as audio, SoundWriter(path, encoding) as writer:
            for block in audio:
                writer.write(block)
        return PackedSound(path.open("rb"), encoding)
    finally:
        with contextlib.suppress(PermissionError):  # Windows keeps open files until the folder is removed
            path.unlink()


def _copied(record: Record, *, folder: Path) -> PackedSound:
    copy = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
    try:
        for block in _blocks_of(record.audio):
            copy.write(block)
            if copy.tell() > _MOST_BYTES:
                raise InputError(f"{record.audio}: has over {_MOST_BYTES // 10**9} GB; pack it as FLAC or Opus")
    except BaseException:
        copy.close()
        raise
    ending = Path(record.audio.rpartition("@")[0] or record.audio).suffix[1:].lower()
    return PackedSound(copy, ending if re.fullmatch(r"[a-z0-9]{1,8}", ending) and ending != "json" else "audio")


def _blocks_of(audio: str) -> Iterator[bytes]:
    """The bytes of a recording, a megabyte at a time. Raises `InputError`."""
    with open_recording(audio) as source:
        try:
            with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
                while block := file.read(1 << 20):
                    yield block
        except OSError as exc:
            raise InputError(f"{audio}: cannot be read: {exc.strerror or exc}") from exc


ENCODINGS: tuple[Packed, ...] = get_args(Packed)
