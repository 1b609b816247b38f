"""OpenAI's audio API: transcriptions, translations and models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from mtasr.formats.registry import render
from mtasr.options import Task
from mtasr.server import openai_shapes as shapes
from mtasr.server import openapi
from mtasr.server.events import EventResponse, event
from mtasr.server.openai_fields import (
    KNOWN_SPEAKER_FIELDS,
    TRANSCRIPTION_FIELDS,
    TRANSLATION_FIELDS,
    WRITTEN,
    Wanted,
    read_wanted,
)
from mtasr.server.problems import incomplete
from mtasr.server.service import Service
from mtasr.server.transcribing import LiveTranscription, while_connected
from mtasr.server.upload import Upload
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Transcript

router = APIRouter(prefix="/v1", tags=["OpenAI"])

#: Types of text that browsers and players know; others are plain text.
_MEDIA_TYPES = {
    "vtt": "text/vtt",
    "csv": "text/csv",
    "md": "text/markdown",
    "tsv": "text/tab-separated-values",
    "ttml": "application/ttml+xml",
}

#: Seconds to wait for the first event before the answer begins.
_FIRST_EVENT = 10.0
#: Stretches that a header names.
_NAMED = 20


@router.post(
    "/audio/transcriptions",
    **openapi.form_route((*TRANSCRIPTION_FIELDS, *KNOWN_SPEAKER_FIELDS), openapi.TRANSCRIPTION_ANSWERS),
)
async def transcribe(request: Request) -> Response:
    """Turn speech into text."""
    return await _answer(request, "transcribe")


@router.post("/audio/translations", **openapi.form_route(TRANSLATION_FIELDS, openapi.TRANSLATION_ANSWERS))
async def translate(request: Request) -> Response:
    """Turn speech into English text."""
    return await _answer(request, "translate")


async def _answer(request: Request, task: Task) -> Response:
    service = Service.of(request)
    async with contextlib.AsyncExitStack() as held:
        upload = await held.enter_async_context(service.received(request, references=task == "transcribe"))
        wanted = read_wanted(upload.fields, task)
        opening = service.transcriber.transcribing(
            upload,
            wanted.options,
            client=request.state.client,
            model=wanted.model,
            tracks=wanted.tracks,
            speakers=await _speakers(request, upload, wanted),
        )
        live = await while_connected(request, held.enter_async_context(opening))
        if wanted.stream:
            events = _events(live, wanted)
            return EventResponse(await _begun(request, events), held.pop_all())
        transcript = await while_connected(request, live.transcript())
        _judge(transcript, wanted, live)
        # In a thread: laying out the subtitles of hours takes seconds.
        return await asyncio.to_thread(_shaped, transcript, wanted, live)


async def _speakers(request: Request, upload: Upload, wanted: Wanted) -> SpeakerOptions | None:
    """How speakers are told apart, with the voices that came with the request. Raises `Problem` 400."""
    making = Service.of(request).known_speakers.folder(upload, wanted.known_names)
    voices = await while_connected(request, making)
    if voices is None or wanted.speakers is None:
        return wanted.speakers
    return replace(wanted.speakers, voices=voices)


def _judge(transcript: Transcript, wanted: Wanted, live: LiveTranscription) -> None:
    """Raise `Problem` for a doubtful transcript, if the request is strict. The problem has all of the transcript."""
    if not wanted.strict or transcript.coverage is None or transcript.coverage.complete:
        return
    raise incomplete({"transcript": shapes.to_json(transcript, live.warnings)})


def _shaped(transcript: Transcript, wanted: Wanted, live: LiveTranscription) -> Response:
    headers = _headers(transcript)
    form = wanted.response_format
    if form in WRITTEN:
        text = render(
            transcript,
            WRITTEN[form],
            subtitle_style=wanted.subtitle_style,
            highlight_words=wanted.highlight_words,
            recording=Path(live.name).stem,
        )
        return Response(text.encode("utf-8", "backslashreplace"), media_type=media_type(WRITTEN[form]), headers=headers)
    if form == "verbose_json":
        body = shapes.to_verbose_json(transcript, wanted.options.task, wanted.granularities, live.warnings)
    elif form == "diarized_json":
        body = shapes.to_diarized_json(transcript, live.warnings)
    else:
        body = shapes.to_json(transcript, live.warnings, live.token_bytes if wanted.logprobs else None)
    return JSONResponse(body, headers=headers)


def media_type(name: str) -> str:
    """The media type of an output format."""
    return f"{_MEDIA_TYPES.get(name, 'text/plain')}; charset=utf-8"


def _headers(transcript: Transcript) -> dict[str, str]:
    """What texts have no field for: the speech that has no text, in seconds."""
    missing = transcript.coverage.speech_without_text if transcript.coverage is not None else ()
    shown = ", ".join(f"{start:.2f}-{end:.2f}" for start, end in missing[:_NAMED])
    return {"x-speech-without-text": shown} if shown else {}


async def _events(live: LiveTranscription, wanted: Wanted) -> AsyncIterator[bytes]:
    """The events of a recording: deltas that add up to its text, and the whole."""
    deltas = shapes.Deltas()
    token_bytes = live.token_bytes if wanted.logprobs else None
    async for segment in live:
        at_beginning = not deltas.begun
        if delta := deltas.of(segment):
            yield event(shapes.delta_event(delta, segment, token_bytes, at_beginning=at_beginning))
        if wanted.response_format == "diarized_json":
            yield event(shapes.segment_event(segment))
    transcript = await live.transcript()
    _judge(transcript, wanted, live)
    yield event(shapes.done_event(transcript, live.warnings, token_bytes))


async def _begun(request: Request, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events, once there is one: what is wrong with the recording shows before it, and has a status then.

    An answer whose first event takes longer begins without: proxies want to see something. Speakers come at the end.
    """
    first = asyncio.ensure_future(anext(events))
    try:
        await while_connected(request, asyncio.wait({first}, timeout=_FIRST_EVENT))
        if first.done():
            first.result()
    except BaseException:
        first.cancel()
        raise

    async def all_events() -> AsyncIterator[bytes]:
        try:
            yield await first
        finally:
            first.cancel()
        async for each in events:
            yield each

    return all_events()


# --- models ----------------------------------------------------------------------------------------------------------


@router.get("/models", **openapi.route(openapi.MODELS_ANSWERS))
async def models(request: Request) -> Response:
    """The models that requests may name, the default first."""
    pool = Service.of(request).pool
    described = await asyncio.to_thread(lambda: [pool.described(name) for name in pool.names()])
    return JSONResponse({"object": "list", "data": described})


@router.get("/models/{name:path}", **openapi.route(openapi.MODEL_ANSWERS))
async def model(request: Request, name: str) -> Response:
    """One model; OpenAI's names mean the default."""
    pool = Service.of(request).pool
    return JSONResponse(await asyncio.to_thread(lambda: pool.described(pool.find(name))))
