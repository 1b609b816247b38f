"""Marks in files of synthetic speech: a line of JSON in the tags of the container, which programs can read.

Wherever a container keeps one, the tag is `comment` (WAV: ICMT in the list INFO; MP3 and AAC: ID3; FLAC, Ogg: a Vorbis
comment; MP4: ©cmt; Matroska: COMMENT). Tags can be removed by anybody: a mark says what a file is, its absence says
nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from mtasr import __version__
from mtasr.audio.ffmpeg import recording_input, run_ffmpeg
from mtasr.errors import FfmpegError, InputError, InputNotFoundError

#: The title of files and tracks.
TITLE = "Synthetic speech"
_TAG = "comment"
#: By which a mark is told from other comments.
_KEY = "synthetic"
#: Characters of a mark; more is not ours.
_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a mark tells."""

    #: Program and version.
    tool: str
    #: How the speech was made: "text", or "translation".
    engine: str
    voice: str
    #: SHA-256 of what was spoken: the text in UTF-8, or the recording that was translated.
    source: str
    #: UTC, in ISO 8601.
    created: str
    #: Who agreed to the use of their voice, and when. None for voices by name.
    consent: str | None = None

    def dump(self) -> str:
        """One line of JSON."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({_KEY: True, **known}, ensure_ascii=False)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of a container, or of a track."""
        return {"title": TITLE, _TAG: self.dump()}


def new_mark(*, engine: str, voice: str, source: bytes | str, consent: str | None = None) -> Mark:
    """A mark of this moment; `source` is what was spoken, or its SHA-256 in hexadecimal digits."""
    digest = source if isinstance(source, str) else hashlib.sha256(source).hexdigest()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Mark(
        tool=f"mtasr {__version__}", engine=engine, voice=voice, source=digest, created=created, consent=consent
    )


def read_mark(path: str | Path) -> Mark | None:
    """The mark of a file, or of its first audio track that has one; None if there is none.

    Raises `InputNotFoundError`, or `InputError` if the file is no recording.
    """
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file")
    return next((mark for comment in _comments(path) if (mark := _parsed(comment))), None)


def _comments(path: Path) -> list[str]:
    lines: list[str] = []
    # Copying nothing but metadata: all of the container's, then those of each track.
    copy = ["-map", "0", "-c", "copy", "-t", "0", "-f", "ffmetadata", "-"]
    arguments = ["-loglevel", "level+error", *recording_input(path), *copy]
    try:
        run_ffmpeg(arguments, line=lines.append)
    except FfmpegError as exc:
        raise InputError(f"{path}: not a recording, or damaged: {str(exc).removeprefix('ffmpeg: ')}") from exc
    found = []
    for line in lines:
        name, _, value = line.partition("=")
        if name.lower() == _TAG and len(value) <= 2 * _MOST:
            found.append(re.sub(r"\\(.)", r"\1", value))
    return found


def _parsed(comment: str) -> Mark | None:
    try:
        document = json.loads(comment)
        if not isinstance(document, dict) or document.pop(_KEY, None) is not True:
            return None
        values = {name: document[name] for name in ("tool", "engine", "voice", "source", "created")}
        consent = document.get("consent")
    except (ValueError, KeyError, RecursionError):
        return None
    if not all(isinstance(each, str) for each in values.values()) or not isinstance(consent, str | None):
        return None
    return Mark(**values, consent=consent)
