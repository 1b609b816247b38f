"""whisper.cpp's `/inference`.

The shapes are those of github.com/ggml-org/whisper.cpp, `examples/server/server.cpp`. That server ignores fields that
it does not know, and so are here those that mtasr has nothing for. Without `language` it expects English; here the
language is detected. Voice activity detection is used unless `vad` is given and false.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from mtasr.engines.engine import LanguageGuess
from mtasr.formats import transcript_json
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.options import FALLBACK_TEMPERATURES, DecodingOptions, temperatures
from mtasr.server import openapi
from mtasr.server.forms import NUMBER, OPTION_FIELDS, TEXT, FormField, Kind, decoding_options, one_of, read_form, whole
from mtasr.server.openai_shapes import language_name
from mtasr.server.problems import Problem, bad_field
from mtasr.server.service import Service
from mtasr.transcript import Transcript

router = APIRouter(tags=["whisper.cpp"])

#: Its names of the formats that mtasr writes, and their media types.
_WRITTEN = {
    "text": ("txt", "text/plain; charset=utf-8"),
    "srt": ("srt", "application/x-subrip; charset=utf-8"),
    "vtt": ("vtt", "text/vtt; charset=utf-8"),
}

#: True is one of these words, and everything else is false.
_FLAG = Kind(lambda text: text in ("true", "1", "yes", "y"), "true or false", {"type": "boolean"})

#: A recording may be decoded once for each temperature up to 1.
_LEAST_STEP = 0.1

_KINDS = {each.name: each.kind for each in OPTION_FIELDS}

FIELDS = (
    FormField("response_format", one_of("json", "verbose_json", *_WRITTEN), "The form of the answer.", example="json"),
    FormField("language", TEXT, "The language spoken, or `auto` to detect it, which is the default.", example="en"),
    FormField("detect_language", _FLAG, "Only detect the language."),
    FormField("translate", _FLAG, "Answer in English."),
    FormField("prompt", TEXT, "Text before the recording: names, spelling, style."),
    FormField("temperature", NUMBER, "The temperature of the first try.", example=0.0),
    FormField("temperature_inc", NUMBER, "By how much further tries are hotter; 0: no further ones.", example=0.2),
    FormField("offset_t", whole(), "Where to begin, in milliseconds."),
    FormField("duration", whole(), "How much to transcribe, in milliseconds; 0: all."),
    FormField("beam_size", _KINDS["beam_size"], "The width of the beam; -1: the default."),
    FormField("best_of", _KINDS["best_of"], "Samples at temperatures above 0."),
    FormField("logprob_thold", NUMBER, "The lowest mean log-probability of good text."),
    FormField("no_speech_thold", NUMBER, "The no-speech probability of silence."),
    FormField("no_timestamps", _FLAG, "Decode without times."),
    FormField("token_timestamps", _FLAG, "false: no times of words in verbose_json."),
    FormField("vad", _FLAG, "false: decode what is not speech, too."),
    FormField("vad_threshold", NUMBER, "The least probability at which sound counts as speech."),
    FormField("no_language_probabilities", _FLAG, "Leave out how probable the language is."),
)

#: Its names of options of decoding.
_OPTIONS = {
    "prompt": "initial_prompt",
    "logprob_thold": "logprob_threshold",
    "no_speech_thold": "no_speech_threshold",
    "no_timestamps": "without_timestamps",
    "vad": "vad_filter",
    "vad_threshold": "vad_threshold",
}

#: What segments have in its JSON and in ours.
_SEGMENT = ("id", "text", "start", "end", "tokens", "temperature", "avg_logprob", "no_speech_prob")

_SHOWN = openapi.answer(
    "The transcript, in the form that response_format asks for.",
    application_json={"text": "The train leaves.\n"},
    text_plain="The train leaves.\n",
    text_vtt="WEBVTT\n\n00:00.100 --> 00:01.600\nThe train leaves.\n\n",
    application_x_subrip="1\n00:00:00,100 --> 00:00:01,600\nThe train leaves.\n\n",
)
_ANSWERS = {**openapi.TRANSCRIPTION_ANSWERS, 200: _SHOWN}


@router.post("/inference", **openapi.form_route(FIELDS, _ANSWERS))
async def inference(request: Request) -> Response:
    """Turn speech into text."""
    service = Service.of(request)
    async with service.received(request) as upload:
        known = {each.name for each in FIELDS}
        values = read_form({name: given for name, given in upload.fields.items() if name in known}, FIELDS)
        if values.get("detect_language", False):
            guesses = await service.transcriber.languages(request, upload)
            if not guesses:
                raise Problem(400, f"{upload.name}: has no sound", code="invalid_audio", param="file")
            return _answer(values, to_language(guesses), "")
        options = _options(values)
        transcript, _ = await service.transcriber.transcript(request, upload, options)
    form = values.get("response_format", "json")
    if form in _WRITTEN:
        return _answer(values, {}, await asyncio.to_thread(transcript.to_format, _WRITTEN[form][0]))
    if form == "json":
        return _answer(values, {"text": transcript.to_txt()}, "")
    probable = not values.get("no_language_probabilities", False)
    return _answer(values, to_verbose_json(transcript, options, with_probabilities=probable), "")


def _answer(values: Mapping[str, Any], document: Mapping[str, Any], text: str) -> Response:
    form = values.get("response_format", "json")
    if form in _WRITTEN:
        return Response(text.encode("utf-8", "backslashreplace"), media_type=_WRITTEN[form][1])
    return JSONResponse(document)


def _options(values: Mapping[str, Any]) -> DecodingOptions:
    given = {ours: values[theirs] for theirs, ours in _OPTIONS.items() if theirs in values}
    # -1 and 0 stand for the defaults of these.
    given |= {name: values[name] for name in ("beam_size", "best_of") if values.get(name, 0) > 0}
    if values.get("language", "auto") != "auto":
        given["language"] = values["language"]
    start, length = values.get("offset_t", 0) / 1000, values.get("duration", 0) / 1000
    if start or length:
        given["clip_timestamps"] = (start, start + length) if length else (start,)
    task = "translate" if values.get("translate", False) else "transcribe"
    form = values.get("response_format", "json")
    subtitled = form in _WRITTEN and OUTPUT_FORMATS[_WRITTEN[form][0]].is_subtitle and task == "transcribe"
    timed = form == "verbose_json" and values.get("token_timestamps", True)
    return decoding_options(
        given,
        task=task,
        temperature=_temperatures(values),
        word_timestamps=(subtitled or timed) and not values.get("no_timestamps", False),
    )


def _temperatures(values: Mapping[str, Any]) -> tuple[float, ...]:
    first = values.get("temperature", FALLBACK_TEMPERATURES[0])
    step = values.get("temperature_inc", FALLBACK_TEMPERATURES[1])
    if not 0 <= first <= 2:
        raise bad_field("temperature", f"temperature must be between 0 and 2, not {first:g}")
    if step and step < _LEAST_STEP:
        raise bad_field("temperature_inc", f"temperature_inc must be 0 or at least {_LEAST_STEP:g}, not {step:g}")
    return temperatures(first, step or None)


# --- the shapes of answers ------------------------------------------------------------------------------------------


def to_language(guesses: Sequence[LanguageGuess]) -> dict[str, Any]:
    """The answer to `detect_language`: no text, and the language."""
    return {
        "text": "",
        "language": language_name(guesses[0].code),
        "segments": [],
        **_probabilities({guess.code: guess.probability for guess in guesses}),
    }


def to_verbose_json(transcript: Transcript, options: DecodingOptions, *, with_probabilities: bool) -> dict[str, Any]:
    """`response_format=verbose_json`. Of the languages it has the one that was found, and words in place of tokens."""
    document, code = transcript_json.to_dict(transcript), transcript.language
    probabilities = _probabilities({code: transcript.language_probability}) if with_probabilities else {}
    return {
        "task": options.task,
        "language": language_name(code),
        "duration": document["duration"],
        "text": transcript.to_txt(),
        "segments": [_segment(each, timed=not options.without_timestamps) for each in document["segments"]],
        **probabilities,
    }


def _probabilities(found: Mapping[str, float]) -> dict[str, Any]:
    """How probable the languages are, the first one being that of the answer."""
    first = next(iter(found))
    return {
        "detected_language": language_name(first),
        "detected_language_probability": round(found[first], 6),
        "language_probabilities": {code: round(each, 6) for code, each in found.items() if each > 0.001},
    }


def _segment(document: Mapping[str, Any], *, timed: bool) -> dict[str, Any]:
    """A segment of our JSON in whisper.cpp's."""
    segment = {name: document[name] for name in _SEGMENT if timed or name not in ("start", "end")}
    if "words" in document:
        segment["words"] = [{**word, "t_dtw": -1} for word in document["words"]]
    return segment
