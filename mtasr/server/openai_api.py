"""OpenAI's audio API: transcriptions, translations and models."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from mtasr.audio.tracks import Tracks
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.options import FALLBACK_TEMPERATURES, DecodingOptions, temperatures
from mtasr.server import openai_shapes as shapes
from mtasr.server.events import EventResponse, event
from mtasr.server.forms import NUMBER, OPTION_FIELDS, TEXT, TRUTH, FormField, decoding_options, one_of, read_form
from mtasr.server.problems import bad_field
from mtasr.server.service import Service
from mtasr.server.transcribing import LiveTranscription, while_connected
from mtasr.server.upload import Upload, receive
from mtasr.transcript import Transcript

router = APIRouter()

_WRITTEN = {"text": "txt", "srt": "srt", "vtt": "vtt"}
_JSON = ("json", "verbose_json")

_COMMON = (
    FormField("model", TEXT, "The model. OpenAI's names mean the default.", example="whisper-1"),
    FormField("prompt", TEXT, "Text before the recording: names, spelling, style.", aliases=("initial_prompt",)),
    FormField("response_format", one_of(*_JSON, *_WRITTEN), "The form of the answer.", example="json"),
    FormField("temperature", NUMBER, "0 tries higher ones where the text fails its checks.", example=0),
    *(each for each in OPTION_FIELDS if each.name != "initial_prompt"),
)
TRANSCRIPTION_FIELDS = (
    *_COMMON,
    FormField("languages", TEXT, "Languages to choose from.", repeated=True, example=["en", "fr"]),
    FormField("stream", TRUTH, "Answer with events as text comes."),
    FormField("timestamp_granularities", one_of("word", "segment"), "With verbose_json.", repeated=True),
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a request asks for."""

    model: str | None
    options: DecodingOptions
    response_format: str
    granularities: tuple[str, ...]
    stream: bool
    tracks: Tracks


@router.post("/v1/audio/transcriptions")
async def transcriptions(request: Request) -> Response:
    return await _answer(request, "transcribe")


async def _answer(request: Request, task: str) -> Response:
    service = Service.of(request)
    async with contextlib.AsyncExitStack() as held:
        client = request.state.client
        held.enter_context(service.admission.place(client))
        upload = held.enter_context(await receive(request, service.settings, service.incoming))
        wanted = _read(upload, task)
        opening = service.transcriber.transcribing(
            upload, wanted.options, client=client, model=wanted.model, tracks=wanted.tracks
        )
        live = await while_connected(request, held.enter_async_context(opening))
        if wanted.stream:
            events = _events(live)
            first = await while_connected(request, anext(events))  # What is wrong with the recording shows before it.
            return EventResponse(_after(first, events), held.pop_all())
        transcript = await while_connected(request, live.transcript())
        return _shaped(transcript, wanted, live)


def _read(upload: Upload, task: str) -> _Wanted:
    values = read_form(upload.fields, TRANSCRIPTION_FIELDS)
    form = values.get("response_format", "json")
    granularities = values.get("timestamp_granularities", ())
    if granularities and form != "verbose_json":
        raise bad_field("timestamp_granularities", "timestamp_granularities needs response_format verbose_json")
    subtitled = form in _WRITTEN and OUTPUT_FORMATS[_WRITTEN[form]].is_subtitle
    options = decoding_options(
        values,
        task=task,
        temperature=temperatures(values.get("temperature", 0.0), FALLBACK_TEMPERATURES[1]),
        initial_prompt=values.get("prompt"),
        word_timestamps="word" in granularities or (subtitled and task == "transcribe"),
    )
    return _Wanted(values.get("model"), options, form, granularities, values.get("stream", False), Tracks())


def _shaped(transcript: Transcript, wanted: _Wanted, live: LiveTranscription) -> Response:
    if wanted.response_format == "json":
        return JSONResponse(shapes.to_json(transcript, live.warnings))
    if wanted.response_format == "verbose_json":
        task = wanted.options.task
        return JSONResponse(shapes.to_verbose_json(transcript, task, wanted.granularities, live.warnings))
    return PlainTextResponse(transcript.to_format(_WRITTEN[wanted.response_format]))


async def _events(live: LiveTranscription) -> AsyncIterator[bytes]:
    deltas = shapes.Deltas()
    async for segment in live:
        if delta := deltas.of(segment):
            yield event(shapes.delta_event(delta))
    transcript = await live.transcript()
    yield event(shapes.done_event(transcript, live.warnings))


async def _after(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for each in rest:
        yield each
