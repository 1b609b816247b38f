"""Folders and manifests -> records.

    shards            records with their audio, as `mtasr data pack` writes them
    folder            recordings beside captions of the same name: talk.mp4 with talk.srt, or talk.fr.srt
    .csv, .tsv        columns audio and text, and perhaps language, translation, duration, source, id
    .json, .jsonl     the same as objects; records; lhotse's cuts (plain JSON, read without lhotse)

A recording that cannot be used is reported and skipped: one bad file among thousands must not stop the rest.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mtasr.audio.read import open_audio
from mtasr.data.captions import CAPTION_ENDINGS, read_captions, untimed
from mtasr.data.reading import is_sharded, read_records
from mtasr.data.records import Caption, Record, from_json
from mtasr.data.shards.archive import ENDING, member_at, open_recording
from mtasr.data.speech_found import speech_in
from mtasr.errors import InputError, InputNotFoundError, UsageError
from mtasr.options import Task
from mtasr.spans import SAMPLE_RATE
from mtasr.text_files import read_text
from mtasr.tokenizer import LANGUAGES, to_code

#: Endings of files that count as recordings.
MEDIA_ENDINGS = frozenset(
    {
        ".aac", ".aif", ".aiff", ".amr", ".avi", ".flac", ".flv", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp3",
        ".mp4", ".mpeg", ".mpg", ".oga", ".ogg", ".ogv", ".opus", ".ts", ".wav", ".webm", ".wma", ".wmv",
    }
)  # fmt: skip

#: Other names of columns in manifests -> the name here.
_COLUMNS = {
    "audio_filepath": "audio", "audio_path": "audio", "file": "audio", "path": "audio", "wav": "audio",
    "sentence": "text", "transcript": "text", "transcription": "text", "lang": "language",
}  # fmt: skip

#: Gets a line for each recording that is skipped, with the reason.
Problem = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """`language` is for recordings whose text names none, `source` for all of them.

    `time_by_speech` gives text without times those from the first speech to the last that voice activity finds.
    """

    language: str | None = None
    source: str | None = None
    time_by_speech: bool = False


def ingest(path: Path, options: IngestOptions, problem: Problem) -> Iterator[Record]:
    """The records of a folder or manifest, one at a time. `problem` gets a line for each that cannot be used.

    Raises `InputNotFoundError`, `InputError` for a file that cannot be read, and `UsageError` for one of another kind,
    or for a folder with both shards and recordings.
    """
    if not (path.exists() or is_sharded(path)):
        raise InputNotFoundError(f"{path}: no such file or folder")
    for item in _items(path, options):
        try:
            yield _finished(item(), options)
        except InputError as exc:
            problem(str(exc))


_Item = Callable[[], Record]


def _items(path: Path, options: IngestOptions) -> Iterator[_Item]:
    """A function for each record that makes it, so that an error concerns this record alone."""
    if is_sharded(path):
        if path.is_dir() and any(media_in(path)):
            raise UsageError(f"{path}: holds recordings beside shards; move either away, or give '{path}/*{ENDING}'")
        for record in read_records(path):
            language, source = record.language or options.language, options.source or record.source
            yield partial(replace, record, language=language, source=source)
    elif path.is_dir():
        yield from _of_folder(path, options)
    elif path.suffix in {".csv", ".tsv"}:
        yield from _of_rows(_table_rows(path), path, options)
    elif {".json", ".jsonl"} & set(path.suffixes[-2:]):
        yield from _of_rows(_json_rows(path), path, options)
    else:
        raise UsageError(f"{path}: is neither a folder nor a CSV, TSV, JSON or JSONL file")


def _finished(record: Record, options: IngestOptions) -> Record:
    """The record with what the recording itself tells: that it exists, its duration, and perhaps when speech occurs."""
    try:
        there = member_at(record.audio) is not None or Path(record.audio).is_file()
    except OSError as exc:  # a name that is too long, a folder without permission
        raise InputNotFoundError(f"{record.audio}: cannot be read: {exc.strerror}") from exc
    if not there:
        raise InputNotFoundError(f"{record.audio}: no such file")
    if record.duration <= 0:
        record = replace(record, duration=duration_of(Path(record.audio)))
    if record.timed:
        return record
    start, end, timed = 0.0, record.duration, False
    if options.time_by_speech and (speech := speech_in(Path(record.audio))):
        start, end, timed = speech[0][0], min(speech[-1][1], record.duration), True
    return replace(record, captions=(Caption(start=start, end=end, text=record.text),), timed=timed)


def duration_of(path: Path) -> float:
    """Seconds of audio as the container states them, or as decoded if it states none. Raises `InputError`."""
    with open_recording(path) as source, open_audio(source) as stream:
        stated = stream.duration
        seconds = stated if stated is not None else sum(block.size for block in stream) / SAMPLE_RATE
    if seconds <= 0:
        raise InputError(f"{path}: holds no audio")
    return round(seconds, 3)


def _of_folder(folder: Path, options: IngestOptions) -> Iterator[_Item]:
    """Recordings in the folder and its subfolders, by name, with each of their caption files."""
    for media in sorted(media_in(folder)):
        found = _captions_of(media)
        if not found:
            yield partial(_unusable, media, f"has no captions beside it ({', '.join(CAPTION_ENDINGS)})")
        for file in found:
            yield partial(_beside, media, file, folder, options)


def media_in(folder: Path) -> Iterator[Path]:
    """The recordings in a folder and its subfolders, known by their endings, in no particular order."""
    return (path for path in folder.rglob("*") if path.suffix.lower() in MEDIA_ENDINGS)


def _captions_of(media: Path) -> list[Path]:
    """The caption files beside a recording; of those in the same language, the first of `CAPTION_ENDINGS`."""
    chosen: dict[str, Path] = {}
    for ending in CAPTION_ENDINGS:
        for path in sorted(media.parent.glob(f"{glob.escape(media.stem)}*{ending}")):
            middle = path.name[len(media.stem) : -len(ending)]
            if not middle or middle[1:].lower().partition("-")[0] in LANGUAGES:
                chosen.setdefault(middle.lower(), path)
    return list(chosen.values())


def _unusable(where: str | Path, why: str) -> Record:
    raise InputError(f"{where}: {why}")


def _beside(media: Path, path: Path, folder: Path, options: IngestOptions) -> Record:
    """A recording with the captions beside it. English text for another language known to be spoken translates it."""
    file = read_captions(path)
    named = path.name[len(media.stem) : -len(path.suffix)].lstrip(".") or None
    text_language = to_code(named) if named else file.language
    translated = text_language == "en" and options.language not in {None, "en"}
    return Record(
        id=str(media.relative_to(folder).with_suffix("")) + (f".{named}" if named else ""),
        audio=str(media.absolute()),
        duration=0,
        language=options.language or text_language,
        captions=file.captions,
        task="translate" if translated else "transcribe",
        timed=file.timed,
        source=options.source or str(media.parent.relative_to(folder.parent)),
    )


def _table_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    text = read_text(path, InputError, any_encoding=True)
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
        yield from enumerate(rows, start=2)
    except csv.Error as exc:
        raise InputError(f"{path}: cannot be read: {exc}") from exc


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a JSON array or of lines of JSON, perhaps gzipped."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            if ".jsonl" in path.suffixes:
                lines = (line for line in stream if line.strip())
                rows = (json.loads(line) for line in lines)
                yield from enumerate(rows, start=1)
            else:
                found = json.load(stream)
                yield from enumerate(found if isinstance(found, list) else [found], start=1)
    except (OSError, ValueError, RecursionError, EOFError, zlib.error) as exc:
        raise InputError(f"{path}: cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc


def _of_rows(rows: Iterator[tuple[int, Mapping[str, Any]]], path: Path, options: IngestOptions) -> Iterator[_Item]:
    def recording(numbered: tuple[int, Any]) -> object:
        """Cuts of one recording that follow each other belong together."""
        number, row = numbered
        return row["recording"].get("id") if _is_cut(row) else number

    for _, group in itertools.groupby(rows, key=recording):
        members = list(group)
        number, first = members[0]
        where = f"{path}, entry {number}"
        if _is_cut(first):
            yield partial(_of_cuts, [row for _, row in members], path, where, options)
        elif isinstance(first, Mapping) and "cues" in first:
            yield partial(_of_record, first, path, where, options)
        else:
            yield from _of_row(first, path, where, options)


def _is_cut(row: object) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("recording"), Mapping) and "supervisions" in row


def _of_record(row: Mapping[str, Any], path: Path, where: str, options: IngestOptions) -> Record:
    try:
        record = from_json(row)
    except ValueError as exc:
        raise InputError(f"{where}: {exc}") from exc
    return replace(
        record,
        audio=str(path.absolute().parent / record.audio),
        language=record.language or options.language,
        source=options.source or record.source,
    )


def _of_row(row: object, path: Path, where: str, options: IngestOptions) -> Iterator[_Item]:
    """One record, and another for the translation if there is one."""
    if not isinstance(row, Mapping):
        yield partial(_unusable, where, "is not an object")
        return
    fields = {_COLUMNS.get(str(name), str(name)): value for name, value in row.items() if value not in (None, "")}
    if not isinstance(fields.get("audio"), str) or not isinstance(fields.get("text"), str):
        yield partial(_unusable, where, "has no audio or no text")
        return

    def made(text: str, task: Task) -> Record:
        try:
            language = to_code(str(fields["language"])) if "language" in fields else options.language
            duration = float(fields.get("duration", 0))
        except (UsageError, ValueError, TypeError, OverflowError) as exc:
            raise InputError(f"{where}: {exc}") from exc
        media = path.absolute().parent / fields["audio"]
        return Record(
            id=str(fields.get("id") or media.stem) + (".en" if task == "translate" else ""),
            audio=str(media),
            duration=duration,
            language=language,
            captions=untimed(text).captions,
            task=task,
            timed=False,
            source=options.source or str(fields.get("source") or path.stem),
        )

    yield partial(made, fields["text"], "transcribe")
    if isinstance(fields.get("translation"), str):
        yield partial(made, fields["translation"], "translate")


def _of_cuts(cuts: list[Mapping[str, Any]], path: Path, where: str, options: IngestOptions) -> Record:
    """Cuts of one recording in lhotse's format: their supervisions, with the times of the recording.

    What no cut covers is marked as unknown, so that it does not count as silence.
    """
    try:
        recording = cuts[0]["recording"]
        media = path.absolute().parent / recording["sources"][0]["source"]
        captions = [
            Caption(
                start=float(cut["start"] + supervision["start"]),
                end=float(cut["start"] + supervision["start"] + supervision["duration"]),
                text=supervision.get("text") or "",
            )
            for cut in cuts
            for supervision in cut["supervisions"]
        ]
        covered = sorted((float(cut["start"]), float(cut["start"] + cut["duration"])) for cut in cuts)
        duration = float(recording["duration"])
        languages = [s.get("language") for cut in cuts for s in cut["supervisions"] if s.get("language")]
        language = to_code(languages[0]) if languages else options.language
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, UsageError) as exc:
        raise InputError(f"{where}: is not a cut as lhotse writes it: {exc!r}") from exc
    unknown = [Caption(start=start, end=end, text="") for start, end in _holes(covered, duration)]
    return Record(
        id=str(recording.get("id") or media.stem),
        audio=str(media),
        duration=duration,
        language=language,
        captions=tuple(sorted([*captions, *unknown], key=lambda caption: (caption.start, caption.end))),
        source=options.source or path.name.partition(".")[0],
    )


def _holes(covered: list[tuple[float, float]], duration: float) -> list[tuple[float, float]]:
    """The parts of 0 to `duration` that are not covered, without slivers below 10 ms."""
    holes, reached = [], 0.0
    for start, end in [*covered, (duration, duration)]:
        if start - reached > 0.01:
            holes.append((reached, start))
        reached = max(reached, end)
    return holes
