"""JSON with all that is known of a transcript, with openai-whisper's names: what reads its files reads ours."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TextIO, get_args

from mtasr.errors import InputError, InputNotFoundError
from mtasr.formats.cues import PLAIN, Style
from mtasr.transcript import Alternatives, Coverage, Repair, RepairKind, Segment, Transcript, Turn, Word

#: Fields of a segment: numbers that describe its decoding.
_MEASURES = ("avg_logprob", "compression_ratio", "no_speech_prob", "temperature")

# Writing


def write(transcript: Transcript, stream: TextIO, style: Style = PLAIN) -> None:
    """Write the document of `to_dict`, with one line for each segment, turn, and set of alternatives."""
    entries = []
    for key, value in to_dict(transcript).items():
        text = _dumps(value)
        if key in ("alternatives", "segments", "turns") and value:
            items = ",\n".join(f"    {_dumps(item)}" for item in value)
            text = f"[\n{items}\n  ]"
        entries.append(f"  {_dumps(key)}: {text}")
    stream.write("{\n" + ",\n".join(entries) + "\n}\n")


def to_dict(transcript: Transcript) -> dict[str, Any]:
    """All that is known of a transcript, except its translation; times in seconds, None for NaN and infinity."""
    document: dict[str, Any] = {
        "language": transcript.language,
        "language_probability": _finite(transcript.language_probability),
        "duration": _seconds(transcript.duration),
        "text": transcript.text,
    }
    if transcript.coverage is not None:
        document["coverage"] = coverage_document(transcript.coverage)
    if transcript.repairs:
        document["repairs"] = [repair_document(each) for each in transcript.repairs]
    if transcript.alternatives is not None:
        document["alternatives"] = [_alternatives(each) for each in transcript.alternatives]
    # The segments tell who speaks on which channel.
    if transcript.turns is not None and all(turn.channel is None for turn in transcript.turns):
        document["turns"] = [turn_document(turn) for turn in transcript.turns]
    return document | {"segments": [segment_document(segment) for segment in transcript]}


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def segment_document(segment: Segment) -> dict[str, Any]:
    """What the document says of a segment."""
    fields: dict[str, Any] = {
        "id": segment.id,
        "start": _seconds(segment.start),
        "end": _seconds(segment.end),
        "text": segment.text,
        "tokens": list(segment.tokens),
    }
    fields |= {name: _finite(getattr(segment, name)) for name in _MEASURES}
    if segment.language is not None:
        fields["language"] = segment.language
    fields |= speaker_fields(segment)
    if segment.words is not None:
        fields["words"] = [_word(word) for word in segment.words]
    return fields


def speaker_fields(said: Segment | Word) -> dict[str, Any]:
    """Who says it, if that is known; if voices were told apart, also how sure that is, and whether others talk too."""
    if said.speaker is None:
        return {}
    sure = {} if said.speaker_confidence is None else {"speaker_confidence": _finite(said.speaker_confidence)}
    return {"speaker": said.speaker} | sure | ({"overlap": True} if said.overlap else {})


def turn_document(turn: Turn) -> dict[str, Any]:
    """A turn as a document has it."""
    return {
        "start": _seconds(turn.start),
        "end": _seconds(turn.end),
        "speaker": turn.speaker,
        "confidence": _finite(turn.confidence),
    }


def _alternatives(alternatives: Alternatives) -> dict[str, Any]:
    speaker = {} if alternatives.speaker is None else {"speaker": alternatives.speaker}
    return speaker | {
        "start": _seconds(alternatives.start),
        "end": _seconds(alternatives.end),
        "readings": [
            {"text": reading.text, "avg_logprob": _finite(reading.avg_logprob)} for reading in alternatives.readings
        ],
    }


def coverage_document(coverage: Coverage) -> dict[str, Any]:
    """What the document says of the coverage."""
    return {
        "speech": _seconds(coverage.speech),
        "speech_without_text": [[_seconds(start), _seconds(end)] for start, end in coverage.speech_without_text],
        "text_without_speech": [[_seconds(start), _seconds(end)] for start, end in coverage.text_without_speech],
    }


def repair_document(repair: Repair) -> dict[str, Any]:
    """A repair as a document has it."""
    return {"kind": repair.kind, "start": _seconds(repair.start), "seconds": _seconds(repair.seconds)}


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": _seconds(word.start),
        "end": _seconds(word.end),
        "probability": _finite(word.probability),
    } | speaker_fields(word)


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _seconds(value: float) -> float | None:
    """Rounded to the microsecond, which is finer than a sample: no digits such as 3.3000000000000003."""
    return round(value, 6) if math.isfinite(value) else None


# Reading


def read(path: Path) -> Transcript:
    """Read a transcript that mtasr or openai-whisper has written, whose files lack some of it, such as the duration.

    Raises `InputNotFoundError` for a file that cannot be opened, and `InputError` for one that is no transcript.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as exc:
        raise InputNotFoundError(f"{path}: no such file") from exc
    except OSError as exc:
        raise InputNotFoundError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    return loads(content, str(path))


