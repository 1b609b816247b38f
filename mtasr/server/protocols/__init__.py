"""What other Whisper servers speak, for the programs that are written for them: a file for each protocol.

A protocol reads its fields and shapes its answer. All that happens in between is the same for every protocol.
"""

from __future__ import annotations

from fastapi import APIRouter

from mtasr.server.protocols import asr_webservice, whisper_cpp

#: The protocols over HTTP.
ROUTERS: tuple[APIRouter, ...] = (asr_webservice.router, whisper_cpp.router)
