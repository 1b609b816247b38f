"""whisper-asr-webservice's `/asr` and `/detect-language`, which Bazarr and others call.

The shapes are those of github.com/ahmetoner/whisper-asr-webservice, `app/webservice.py`, and the requests those of
Bazarr's provider `whisperai`. Options come in the query, and the recording in the form field `audio_file`. As in that
server, parameters that it does not know are ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from mtasr import __version__
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.server import openapi
from mtasr.server.forms import SPEAKER_FIELDS, TEXT, TRUTH, FormField, decoding_options, one_of, read_form, speakers_of
from mtasr.server.problems import Problem
from mtasr.server.protocols import pcm
from mtasr.server.service import Service
from mtasr.server.upload import Upload
from mtasr.tokenizer.languages import LANGUAGES

router = APIRouter(tags=["whisper-asr-webservice"])

_FILE_FIELDS = ("audio_file",)
#: Of files without a header: `encode=false`.
_SAMPLES = pcm.SampleFormat(rate=16_000, width=2, channels=1)

#: Its outputs, and the format that each is. Its documentation calls the first one `text`, its code `txt`.
_OUTPUTS = {"txt": "txt", "text": "txt", "vtt": "vtt", "srt": "srt", "tsv": "tsv", "json": "json"}

_ENCODE = FormField("encode", TRUTH, "false: the file is samples without a header, of 16 bits at 16 kHz, mono.")
_ASR_FIELDS = (
    _ENCODE,
    FormField("task", one_of("transcribe", "translate"), "translate: answer in English.", example="transcribe"),
    FormField("language", TEXT, "The language spoken; detected by default.", example="en"),
    FormField("initial_prompt", TEXT, "Text before the recording: names, spelling, style."),
    FormField("vad_filter", TRUTH, "false: decode what is not speech, too."),
    FormField("word_timestamps", TRUTH, "Give the times of words, in JSON."),
    *(each for each in SPEAKER_FIELDS if each.name != "num_speakers"),
    FormField("output", one_of(*_OUTPUTS), "The form of the answer.", example="srt"),
)


def _route(fields: Iterable[FormField], answered: Mapping[str, Any]) -> dict[str, Any]:
    answers = {**openapi.TRANSCRIPTION_ANSWERS, 200: answered}
    route = openapi.form_route((), answers, file_fields=_FILE_FIELDS)
    described = [{"name": each.name, "in": "query", "schema": each.schema} for each in fields]
    return route | {"openapi_extra": {**route["openapi_extra"], "parameters": described}}


_TRANSCRIPT = openapi.answer("The transcript.", text_plain="1\n00:00:00,100 --> 00:00:01,600\nThe train leaves.\n\n")
_LANGUAGE = {"detected_language": "english", "language_code": "en", "confidence": 0.98}


@router.post("/asr", **_route(_ASR_FIELDS, _TRANSCRIPT))
async def asr(request: Request) -> Response:
    """Turn speech into text."""
    service = Service.of(request)
    values = _query(request, _ASR_FIELDS)
    output = _OUTPUTS[values.get("output", "txt")]
    task = values.get("task", "transcribe")
    subtitled = OUTPUT_FORMATS[output].is_subtitle and task == "transcribe"
    options = decoding_options(values, word_timestamps=subtitled or values.get("word_timestamps", False))
    # Clients that send all fields say diarize=false, and numbers that nothing comes of.
    speakers = None if values.get("diarize") is False else speakers_of(values, diarize="diarize" in values)[0]
    async with _received(request, values) as upload:
        transcript, _ = await service.transcriber.transcript(request, upload, options, speakers=speakers)
    headers = {
        "asr-engine": "mtasr",
        "content-disposition": f'attachment; filename="{quote(upload.name)}.{output}"',
    }
    text = await asyncio.to_thread(transcript.to_format, output)
    return Response(text.encode("utf-8", "backslashreplace"), media_type="text/plain; charset=utf-8", headers=headers)


@router.post("/detect-language", **_route((_ENCODE,), openapi.answer("The language.", application_json=_LANGUAGE)))
async def detect_language(request: Request) -> Response:
    """Tell the language spoken."""
    async with _received(request, _query(request, (_ENCODE,))) as upload:
        guesses = await Service.of(request).transcriber.languages(request, upload)
    if not guesses:
        raise Problem(400, f"{upload.name}: has no sound", code="invalid_audio", param=_FILE_FIELDS[0])
    code, probability = guesses[0].code, guesses[0].probability
    return JSONResponse(
        {"detected_language": LANGUAGES[code], "language_code": code, "confidence": round(probability, 6)}
    )


@router.get("/status", **openapi.route({200: openapi.answer("The version.", application_json={"version": "mtasr"})}))
async def status(request: Request) -> Response:
    """Tell the version, for which Bazarr asks when a user tests the connection."""
    return JSONResponse({"version": f"mtasr {__version__}"})


def _query(request: Request, fields: Iterable[FormField]) -> dict[str, Any]:
    known = {each.name for each in fields}
    query = request.query_params
    return read_form({name: query.getlist(name) for name in query if name in known}, fields)


@contextlib.asynccontextmanager
async def _received(request: Request, values: Mapping[str, Any]) -> AsyncIterator[Upload]:
    """The recording of a request: samples without a header get one."""
    bare = not values.get("encode", True)
    head = _SAMPLES.header() if bare else b""
    async with Service.of(request).received(request, file_fields=_FILE_FIELDS, head=head) as upload:
        if bare:
            await asyncio.to_thread(pcm.complete, upload.path, _SAMPLES)
        yield upload
