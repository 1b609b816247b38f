"""Records -> a folder of shards that appears whole or not at all. A writer that was stopped goes on where it was.

Until the last shard is written, they are in a hidden folder beside the final one, with notes:

    .talks.packing/notes.jsonl    the settings; then for each shard, how many records were read and written so far
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import os
import shutil
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from mtasr import system
from mtasr.data.records import Record, written_whole
from mtasr.data.shards.archive import ENDING
from mtasr.errors import FfmpegNotFoundError, InputError, OutputError

_LOG = logging.getLogger(__name__)

_NOTES = "notes.jsonl"


@dataclass(frozen=True, slots=True)
class PackedSound:
    """The audio of a record as it is packed: an open file, which the writer closes, and the ending of its name."""

    file: BinaryIO
    ending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How shards are written. `settings` tells all that they depend on; a folder begun with others is not continued."""

    sound: Callable[[Record], PackedSound]
    #: Bytes from which a shard ends.
    shard_bytes: int
    settings: dict[str, Any]
    #: Threads that make the sound.
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Written:
    """Records and shards in the folder; `before` of the records were there when a stopped writer went on.

    `skipped` are those without sound, whenever that was noticed.
    """

    records: int
    shards: int
    before: int
    skipped: int = 0


def write_shards(records: Iterable[Record], folder: Path, packing: Packing, problem: Callable[[str], None]) -> Written:
    """Write records with their sound. `problem` gets a line for each whose sound cannot be read; the others follow.

    `records` must come in the same order if the writer is to go on after it was stopped. Raises `OutputError` if there
    is such a folder, or if another process writes it; `InputError` if no record could be written; and what making the
    sound raises, but for an `InputError` that concerns one recording.
    """
    try:
        with _staging(folder, packing) as (staging, notes):
            taken, written, shards = _so_far(staging, notes)
            before = written
            made = _made(itertools.islice(records, taken, None), packing)
            while True:
                name = f"{shards:05}{ENDING}"
                with written_whole(staging / name) as partial:
                    shard = _write_shard(made, partial, written, packing.shard_bytes, problem)
                taken += shard.taken
                if not shard.records:
                    (staging / name).unlink()
                    break
                system.sync_folder(staging)  # before a note says that it is there
                written, shards = written + shard.records, shards + 1
                _note(notes, {"taken": taken, "records": written, "shards": shards})
            if not shards:
                raise InputError(f"{folder}: is not written, because there is no recording to put into it")
            staging.rename(folder)
            system.sync_folder(folder.absolute().parent)
            (folder / _NOTES).unlink()
    except OSError as exc:
        raise OutputError(f"cannot write {folder}: {exc.strerror or exc}") from exc
    return Written(written, shards, before, taken - written)


@contextlib.contextmanager
def _staging(folder: Path, packing: Packing) -> Iterator[tuple[Path, io.TextIOWrapper]]:
    """The hidden folder and its open notes, which this process alone may write."""
    _require_new(folder)
    staging = folder.absolute().parent / f".{folder.name}.packing"
    staging.mkdir(parents=True, exist_ok=True)
    with (staging / _NOTES).open("a+", encoding="utf-8") as notes:
        locked = system.lock_file(notes, wait=False)
        if locked is False:
            raise OutputError(f"{folder}: another process is writing it")
        if locked is None:
            _LOG.warning("%s: this disk has no locks; let no other process write this folder", folder)
        notes.seek(0)
        line = notes.readline()
        if not line.endswith("\n"):  # a new folder, or one whose writer was stopped at once
            notes.truncate(0)
            _note(notes, packing.settings)
        elif _parsed(line, staging) != packing.settings:
            raise OutputError(
                f"{staging}: was begun with other settings or records; remove it, or give the same as before"
            )
        try:
            _require_new(folder)  # another process may have completed it before this one had the lock
            yield staging, notes
        except BaseException:
            if not (staging / f"{0:05}{ENDING}").exists():  # there is nothing to go on from
                shutil.rmtree(staging, ignore_errors=True)
            raise


def _require_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: exists already; name a new folder")


def _parsed(line: str | bytes, staging: Path) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OutputError(f"{staging}: its notes are damaged; remove it")
    return found


def _note(notes: io.TextIOWrapper, values: dict[str, Any]) -> None:
    notes.write(json.dumps(values) + "\n")
    notes.flush()
    os.fsync(notes.fileno())


def _so_far(staging: Path, notes: io.TextIOWrapper) -> tuple[int, int, int]:
    """Records read, records written, shards: as in the last whole note whose shards are all there.

    Removes what was written after it.
    """
    taken, written, shards, end = 0, 0, 0, 0
    with (staging / _NOTES).open("rb") as lines:
        for number, line in enumerate(lines):
            if not line.endswith(b"\n"):
                break
            if number:
                found = _parsed(line, staging)
                if found.keys() != {"taken", "records", "shards"}:
                    raise OutputError(f"{staging}: its notes are damaged; remove it")
                if not (staging / f"{number - 1:05}{ENDING}").exists():
                    break
                taken, written, shards = found["taken"], found["records"], found["shards"]
            end += len(line)
    notes.truncate(end)
    for path in staging.iterdir():
        if path.name not in {_NOTES, *(f"{number:05}{ENDING}" for number in range(shards))}:
            path.unlink()
    return taken, written, shards


def _made(records: Iterable[Record], packing: Packing) -> Iterator[tuple[Record, Future[PackedSound]]]:
    """Records in order, whose sound is being made, a few ahead."""
    waiting: deque[tuple[Record, Future[PackedSound]]] = deque()
    with ThreadPoolExecutor(packing.workers) as pool:
        try:
            for record in records:
                waiting.append((record, pool.submit(packing.sound, record)))
                if len(waiting) > 2 * packing.workers:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)
            for _, future in waiting:
                if not future.cancelled() and future.exception() is None:
                    future.result().file.close()


@dataclass(frozen=True, slots=True)
class _Shard:
    taken: int
    records: int


def _write_shard(
    made: Iterator[tuple[Record, Future[PackedSound]]],
    path: Path,
    number: int,
    most_bytes: int,
    problem: Callable[[str], None],
) -> _Shard:
    """Write the next records, whose keys count from `number` on."""
    taken = count = 0
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        while file.tell() < most_bytes and (item := next(made, None)) is not None:
            record, future = item
            taken += 1
            try:
                sound = future.result()
            except FfmpegNotFoundError:
                raise  # the next recording would end the same way
            except InputError as exc:
                problem(str(exc))
                continue
            key = f"{number + count:08}"
            named = replace(record, audio=f"{key}.{sound.ending}")
            text = json.dumps(named.to_json(), ensure_ascii=False)
            with sound.file:
                _add(archive, f"{key}.json", io.BytesIO(text.encode("utf-8", "backslashreplace")))
                _add(archive, named.audio, sound.file)
            count += 1
    return _Shard(taken, count)


def _add(archive: tarfile.TarFile, name: str, content: BinaryIO) -> None:
    info = tarfile.TarInfo(name)
    info.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    archive.addfile(info, content)