def loads(content: bytes, name: str) -> Transcript:
    """The transcript in the content of such a file, which messages call `name`. Raises `InputError`."""
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{name}: is not JSON") from exc
    try:
        return _read_transcript(document)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as exc:
        what = f"{exc.args[0]!r} is missing" if isinstance(exc, KeyError) else str(exc)
        raise InputError(f"{name}: is not a transcript as `--output-format json` writes it: {what}") from exc


def _read_transcript(document: dict[str, Any]) -> Transcript:
    segments = tuple(_read_segment(number, each) for number, each in enumerate(document["segments"]))
    ends = [segment.end for segment in segments]
    return Transcript(
        language=_text(document.get("language") or ""),
        language_probability=_number(document.get("language_probability")),
        duration=max([_time(document.get("duration") or 0.0), *ends]),
        segments=segments,
        coverage=_read_coverage(document["coverage"]) if document.get("coverage") else None,
        repairs=tuple(map(_read_repair, document.get("repairs") or ())),
        turns=None if document.get("turns") is None else tuple(map(_read_turn, document["turns"])),
    )


def _read_segment(number: int, given: dict[str, Any]) -> Segment:
    words = given.get("words")
    measures: dict[str, Any] = {name: _number(given.get(name)) for name in _MEASURES}
    language = given.get("language")
    return Segment(
        id=number,
        start=_time(given["start"]),
        end=_time(given["end"]),
        text=_text(given["text"]),
        tokens=(),
        words=None if words is None else tuple(map(_read_word, words)),
        language=None if language is None else _text(language),
        **measures,
        **_read_speaker(given),
    )


def _read_word(given: dict[str, Any]) -> Word:
    return Word(
        word=_text(given["word"]),
        start=_time(given["start"]),
        end=_time(given["end"]),
        probability=_number(given.get("probability")),
        **_read_speaker(given),
    )


def _read_speaker(given: dict[str, Any]) -> dict[str, Any]:
    """The speaker of a segment or word, if it has one, and how sure that is."""
    speaker, sure = given.get("speaker"), given.get("speaker_confidence")
    return {
        "speaker": None if speaker is None else _text(speaker),
        "speaker_confidence": None if sure is None else float(sure),
        "overlap": given.get("overlap") is True,
    }


def _read_turn(given: dict[str, Any]) -> Turn:
    start, end = _time(given["start"]), _time(given["end"])
    if end <= start:
        raise ValueError(f"a turn ends at {end:g} s, before it begins")
    sure = given.get("confidence")
    return Turn(start=start, end=end, speaker=_text(given["speaker"]), confidence=1.0 if sure is None else float(sure))


def _read_repair(given: dict[str, Any]) -> Repair:
    if given["kind"] not in get_args(RepairKind):
        raise ValueError(f"{given['kind']!r} is no kind of repair")
    return Repair(kind=given["kind"], start=_time(given["start"]), seconds=float(given["seconds"]))


def _read_coverage(given: dict[str, Any]) -> Coverage:
    places = [
        tuple((_time(start), _time(end)) for start, end in given[name])
        for name in ("speech_without_text", "text_without_speech")
    ]
    return Coverage(speech=_time(given["speech"]), speech_without_text=places[0], text_without_speech=places[1])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _time(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is not a time in seconds")
    return seconds


def _number(value: Any) -> float:
    """A number that is null or missing is not known."""
    return math.nan if value is None else float(value)
