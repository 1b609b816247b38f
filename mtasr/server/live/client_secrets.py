"""Ephemeral keys for realtime transcription, as OpenAI's clients ask for them.

client.realtime.client_secrets.create(session=...)         -> {"value": "ek_...", "expires_at": ..., "session": {...}}
client.beta.realtime.transcription_sessions.create(...)    -> {..., "client_secret": {"value": ..., "expires_at": ...}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from mtasr.server import openapi
from mtasr.server.live.json_input import read_json
from mtasr.server.live.realtime_settings import (
    check_names,
    check_object,
    default_settings,
    one_word,
    session_name,
)
from mtasr.server.problems import Problem, bad_field
from mtasr.server.service import Service
from mtasr.server.upload import receive_body

router = APIRouter(prefix="/v1/realtime", tags=["OpenAI"])

#: Seconds until a key expires: without a wish, at least, and at most.
_USUAL, _LEAST, _MOST = 600, 10, 7200
#: The beta has a minute without a wish.
_USUAL_BETA = 60
#: Bytes of a request.
_MOST_BYTES = 1 << 14

_SESSION = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}}}}
_BETA_SESSION = {"input_audio_transcription": {"model": "whisper-1", "language": "en"}}
_SECRET = {"value": "ek_0123456789abcdefghijklmnopqrstuv", "expires_at": 1_700_000_600}


def _route(description: str, asked: Mapping[str, Any], answered: Mapping[str, Any]) -> dict[str, Any]:
    problems = {status: openapi.RECEIVING[status] for status in (400, 404, 408, 413, 429, 503)}
    answers = {200: openapi.answer(description, application_json=answered), **problems}
    body = {"content": {"application/json": {"schema": {"type": "object"}, "example": asked}}}
    return openapi.route(answers) | {"openapi_extra": {"requestBody": body}}


@router.post(
    "/client_secrets",
    **_route(
        "The key, and what sessions have that are opened with it.",
        {"expires_after": {"anchor": "created_at", "seconds": 600}, "session": _SESSION},
        {**_SECRET, "session": default_settings().updated(_SESSION, beta=False).shown("sess_0123", beta=False)},
    ),
)
async def create_client_secret(request: Request) -> JSONResponse:
    """Make a key for a browser: until it expires it opens live sessions, and is good for nothing else."""
    service = Service.of(request)
    with service.place(request):
        document = await _document(request, service)
        check_names("", document, ("expires_after", "session"))
        seconds = _seconds("expires_after", document.get("expires_after"), _USUAL)
        settings = default_settings()
        if document.get("session") is not None:
            settings = settings.updated(document["session"], beta=False)
        await service.live.check(settings.wanted())
    with service.ephemeral_keys.issue(request.state.client, seconds, settings.packed()) as (value, key):
        session = settings.shown(session_name(), beta=False)
        return JSONResponse({"value": value, "expires_at": key.expires_at, "session": session})


@router.post(
    "/transcription_sessions",
    **_route(
        "What sessions have that are opened with the key, and the key.",
        _BETA_SESSION,
        default_settings().updated(_BETA_SESSION, beta=True).shown("sess_0123", beta=True) | {"client_secret": _SECRET},
    ),
)
async def create_transcription_session(request: Request) -> JSONResponse:
    """Make a key for a browser, as the beta of OpenAI's API has it."""
    service = Service.of(request)
    with service.place(request):
        document = await _document(request, service)
        wish = document.get("client_secret")
        check_object("client_secret", {} if wish is None else wish)
        check_names("client_secret", wish or {}, ("expires_at",))
        seconds = _seconds("client_secret.expires_at", (wish or {}).get("expires_at"), _USUAL_BETA)
        settings = default_settings().updated(document, beta=True)
        await service.live.check(settings.wanted())
    with service.ephemeral_keys.issue(request.state.client, seconds, settings.packed()) as (value, key):
        secret = {"value": value, "expires_at": key.expires_at}
        return JSONResponse(settings.shown(session_name(), beta=True) | {"client_secret": secret})


async def _document(request: Request, service: Service) -> dict[str, Any]:
    """The object in the body, empty without one. Raises `Problem`."""
    body = await receive_body(request, service.settings, _MOST_BYTES)
    document = read_json(body, "the body") if body else {}
    if not isinstance(document, dict):
        raise Problem(400, "the body must be a JSON object", code="invalid_json")
    return document


def _seconds(name: str, wish: Any, usual: int) -> int:
    """Seconds until a key expires."""
    if wish is None:
        return usual
    check_object(name, wish)
    check_names(name, wish, ("anchor", "seconds"))
    one_word(f"{name}.anchor", wish.get("anchor", "created_at"), ("created_at",))
    seconds = wish.get("seconds", usual)
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not _LEAST <= seconds <= _MOST:
        raise bad_field(f"{name}.seconds", f"seconds must be a whole number from {_LEAST} to {_MOST}")
    return seconds
