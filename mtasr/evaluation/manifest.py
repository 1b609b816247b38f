"""Manifests: lists of recordings with their texts, as JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtasr.errors import ManifestError, UsageError
from mtasr.text_files import read_text
from mtasr.tokenizer import to_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A recording and its reference texts.

    `text` is in the language spoken, `translation` in English; at least one of them is given. `language` is a code, or
    None if unknown.
    """

    audio: Path
    text: str | None = None
    translation: str | None = None
    language: str | None = None


def read_manifest(path: Path) -> list[Clip]:
    """The clips of a manifest, in its order. Paths of recordings are relative to its folder.

    The manifest is a JSON list, JSON lines, or CSV with a header line, as its first character shows. The fields are
    `audio`, `text` (or `segments`, a list of objects with a `text`), `translation` and `language`; others are ignored.
    Raises `ManifestError`, which names the line or item.
    """
    content = read_text(path, ManifestError, any_encoding=True)
    clips = [_clip(fields, path, place) for place, fields in _rows(content, path)]
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
                if "translation" not in known and fields.get("text") == "":
                    known["text"] = ""  # no speech, as in JSON; unless there is a translation
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


def _clip(fields: object, path: Path, place: str) -> Clip:
    if not isinstance(fields, Mapping):
        raise ManifestError(f"{path}: {place} is not an object with the field 'audio'")
    audio = _text(fields, "audio", path, place)
    if not audio:
        raise ManifestError(f"{path}: {place} has no 'audio'")
    text, translation = _text(fields, "text", path, place), _text(fields, "translation", path, place)
    if text is None and isinstance(fields.get("segments"), list):
        parts = [_text(each, "text", path, place) for each in fields["segments"] if isinstance(each, Mapping)]
        text = " ".join(part for part in parts if part)
    if text is None and translation is None:
        raise ManifestError(f"{path}: {place} has neither 'text' nor 'translation'")
    language = _text(fields, "language", path, place)
    try:
        code = to_code(language) if language else None
    except UsageError as error:
        raise ManifestError(f"{path}: {place}: {error}") from error
    return Clip(audio=path.parent / audio, text=text, translation=translation, language=code)


def _text(fields: Mapping[str, Any], name: str, path: Path, place: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ManifestError(f"{path}: {place}: {name!r} is not a text")
    return value
