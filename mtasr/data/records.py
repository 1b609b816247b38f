"""Records: a recording and its text, one JSON object per line.

    {"id": "talk", "audio": "talk.flac", "duration": 61.2, "language": "fr", "task": "transcribe", "source": "radio",
     "timed": true, "cues": [{"start": 0.4, "end": 2.1, "text": "Bonjour."}, ...]}

A relative path is relative to the folder of the file. Files are read and written line by line, so their size has no
limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from mtasr.errors import InputError, InputNotFoundError, OutputError
from mtasr.options import Task
from mtasr.tokenizer import LANGUAGES

#: Seconds (30 million years) that no recording lasts.
_FOREVER = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """Text between two times, in seconds. An empty text marks speech whose words are unknown."""

    start: float
    end: float
    text: str

    def shifted(self, seconds: float) -> Caption:
        return replace(self, start=self.start + seconds, end=self.end + seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One recording and one text for it: a transcript in `language`, or (task "translate") its English translation.

    Captions are as their source gave them, in any order and of any quality. `duration` is in seconds. A record with
    `timed` false has one caption of the recording's length, because the times of its text are unknown.
    """

    id: str
    audio: str
    duration: float
    language: str | None
    captions: tuple[Caption, ...]
    task: Task = "transcribe"
    timed: bool = True
    #: Where the record comes from; filters report and audits rank by source.
    source: str = ""

    @property
    def text(self) -> str:
        """The whole text on one line."""
        return " ".join(" ".join(caption.text.split()) for caption in self.captions if caption.text.strip())

    @property
    def text_language(self) -> str | None:
        """The language of the text, which is English for a translation."""
        return "en" if self.task == "translate" else self.language

    def to_json(self) -> dict[str, Any]:
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}


#: Fields whose key in a file is another word.
_KEYS = {"captions": "cues"}


def from_json(document: object) -> Record:
    """The record in a JSON object. Raises `ValueError` that names the mistake."""
    if not isinstance(document, Mapping):
        raise ValueError("not a JSON object")
    if unknown := document.keys() - {_KEYS.get(name, name) for name in Record.__slots__}:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    if missing := {"audio", "duration", "cues"} - document.keys():
        raise ValueError(f"{sorted(missing)[0]} is missing")
    audio, language, task = document["audio"], document.get("language"), document.get("task", "transcribe")
    if not isinstance(audio, str) or not audio:
        raise ValueError("audio is not a path")
    if language is not None and not (isinstance(language, str) and language in LANGUAGES):
        raise ValueError(f"language is not a language code: {language!r}")
    if task not in get_args(Task):
        raise ValueError(f"task must be transcribe or translate, not {task!r}")
    if not isinstance(document["cues"], list):
        raise ValueError("cues is not a list")
    return Record(
        id=str(document.get("id") or Path(audio).stem),
        audio=audio,
        duration=_seconds(document, "duration"),
        language=language,
        captions=tuple(_caption(each) for each in document["cues"]),
        task=task,
        timed=bool(document.get("timed", True)),
        source=str(document.get("source") or ""),
    )


def _caption(document: object) -> Caption:
    if not isinstance(document, Mapping) or not isinstance(document.get("text"), str):
        raise ValueError("a cue is not an object with start, end and text")
    return Caption(start=_seconds(document, "start"), end=_seconds(document, "end"), text=document["text"])


def _seconds(document: Mapping[str, Any], name: str) -> float:
    value = document.get(name)
    # Compared before `float`, which overflows for a huge whole number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _FOREVER:
        raise ValueError(f"{name} is not a time in seconds: {value!r}")
    return float(value)


def read_lines(path: Path, start: int = 0, number: int = 1) -> Iterator[tuple[tuple[int, int], Record]]:
    """The records of a JSONL file, one at a time, each with where its line begins; their audio has absolute paths.

    Raises `InputNotFoundError`, and `InputError` that names the line.
    """
    folder = path.absolute().parent
    for place, document in read_jsonl(path, start, number):
        try:
            record = from_json(document)
        except ValueError as exc:
            raise InputError(f"{path}, line {place[1]}: {exc}") from exc
        yield place, replace(record, audio=os.path.normpath(folder / record.audio))


def read_jsonl(path: Path, start: int = 0, number: int = 1) -> Iterator[tuple[tuple[int, int], object]]:
    """The values of all lines that are not empty, from byte `start` on, which begins line `number`.

    With each come the byte at which its line begins and the line's number. Raises as `read_lines` does.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            for line in stream:
                if line.strip():
                    try:
                        yield (start, number), json.loads(line.decode())
                    except (ValueError, RecursionError) as exc:
                        raise InputError(f"{path}, line {number}: is not JSON: {exc}") from exc
                start, number = start + len(line), number + 1
    except FileNotFoundError as exc:
        raise InputNotFoundError(f"{path}: no such file") from exc
    except OSError as exc:
        raise InputError(f"{path}: cannot be read: {exc.strerror or exc}") from exc


def write_records(records: Iterable[Record], path: Path) -> int:
    """Write records one at a time and return their number. The file appears once the last is written.

    Raises `OutputError`. If the iterable raises, no file is left.
    """
    count = 0
    # A file name that is not UTF-8 holds surrogates, which JSON escapes (\udcff) and reads back.
    with written_whole(path) as staging, staging.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        for record in records:
            stream.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")
            count += 1
    return count


def counted(records: int) -> str:
    """For example "2 records"."""
    return f"{records} record" + "s" * (records != 1)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that replaces it if the block succeeds, and is removed otherwise.

    Raises `OutputError`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(descriptor)
        staging = Path(name)
        try:
            yield staging
            with staging.open("rb") as stream:
                os.fsync(stream.fileno())
            staging.chmod(0o644)
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc
