"""/v1/render: a transcript as JSON in, any output format out. So a page can correct a transcript and save it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from mtasr.errors import InputError
from mtasr.formats import transcript_json
from mtasr.formats.registry import OUTPUT_FORMATS, render
from mtasr.server import openapi
from mtasr.server.openai_api import media_type
from mtasr.server.openai_fields import WRITTEN
from mtasr.server.problems import Problem, check_word
from mtasr.server.service import Service
from mtasr.server.transcribing import while_connected
from mtasr.server.upload import receive_body
from mtasr.subtitles import STYLES, lay_out

router = APIRouter(tags=["Transcripts"])

#: Transcripts written at a time: the layout of many hours takes seconds of computing.
_AT_ONCE = 2

_BODY = {
    "required": True,
    "content": {"application/json": {"schema": {"type": "object"}, "example": openapi.EXAMPLE.to_dict()}},
}
_ANSWERS: openapi.Answers = {
    200: openapi.answer("The transcript.", text_plain=openapi.EXAMPLE.to_txt(), text_vtt=openapi.EXAMPLE.to_vtt()),
    **{status: openapi.RECEIVING[status] for status in (400, 408, 413, 415, 429, 503)},
}


class Renderer:
    """Writes transcripts in threads, a few at a time."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def text(
        self, document: bytes, output_format: str, style: str, *, highlight_words: bool, cues: bool, recording: str
    ) -> bytes:
        """The transcript of a JSON document in another format. Raises `InputError`."""
        async with self._places:
            return await asyncio.to_thread(_text, document, output_format, style, highlight_words, cues, recording)


def _text(document: bytes, output_format: str, style: str, highlight_words: bool, cues: bool, recording: str) -> bytes:
    transcript = transcript_json.loads(document, "the request")
    layout = STYLES[style]
    if cues and layout is not None:
        transcript, style = lay_out(transcript, layout).transcript, "raw"
    text = render(transcript, output_format, subtitle_style=style, highlight_words=highlight_words, recording=recording)
    return text.encode("utf-8", "backslashreplace")


@router.post("/v1/render", **(openapi.route(_ANSWERS) | {"openapi_extra": {"requestBody": _BODY}}))
async def render_transcript(
    request: Request,
    output_format: Annotated[str, Query(alias="format", description="The output format.")],
    subtitle_style: Annotated[str, Query(description="The layout of subtitles.")] = "web",
    highlight_words: Annotated[bool, Query(description="Underline the spoken word, in SRT and VTT.")] = False,
    recording: Annotated[str, Query(description="The name of the recording, in RTTM.")] = "",
    cues: Annotated[
        bool, Query(description="Lay subtitles out in every format: JSON then has a segment per cue.")
    ] = False,
) -> Response:
    """Write a transcript, as the format json has it, in another format."""
    output_format = WRITTEN.get(output_format, output_format)
    check_word("format", output_format, OUTPUT_FORMATS)
    check_word("subtitle_style", subtitle_style, STYLES)
    service = Service.of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send the transcript as application/json", code="unsupported_media_type")
    renderer: Renderer = request.app.state.renderer
    with service.place(request):
        document = await receive_body(request, service.settings, service.settings.transcript_bytes)
        writing = renderer.text(
            document, output_format, subtitle_style, highlight_words=highlight_words, cues=cues, recording=recording
        )
        try:
            text = await while_connected(request, writing)
        except InputError as error:
            raise Problem(400, str(error), code="invalid_transcript") from error
    return Response(text, media_type=media_type(output_format))
