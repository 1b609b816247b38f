"""Events of a live session for programs: one JSON object each.

    {"event": "speech_started", "stretch": 0, "at": 1.2}
    {"event": "draft", "stretch": 0, "text": "...", "words": [...]}      replaces the draft before it
    {"event": "committed", "stretch": 0, "text": "...", "words": [...]}  follows the committed words of the stretch
    {"event": "speech_stopped", "stretch": 0, "at": 6.4}
    {"event": "final", "stretch": 0, "text": "...", "language": "en", "segments": [...]}
    {"event": "speakers_changed", "stretch": 0, "segments": [...]}       stand in place of those of the final text
    {"event": "language_found", "language": "en", "probability": 0.98}
    {"event": "lag", "seconds": 2.5}
    {"event": "end", "seconds": 60.0, "files": ["talk.srt"]}             the last one

All times are in seconds. Words have `word`, `start`, `end` and `probability`, segments the fields of a transcript's
JSON. `final` and `speakers_changed` have `translation` too, a list of segments, if there is one. If speakers are told
apart, committed words and segments name theirs.
"""

from __future__ import annotations

import re
from typing import Any

from mtasr.formats.transcript_json import segment_document
from mtasr.live import Committed, Draft, Event, Final, SpeakersChanged
from mtasr.transcript import Word

_WITHIN_NAME = re.compile(r"(?<!^)(?=[A-Z])")


def event_document(event: Event) -> dict[str, Any]:
    """The object for an event."""
    document: dict[str, Any] = {"event": _WITHIN_NAME.sub("_", type(event).__name__).lower()}
    match event:
        case Draft() | Committed():
            words = [_word(word) for word in event.words]
            return document | {"stretch": event.stretch, "text": event.text, "words": words}
        case Final() | SpeakersChanged():
            document["stretch"] = event.stretch
            if isinstance(event, Final):
                document |= {"text": event.text, "language": event.language}
            document["segments"] = [segment_document(segment) for segment in event.segments]
            if event.translation:
                document["translation"] = [segment_document(segment) for segment in event.translation]
            return document
    fields = ((name, getattr(event, name)) for name in type(event).__dataclass_fields__)
    return document | {name: round(value, 3) if isinstance(value, float) else value for name, value in fields}


def _word(word: Word) -> dict[str, Any]:
    times = {"start": round(word.start, 3), "end": round(word.end, 3)}
    speaker = {} if word.speaker is None else {"speaker": word.speaker}
    return {"word": word.word, **times, "probability": round(word.probability, 3), **speaker}
