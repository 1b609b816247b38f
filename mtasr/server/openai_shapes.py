"""The bodies of OpenAI's answers and events: pure functions of a transcript.

Beyond OpenAI's fields they say what mtasr knows besides: `coverage`, `repairs`, `warnings` and probabilities. The
shapes are those of openai-python 3.57 (`openai.types.audio`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from mtasr.formats import transcript_json
from mtasr.tokenizer.languages import LANGUAGES
from mtasr.transcript import Segment, Transcript

#: What OpenAI writes for a log-probability that JSON cannot hold.
_IMPOSSIBLE = -9999.0

#: Gives the bytes of a token.
TokenBytes = Callable[[int], bytes]


# --- whole answers ---------------------------------------------------------------------------------------------------


def to_json(
    transcript: Transcript, warnings: Sequence[str] = (), token_bytes: TokenBytes | None = None
) -> dict[str, Any]:
    """`response_format=json`; with `token_bytes` it has log-probabilities."""
    body: dict[str, Any] = {"text": transcript.text, "languages": languages(transcript)}
    if token_bytes is not None:
        body["logprobs"] = logprobs(transcript, token_bytes)
    return body | {"usage": usage(transcript)} | findings(transcript, warnings)


def to_verbose_json(
    transcript: Transcript, task: str, granularities: Collection[str] = (), warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """`response_format=verbose_json`, with `segments` and `words` as the granularities ask for."""
    body: dict[str, Any] = {
        "task": task,
        "language": language_name("en" if task == "translate" else transcript.language),
        "duration": transcript.duration,
        "text": transcript.text,
    }
    if "word" in granularities:
        body["words"] = [
            {"word": word.word.strip(), "start": word.start, "end": word.end, "probability": _finite(word.probability)}
            | transcript_json.speaker_fields(word)
            for segment in transcript
            for word in segment.words or ()
        ]
    if "segment" in granularities or not granularities:
        body["segments"] = [_segment(each) for each in transcript]
    if turns := [transcript_json.turn_document(each) for each in transcript.turns or () if each.channel is None]:
        body["turns"] = turns
    spoken = {"code": transcript.language, "probability": _finite(transcript.language_probability)}
    return body | {"spoken_language": spoken, "usage": usage(transcript)} | findings(transcript, warnings)


def to_diarized_json(transcript: Transcript, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """`response_format=diarized_json`, for a transcript whose segments name their speakers."""
    return {
        "task": "transcribe",
        "duration": transcript.duration,
        "text": "\n".join(f"{segment.speaker}: {segment.text.strip()}" for segment in transcript),
        "segments": [segment_event(each) for each in transcript],
        "usage": usage(transcript),
    } | findings(transcript, warnings)


def _segment(segment: Segment) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": segment.id,
        "seek": round(segment.start * 100),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": list(segment.tokens),
    }
    for name in ("temperature", "avg_logprob", "compression_ratio", "no_speech_prob"):
        fields[name] = _finite(getattr(segment, name))
    if segment.language is not None:
        fields["language"] = segment.language
    return fields | transcript_json.speaker_fields(segment)


# --- parts of answers ------------------------------------------------------------------------------------------------


def language_name(code: str) -> str:
    """A language as OpenAI writes it in `verbose_json`: "english"."""
    return LANGUAGES.get(code, code)


def languages(transcript: Transcript) -> list[dict[str, str]]:
    """The languages spoken, the one with most segments first; none if nobody speaks."""
    codes = [segment.language or transcript.language for segment in transcript]
    return [{"code": code} for code in sorted(dict.fromkeys(codes), key=lambda code: -codes.count(code))]


def usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": transcript.duration}


def findings(transcript: Transcript, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """What to know about a transcript: speech without text, and what was wrong with the recording."""
    found: dict[str, Any] = {}
    if transcript.coverage is not None:
        found["coverage"] = transcript_json.coverage_document(transcript.coverage)
    if transcript.repairs:
        found["repairs"] = [transcript_json.repair_document(each) for each in transcript.repairs]
    return found | ({"warnings": list(warnings)} if warnings else {})


def logprobs(
    segments: Iterable[Segment], token_bytes: TokenBytes, *, at_beginning: bool = True
) -> list[dict[str, Any]]:
    """The text tokens of segments. Those that begin the text have no space before them, as it has none."""
    listed: list[dict[str, Any]] = []
    for token, logprob in ((token, logprob) for segment in segments for token, logprob in segment.token_logprobs):
        data = token_bytes(token)
        shown = logprob if math.isfinite(logprob) else _IMPOSSIBLE
        if not listed and at_beginning:
            data = data.lstrip(b" ")
            if not data:
                continue
        listed.append({"token": data.decode("utf-8", "replace"), "logprob": shown, "bytes": list(data)})
    return listed


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


# --- events ----------------------------------------------------------------------------------------------------------


class Deltas:
    """Cuts the text of segments into deltas that add up to the text of the transcript."""

    def __init__(self) -> None:
        self._space = ""
        self._begun = False

    def of(self, segment: Segment) -> str:
        """What a segment adds. Space at its end waits for more text, as the transcript has none at its end."""
        text = self._space + segment.text
        if not self._begun:
            text = text.lstrip()
        kept = text.rstrip()
        self._space = text[len(kept) :]
        self._begun = self._begun or bool(kept)
        return kept

    @property
    def begun(self) -> bool:
        """Whether there is text already."""
        return self._begun


def delta_event(
    delta: str, segment: Segment, token_bytes: TokenBytes | None = None, *, at_beginning: bool = True
) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "transcript.text.delta", "delta": delta}
    if token_bytes is not None:
        body["logprobs"] = logprobs([segment], token_bytes, at_beginning=at_beginning)
    return body | ({"segment_id": _id(segment)} if segment.speaker is not None else {})


def segment_event(segment: Segment) -> dict[str, Any]:
    """A segment that names its speaker, as an event and in `diarized_json`."""
    return {
        "type": "transcript.text.segment",
        "id": _id(segment),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text.strip(),
        "speaker": segment.speaker or "",
    }


def _id(segment: Segment) -> str:
    return f"seg_{segment.id + 1:03}"


def done_event(
    transcript: Transcript, warnings: Sequence[str] = (), token_bytes: TokenBytes | None = None
) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "transcript.text.done", "text": transcript.text}
    if token_bytes is not None:
        body["logprobs"] = logprobs(transcript, token_bytes)
    more = {"languages": languages(transcript), "duration": transcript.duration}
    return body | more | findings(transcript, warnings)
