"""What other Whisper servers speak, for the programs that are written for them: a file for each protocol.

A protocol reads its fields and shapes its answer. All that happens in between is the same for every protocol.
"""

from __future__ import annotations

import contextlib

from fastapi import APIRouter

from mtasr.server.protocols import asr_webservice, whisper_cpp
from mtasr.server.service import Service

#: The protocols over HTTP.
ROUTERS: tuple[APIRouter, ...] = (asr_webservice.router, whisper_cpp.router)


def listening(service: Service) -> contextlib.AbstractAsyncContextManager[None]:
    """Speak the protocols that are not over HTTP, at the addresses in the settings. Raises `UsageError` as they do."""
    address = service.settings.wyoming_address
    if address is None:
        return contextlib.nullcontext()
    from mtasr.server.protocols import wyoming  # its package takes a while to load

    return wyoming.listening(service, *address)
