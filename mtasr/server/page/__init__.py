"""The page at `/`: to transcribe, to listen, to correct, to download. Its files are package data.

The files need no key: they are the same for everyone. What they ask the server for does.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from mtasr import __version__
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.subtitles import STYLES
from mtasr.tokenizer.languages import LANGUAGES
from mtasr.view import LEVELS, asset

router = APIRouter(include_in_schema=False)

#: Nothing but the page's own files runs, and nobody else's page may show it. Recordings are played from the browser.
_POLICY = (
    "default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Browsers ask each time whether a file is still the same, so that a new version is one as a whole.
    "cache-control": "no-cache",
}
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}

#: What people use the output formats for.
_USES = {
    "txt": "plain text",
    "srt": "subtitles for almost every player",
    "vtt": "subtitles for web pages",
    "ass": "styled subtitles",
    "lrc": "lyrics",
    "ttml": "subtitles for broadcasters",
    "tsv": "table with tabs",
    "csv": "table for spreadsheets",
    "md": "text with times, for notes",
    "json": "all that is known",
    "rttm": "who speaks when, without text",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    tag: str


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _answer(request, "index.html")


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    """What browsers ask for unasked."""
    return _answer(request, "icon-192.png")


@router.get("/page/{name}")
async def file(request: Request, name: str) -> Response:
    """A file of the page."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise HTTPException(404)
    headers = _HEADERS | {"etag": found.tag}
    if name == "worker.js":
        headers["service-worker-allowed"] = "/"
    if found.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type=found.media_type, headers=headers)


@cache
def _files() -> dict[str, _File]:
    """The files by name: read once, and no other can be asked for."""
    bodies = {
        each.name: each.read_bytes()
        for each in resources.files(__name__).iterdir()
        if each.is_file() and not each.name.endswith(".py")
    }
    for name in ("speakers.js", "viewer.js", "viewer.css"):
        bodies[name] = asset(name).encode()
    bodies["index.html"] = bodies["index.html"].replace(b"<!-- controls.html -->", asset("controls.html").encode())
    bodies["about.json"] = json.dumps(_about()).encode()
    return {
        name: _File(body, _TYPES[name.rpartition(".")[2]], f'"{hashlib.sha256(body).hexdigest()[:20]}"')
        for name, body in bodies.items()
    }


def _about() -> dict[str, object]:
    """What the scripts need to know of the package."""
    layout = STYLES["web"]
    assert layout is not None  # noqa: S101 - only "raw" has none
    return {
        "version": __version__,
        "languages": {code: name.title() for code, name in LANGUAGES.items()},
        "formats": {name: _USES.get(name, "") for name in OUTPUT_FORMATS},
        "levels": LEVELS,
        "limits": {"cps": layout.max_cps, "cps_cjk": layout.max_cps_cjk, "shortest": layout.min_duration},
    }
