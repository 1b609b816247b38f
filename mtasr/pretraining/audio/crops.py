"""Recordings without text -> pieces of them -> batches of random crops of one length.

A batch has no padding: its pieces are cropped to the length of its shortest piece. Convolutions with group norm and
attention without a mask would hear padding, and a model would learn to.

All of it is a function of the seed, the number of an epoch and that of a batch. Letters in shapes: B crops, N samples.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mtasr.data.ingest import MEDIA_ENDINGS, duration_of, media_in
from mtasr.data.reading import RecordBlock, blocks_of, is_sharded
from mtasr.data.records import Record, counted, read_lines, write_records
from mtasr.data.samples import identity_of
from mtasr.data.shards.archive import ENDING
from mtasr.errors import InputError, InputNotFoundError, OutputError, UsageError
from mtasr.spans import SAMPLE_RATE

_LOG = logging.getLogger(__name__)

#: The length of crops is a multiple of this: 20 ms, the step from one frame of most encoders to the next.
STEP = 320
#: Pieces that are sorted by length together.
_SORTED_AT_ONCE = 512
#: Share of the audio of a batch that may be lost when its pieces are cropped to the shortest.
_MOST_CROPPED = 0.2
#: Recordings whose durations are asked for at once.
_READERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPiece:
    """A stretch of a recording, in samples at 16 kHz: so many from `first` on."""

    #: The recording: the path of a file, or the address of one in a shard.
    audio: str
    first: int
    samples: int
    language: str | None = None


def recordings_in(where: Path, listed: Path, *, again: bool, check: Callable[[Record], None]) -> Iterator[RecordBlock]:
    """Blocks of records: those of a file, of shards or of a pattern of such, or one for each recording without text.

    Such are a file with the ending of a recording, a folder with its subfolders, or a pattern. What is found is written
    to a file of records in the folder `listed`, which is read instead unless `again`: so a run that resumes has the
    recordings that it began with, in any working directory. A recording that cannot be read is left out with a warning.
    `check` is called with each record. Raises `InputError` and `InputNotFoundError`, and `UsageError` for recordings
    beside records.
    """
    path = listed / f"{hashlib.sha256(os.fsencode(where)).hexdigest()[:16]}.jsonl"
    if again or not path.exists():
        media = _media(where)
        if media is None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)  # of a run that began with recordings and got nowhere
            path = where
        else:
            if not again:
                _LOG.warning("%s: the list of what the run began with is gone; its recordings are listed anew", where)
            _list(where, media, path)
    yield from blocks_of(path, check)


def _media(where: Path) -> list[Path] | None:
    """The recordings without text that this names, sorted by name, or None if it names records or nothing."""
    if where.is_dir():
        found = sorted(media_in(where))
        if is_sharded(where):
            if found:
                raise UsageError(f"{where}: holds recordings beside shards; name '{where}/*{ENDING}' and others apart")
            return None
        if not found:
            raise InputError(f"{where}: is a folder without recordings and without shards")
        return found
    if where.suffix.lower() in MEDIA_ENDINGS and where.exists():
        return [where]
    if glob.has_magic(str(where)) and not where.exists():
        matches = sorted(map(Path, glob.glob(str(where), recursive=True)))  # noqa: PTH207 - of any path
        found = [path for path in matches if path.suffix.lower() in MEDIA_ENDINGS]
        if found and len(found) < len(matches):
            (other, *_) = (path for path in matches if path not in found)
            raise UsageError(f"{where}: matches recordings, and others such as {other}; name them apart")
        return found or None
    if where.suffix.lower() in MEDIA_ENDINGS:
        raise InputNotFoundError(f"{where}: no such file")
    return None


def _list(where: Path, media: Sequence[Path], path: Path) -> None:
    """Write a file of records that lists these recordings."""
    from filelock import FileLock  # here because it imports asyncio

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot write {path.parent}: {exc.strerror or exc}") from exc
    with FileLock(path.with_suffix(".lock")):  # another process of the run may be listing them
        known: dict[str, float] = {}
        with contextlib.suppress(InputError):
            known = {record.id: record.duration for _, record in read_lines(path)}
        with ThreadPoolExecutor(_READERS) as pool:
            found = [record for record in pool.map(lambda each: _record(each, known), media) if record is not None]
        if not found:
            raise InputError(f"{where}: none of its recordings can be read")
        write_records(found, path)


def _record(path: Path, known: dict[str, float]) -> Record | None:
    audio = os.path.abspath(path)  # noqa: PTH100 - as the paths of records
    try:
        name = identity_of(audio)
        seconds = known.get(name) or duration_of(path)
    except InputError as exc:
        _LOG.warning("%s; it is left out", exc)
        return None
    return Record(id=name, audio=audio, duration=seconds, language=None, captions=())


def pieces_of(records: Iterable[Record], shortest: int, longest: int, rng: np.random.Generator) -> list[AudioPiece]:
    """Pieces of `shortest` to `longest` samples, in the order of the records.

    A longer recording is cut into pieces of the greatest length from a random place on; what is left at both ends is
    used as well if it is long enough. Of a shorter one there is none.
    """
    result = []
    for record in records:
        total = int(record.duration * SAMPLE_RATE)
        edges = [0, total]
        if total > longest:
            first = int(rng.integers(0, min(longest, total - longest + 1)))
            edges = [0, *range(first, total, longest), total]
        whole = AudioPiece(audio=record.audio, first=0, samples=total, language=record.language)
        result += [
            replace(whole, first=begin, samples=end - begin)
            for begin, end in itertools.pairwise(edges)
            if end - begin >= shortest
        ]
    return result


def batches_of(pieces: Sequence[AudioPiece], most: int, rng: np.random.Generator) -> list[list[AudioPiece]]:
    """The pieces in random batches of similar lengths, of at most `most` samples after cropping, or of one piece."""
    order = [pieces[index] for index in rng.permutation(len(pieces))]
    batches = [
        batch
        for first in range(0, len(order), _SORTED_AT_ONCE)
        for batch in _cut(sorted(order[first : first + _SORTED_AT_ONCE], key=lambda each: -each.samples), most)
    ]
    return [batches[index] for index in rng.permutation(len(batches))]


def _cut(order: Iterable[AudioPiece], most: int) -> Iterator[list[AudioPiece]]:
    """Pieces, the longest first, in batches."""
    batch: list[AudioPiece] = []
    total = 0
    for piece in order:
        used = (len(batch) + 1) * piece.samples
        if batch and (used > most or used < (1 - _MOST_CROPPED) * (total + piece.samples)):
            yield batch
            batch, total = [], 0
        batch.append(piece)
        total += piece.samples
    if batch:
        yield batch


def cropped(pieces: Sequence[AudioPiece], rng: np.random.Generator) -> list[AudioPiece]:
    """A random crop of each piece, all as long as the shortest of them, down to a multiple of 20 ms."""
    samples = min(piece.samples for piece in pieces) // STEP * STEP
    return [
        replace(piece, first=piece.first + int(rng.integers(0, piece.samples - samples + 1)), samples=samples)
        for piece in pieces
    ]


def spread(pieces: Sequence[AudioPiece], most: int) -> list[AudioPiece]:
    """At most `most` of the pieces, evenly over all of them."""
    places = np.linspace(0, len(pieces) - 1, min(most, len(pieces))).round().astype(int)
    return [pieces[place] for place in places]


class LengthCheck:
    """Counts records as they are read, and those that are too short to give a piece."""

    def __init__(self, shortest: float, setting: str = "") -> None:
        """`setting` is where the least length comes from, for the message."""
        self._shortest, self._least = shortest, f"{setting}={shortest:g} s" if setting else f"{shortest:g} s"
        self._longest = 0.0
        self.found = self.short = 0

    def __call__(self, record: Record) -> None:
        self.found += 1
        self.short += record.duration < self._shortest
        self._longest = max(self._longest, record.duration)

    def conclude(self, name: str) -> None:
        """Say how many are left out. Raises `UsageError` if all are; `name` is what messages call the recordings."""
        if self.found and self.short == self.found:
            raise UsageError(f"{name}: no recording lasts {self._least}; the longest lasts {self._longest:g} s")
        if self.short:
            _LOG.info("%s: %s shorter than %g s left out", name, counted(self.short), self._shortest)
