"""Whether the server works: it decodes a short clip."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from mtasr.checkpoints.parity_clip import CLIP
from mtasr.options import DecodingOptions
from mtasr.server.problems import Problem, answer, stopping
from mtasr.server.service import Service
from mtasr.transcribe import Model

router = APIRouter()

#: Seconds for which the answer is not looked for anew: whoever asks often costs no more.
_FRESH = 5.0
#: Seconds after which the server counts as stuck.
_STUCK = 20.0
#: Before all recordings.
_PRIORITY = 9
#: The cheapest way to decode.
_OPTIONS = DecodingOptions(language="en", beam_size=1, temperature=(0.0,))


class Health:
    """Decodes the clip with the default model, at most every few seconds, however many ask."""

    def __init__(self) -> None:
        self._checking: asyncio.Task[Mapping[str, Any]] | None = None
        self._checked = 0.0

    async def of(self, service: Service) -> Mapping[str, Any]:
        """What the check found. Raises `Problem` 503 if decoding fails or takes too long."""
        if self._checking is None or (self._checking.done() and time.monotonic() - self._checked > _FRESH):
            self._checking = asyncio.create_task(self._check(service))
        try:
            return await asyncio.wait_for(asyncio.shield(self._checking), _STUCK)
        except TimeoutError:
            raise Problem(503, f"a short clip was not decoded within {_STUCK:g} s", code="stuck") from None

    async def _check(self, service: Service) -> Mapping[str, Any]:
        name = service.pool.default
        try:
            with service.pool.glimpse(name) as model:
                live = service.admission.live.total()
                if model is None:  # It would be loaded for every check, and never leave memory.
                    return {"status": "ok", "model": name, "loaded": False, "live_sessions": live}
                began = time.monotonic()
                await asyncio.to_thread(_decode, model)
                seconds = round(time.monotonic() - began, 3)
                return {"status": "ok", "model": name, "loaded": True, "seconds": seconds, "live_sessions": live}
        finally:
            self._checked = time.monotonic()


def _decode(model: Model) -> None:
    with model.stream_all([CLIP], _OPTIONS, priority=_PRIORITY) as streams, streams[0] as stream:
        stream.transcript()


@router.get("/health")
async def health(request: Request) -> Response:
    """Whether the server can decode and takes requests: 200, or 503 with the reason in the log."""
    try:
        if Service.of(request).stopping.is_set():  # so that a proxy sends requests elsewhere
            raise stopping()
        return JSONResponse(dict(await request.app.state.health.of(Service.of(request))))
    except Exception as error:
        problem = answer(error)
        problem.status_code = 503
        return problem
