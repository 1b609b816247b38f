"""Manifests: lists of recordings with their texts, as JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtasr.errors import InputError, ManifestError, UsageError
from mtasr.formats.rttm import read_rttm, turns_of
from mtasr.text_files import read_text
from mtasr.tokenizer import to_code
from mtasr.transcript import Turn

#: The turns of each file that an RTTM names, by its path.
_Rttms = dict[Path, dict[str, tuple[Turn, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A recording and its references; at least one of `text`, `translation` and `turns` is given.

    `text` is in the language spoken, `translation` in English. `speaker_texts` is what each speaker says, one after the
    other, in order of appearance; `turns` is who speaks when. `language` is a code, or None if unknown.
    """

    audio: Path
    text: str | None = None
    translation: str | None = None
    language: str | None = None
    speaker_texts: tuple[str, ...] | None = None
    turns: tuple[Turn, ...] | None = None


def read_manifest(path: Path) -> list[Clip]:
    """The clips of a manifest, in its order. Paths are relative to its folder.

    The manifest is a JSON list, JSON lines, or CSV with a header line, as its first character shows. The fields are
    `audio`, `text` (or `segments`, a list of objects with a `text`, and a `speaker` where speakers are known),
    `translation`, `language` and `rttm` (the path of a file that says who speaks when); others are ignored. Reads the
    RTTM files too. Raises `ManifestError`, which names the line or item.
    """
    content = read_text(path, ManifestError, any_encoding=True)
    rttms: _Rttms = {}
    clips = [_clip(fields, path, place, rttms) for place, fields in _rows(content, path)]
    if not clips:
        raise ManifestError(f"{path}: has no recordings")
    return clips


def _rows(content: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The place of each entry, for messages, and its fields."""
    start = content.lstrip()[:1]
    if start == "[":
        for number, fields in enumerate(_parsed(content, path, "it"), start=1):
            yield f"item {number}", fields
    elif start == "{":
        for number, line in enumerate(content.split("\n"), start=1):
            if line.strip():
                yield f"line {number}", _parsed(line, path, f"line {number}")
    else:
        table = csv.DictReader(io.StringIO(content, newline=""))
        try:
            if "audio" not in (table.fieldnames or ()):
                raise ManifestError(f"{path}: is neither JSON nor CSV with a column 'audio'")
            for fields in table:
                known = {name: value for name, value in fields.items() if name and value}
                if not known.keys() & {"translation", "rttm"} and fields.get("text") == "":
                    known["text"] = ""  # no speech, as in JSON; unless there is another reference
                yield f"line {table.line_num}", known
        except csv.Error as error:
            raise ManifestError(f"{path}: line {table.line_num}: {error}") from error


def _parsed(text: str, path: Path, what: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{path}: {what} is not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or deep nesting
        raise ManifestError(f"{path}: {what} is not JSON: {error}") from error


def _clip(fields: object, path: Path, place: str, rttms: _Rttms) -> Clip:
    if not isinstance(fields, Mapping):
        raise ManifestError(f"{path}: {place} is not an object with the field 'audio'")
    audio = _text(fields, "audio", path, place)
    if not audio:
        raise ManifestError(f"{path}: {place} has no 'audio'")
    text, translation = _text(fields, "text", path, place), _text(fields, "translation", path, place)
    segments = _segments(fields, path, place)
    if text is None and segments is not None:
        text = " ".join(said for _, said in segments)
    rttm = _text(fields, "rttm", path, place)
    if text is None and translation is None and not rttm:
        raise ManifestError(f"{path}: {place} has none of 'text', 'translation' and 'rttm'")
    language = _text(fields, "language", path, place)
    try:
        code = to_code(language) if language else None
        turns = _turns(path.parent / audio, path.parent / rttm, rttms) if rttm else None
    except (UsageError, InputError) as error:
        raise ManifestError(f"{path}: {place}: {error}") from error
    return Clip(
        audio=path.parent / audio,
        text=text,
        translation=translation,
        language=code,
        speaker_texts=_speaker_texts(segments or (), path, place),
        turns=turns,
    )


def _segments(fields: Mapping[str, Any], path: Path, place: str) -> list[tuple[str | None, str]] | None:
    """The speaker and the text of each segment that has text; None if there is no list of segments."""
    if not isinstance(fields.get("segments"), list):
        return None
    rows = [each for each in fields["segments"] if isinstance(each, Mapping)]
    said = [(_text(each, "speaker", path, place), _text(each, "text", path, place)) for each in rows]
    return [(speaker, text) for speaker, text in said if text]


def _speaker_texts(segments: Sequence[tuple[str | None, str]], path: Path, place: str) -> tuple[str, ...] | None:
    speakers = list(dict.fromkeys(speaker for speaker, _ in segments))
    if speakers in ([], [None]):
        return None
    if None in speakers:
        raise ManifestError(f"{path}: {place}: some of 'segments' have a 'speaker', and others have none")
    return tuple(" ".join(text for each, text in segments if each == speaker) for speaker in speakers)


def _turns(audio: Path, rttm: Path, rttms: _Rttms) -> tuple[Turn, ...]:
    if rttm not in rttms:
        rttms[rttm] = read_rttm(rttm)
    return turns_of(audio.stem, rttm, rttms[rttm])


def _text(fields: Mapping[str, Any], name: str, path: Path, place: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ManifestError(f"{path}: {place}: {name!r} is not a text")
    return value
