"""The page at `/`: to transcribe, to listen, to correct, to download. Its files are package data.

The files need no key: they are the same for everyone. What they ask the server for does.
"""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from starlette.requests import Request
from starlette.responses import Response

import mtasr
from mtasr.errors import UsageError
from mtasr.formats import transcript_json
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.subtitles import STYLES, lay_out
from mtasr.tokenizer.languages import LANGUAGES
from mtasr.view import LEVELS, asset
