"""Records: a recording and the text that goes with it, one JSON object a line.

    {"id": "talk", "audio": "talk.flac", "duration": 61.2, "language": "fr", "task": "transcribe", "source": "radio",
     "timed": true, "cues": [{"start": 0.4, "end": 2.1, "text": "Bonjour."}, ...]}

A relative path counts from the folder of the file. Files are read and written line by line, so they may be of any size.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from mtasr.errors import InputError, InputNotFoundError, OutputError
from mtasr.tokenizer import LANGUAGES

Task = Literal["transcribe", "translate"]

#: In seconds: 30 million years.
_FOREVER = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """A caption: text between two times, in seconds. Without text: something is said there that nobody wrote down."""

    start: float
    end: float
    text: str

    def shifted(self, seconds: float) -> Cue:
        return replace(self, start=self.start + seconds, end=self.end + seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One recording with one text: what is said in `language`, or (task "translate") its English translation.

    Cues are as they were found: in whatever order and of whatever quality. `timed` is false where there is one cue,
    of the recording's own length, because nobody knows when its text is said.
    """

    id: str
    audio: str
    duration: float
    language: str | None
    cues: tuple[Cue, ...]
    task: Task = "transcribe"
    timed: bool = True
    #: Where it comes from: the unit by which filters report and audits rank.
    source: str = ""

    @property
    def text(self) -> str:
        """All text, on one line."""
        return " ".join(" ".join(cue.text.split()) for cue in self.cues if cue.text.strip())

    @property
    def text_language(self) -> str | None:
        """The language that the text is in."""
        return "en" if self.task == "translate" else self.language

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "cues": [asdict(cue) for cue in self.cues]}


def from_json(document: object) -> Record:
    """The record in a JSON object. Raises `ValueError` that tells what is wrong with it."""
    if not isinstance(document, Mapping):
        raise ValueError("not a JSON object")
    if unknown := document.keys() - set(Record.__slots__):
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    if missing := {"audio", "duration", "cues"} - document.keys():
        raise ValueError(f"{sorted(missing)[0]} is missing")
    audio, language, task = document["audio"], document.get("language"), document.get("task", "transcribe")
    if not isinstance(audio, str) or not audio:
        raise ValueError("audio is not a path")
    if language is not None and not (isinstance(language, str) and language in LANGUAGES):
        raise ValueError(f"language is not the code of one: {language!r}")
    if task not in get_args(Task):
        raise ValueError(f"task is transcribe or translate, not {task!r}")
    if not isinstance(document["cues"], list):
        raise ValueError("cues is not a list")
    return Record(
        id=str(document.get("id") or Path(audio).stem),
        audio=audio,
        duration=_seconds(document, "duration"),
        language=language,
        cues=tuple(_cue(each) for each in document["cues"]),
        task=task,
        timed=bool(document.get("timed", True)),
        source=str(document.get("source") or ""),
    )


def _cue(document: object) -> Cue:
    if not isinstance(document, Mapping) or not isinstance(document.get("text"), str):
        raise ValueError("a cue is not an object with start, end and text")
    return Cue(start=_seconds(document, "start"), end=_seconds(document, "end"), text=document["text"])


def _seconds(document: Mapping[str, Any], name: str) -> float:
    value = document.get(name)
    # As a comparison, which whole numbers that are too large for a float can take.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _FOREVER:
        raise ValueError(f"{name} is not a time in seconds: {value!r}")
    return float(value)


def read_records(path: Path) -> Iterator[Record]:
    """The records of a JSONL file, each as it is asked for, their audio as absolute paths.

    Raises `InputNotFoundError`, and `InputError` that names the line.
    """
    folder = path.absolute().parent
    for number, document in read_jsonl(path):
        try:
            record = from_json(document)
        except ValueError as exc:
            raise InputError(f"{path}, line {number}: {exc}") from exc
        yield replace(record, audio=os.path.normpath(folder / record.audio))


def read_jsonl(path: Path) -> Iterator[tuple[int, object]]:
    """Number and value of each line that is not empty. Raises `InputError` as `read_records` does."""
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except (ValueError, RecursionError) as exc:
                        raise InputError(f"{path}, line {number}: no JSON: {exc}") from exc
    except FileNotFoundError as exc:
        raise InputNotFoundError(f"{path}: no such file") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{path}: cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc


def write_records(records: Iterable[Record], path: Path) -> int:
    """Write records as they come; the file appears when the last is there. Returns how many.

    Raises `OutputError`; whatever the records raise leaves no file.
    """
    count = 0
    # Names that are not UTF-8 have bytes in them that JSON writes as \udcff, and reads again.
    with written_whole(path) as staging, staging.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        for record in records:
            stream.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")
            count += 1
    return count


def counted(records: int) -> str:
    """Such as "2 records"."""
    return f"{records} record" + "s" * (records != 1)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A neighbour of `path` to write to, which takes its place at the end, or is removed. Raises `OutputError`."""
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
