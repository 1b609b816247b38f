"""OpenAI's API for speech: text read aloud by a voice that is named.

Nobody can give the server a recording to speak like. Every answer is marked as synthetic: in the tags of its container,
and in the header `x-mtasr-mark`, which `pcm` has alone.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from mtasr.audio.write import to_16_bits, write_sound
from mtasr.errors import MissingExtraError
from mtasr.server import openapi
from mtasr.server.live.json_input import read_json
from mtasr.server.live.realtime_settings import check_names
from mtasr.server.problems import Problem, bad_field, check_word, shown
from mtasr.server.service import Service
from mtasr.server.speech.voice_pool import VoicePool
from mtasr.server.transcribing import while_connected
from mtasr.server.upload import receive_body
from mtasr.speech.marking import new_mark
from mtasr.speech.voice import DEFAULT_VOICE, FASTEST, SLOWEST, Voice, voice_names

router = APIRouter(prefix="/v1", tags=["OpenAI"])

#: Format -> ending of a file, and the type of the answer. `pcm` is 16 bits at 24 kHz, little-endian, without a header.
_FORMATS = {
    "mp3": (".mp3", "audio/mpeg"),
    "opus": (".opus", "audio/ogg"),
    "aac": (".aac", "audio/aac"),
    "flac": (".flac", "audio/flac"),
    "wav": (".wav", "audio/wav"),
    "pcm": ("", "audio/pcm"),
}
#: OpenAI's names, which mean the default voice: programs written for its API name one of them.
_OPENAI_VOICES = frozenset(
    "alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()  # noqa: SIM905
)
_OPENAI_MODELS = frozenset({"tts-1", "tts-1-hd", "gpt-4o-mini-tts"})
_FIELDS = ("model", "input", "voice", "response_format", "speed", "instructions", "stream_format")
#: Characters of a text, as OpenAI has it, and bytes of a request.
_MOST_CHARACTERS, _MOST_BYTES = 4096, 1 << 16
_EXAMPLE = {"model": "kokoro", "input": "The train leaves at noon.", "voice": DEFAULT_VOICE, "response_format": "mp3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    text: str
    voice: str
    form: str
    speed: float


def _route() -> dict[str, Any]:
    problems = {status: openapi.RECEIVING[status] for status in (400, 404, 408, 413, 429, 503)}
    spoken = {"description": "The speech.", "content": {kind: {} for _, kind in _FORMATS.values()}}
    body = {"content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}}}
    return openapi.route({200: spoken, **problems}) | {"openapi_extra": {"requestBody": body}}


@router.post("/audio/speech", **_route())
async def speak(request: Request) -> Response:
    """Read English text aloud."""
    service = Service.of(request)
    with service.place(request):
        body = await receive_body(request, service.settings, _MOST_BYTES)
        wanted = _wanted(read_json(body, "the body") if body else {})
        data, mark = await while_connected(request, _spoken(service.voices, wanted))
    return Response(data, media_type=_FORMATS[wanted.form][1], headers={"x-mtasr-mark": mark})


async def _spoken(voices: VoicePool, wanted: _Wanted) -> tuple[bytes, str]:
    try:
        async with voices.use(wanted.voice) as voice:
            return await asyncio.to_thread(_written, voice, wanted)
    except MissingExtraError as error:
        raise Problem(
            503, "this server has no voices", code="no_voices", headers={"x-should-retry": "false"}
        ) from error


def _written(voice: Voice, wanted: _Wanted) -> tuple[bytes, str]:
    speech = voice.say(wanted.text, wanted.speed)
    if not len(speech.samples):
        raise bad_field("input", "input has no letters or digits that the voice can read")
    mark = new_mark(engine="text", voice=voice.name, source=wanted.text.encode())
    told = mark.dump().encode("ascii", "backslashreplace").decode()
    if wanted.form == "pcm":
        return to_16_bits(speech.samples).tobytes(), told
    ending = _FORMATS[wanted.form][0]
    with tempfile.TemporaryDirectory(prefix="mtasr-") as folder:
        target = Path(folder, f"speech{ending}")
        write_sound(speech.samples, speech.rate, target, ending, mark.tags)
        return target.read_bytes(), told


def _wanted(document: Any) -> _Wanted:
    """What a request asks for. Raises `Problem` 400."""
    if not isinstance(document, dict):
        raise Problem(400, "the body must be a JSON object", code="invalid_json")
    check_names("", document, _FIELDS)
    model, text = _word(document, "model", "kokoro"), document.get("input")
    if model not in _OPENAI_MODELS | {each.name for each in voice_names().values()}:
        raise bad_field("model", f"model must be kokoro or one of OpenAI's names, not {shown(model)}")
    if not isinstance(text, str) or not text.strip():
        raise bad_field("input", "input must be the text to read")
    if len(text) > _MOST_CHARACTERS:
        raise bad_field("input", f"input must have at most {_MOST_CHARACTERS} characters, not {len(text)}")
    if document.get("instructions"):
        raise bad_field("instructions", "instructions cannot be followed by these voices")
    check_word("stream_format", _word(document, "stream_format", "audio"), ("audio",))
    form = _word(document, "response_format", "mp3")
    check_word("response_format", form, tuple(_FORMATS))
    return _Wanted(text=text, voice=_voice(_word(document, "voice", DEFAULT_VOICE)), form=form, speed=_speed(document))


def _word(document: dict[str, Any], name: str, default: str) -> str:
    found = document.get(name)
    if found is None:
        return default
    if not isinstance(found, str):
        raise bad_field(name, f"{name} must be a string")
    return found


def _voice(name: str) -> str:
    if name in _OPENAI_VOICES:
        return DEFAULT_VOICE
    for each in name.split("+"):
        if each not in voice_names():
            raise bad_field("voice", f"there is no voice {shown(each)}; the voices are {', '.join(voice_names())}")
    return name


def _speed(document: dict[str, Any]) -> float:
    speed = document.get("speed")
    if speed is None:
        return 1.0
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not SLOWEST <= speed <= FASTEST:
        raise bad_field("speed", f"speed must be a number from {SLOWEST:g} to {FASTEST:g}")
    return float(speed)
