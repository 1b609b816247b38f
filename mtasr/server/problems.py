"""What goes wrong, as clients see it: a status and OpenAI's envelope, from one table.

    {"error": {"message": "...", "type": "invalid_request_error", "param": "language", "code": "invalid_value"}}

OpenAI's clients try again after 408, 409, 429 and 5xx. So an error that trying again cannot mend has another status, or
the header `x-should-retry: false`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from mtasr import atomic
from mtasr.errors import (
    FfmpegNotFoundError,
    InputError,
    ModelError,
    ModelNotFoundError,
    MtasrError,
    OutputError,
    RecordingTooLongError,
    UsageError,
)

_LOG = logging.getLogger(__name__)

_RETRY = "x-should-retry"
#: Characters of a wrong value that a message shows.
_SHOWN = 100


class Problem(Exception):  # noqa: N818 - an answer, not a fault of the program
    """An answer other than success. `param` is the field that is wrong, `headers` go into the answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers, self.more = dict(headers or {}), dict(more or {})

    @property
    def error(self) -> dict[str, Any]:
        """What is wrong, in OpenAI's words."""
        error = {"message": self.message, "type": _type(self.status), "param": self.param, "code": self.code}
        return error | self.more

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}


#: The status of a request whose client has gone, in the log alone.
GONE = 499


class ClientGone(Exception):  # noqa: N818 - not a fault of the program
    """The client hung up. There is nobody to answer."""


def _type(status: int) -> str:
    """OpenAI's name for the kind of error."""
    named = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return named.get(status, "invalid_request_error" if status < 500 else "server_error")


def bad_field(param: str, message: str, code: str = "invalid_value") -> Problem:
    """A form field that cannot be accepted."""
    return Problem(400, message, param=param, code=code)


def check_word(param: str, value: str, words: Collection[str]) -> None:
    """Raise a `Problem` unless the value of a parameter is one of the words."""
    if value not in words:
        raise bad_field(param, f"{param} must be one of {', '.join(words)}, not {shown(value)}")


def shown(value: str) -> str:
    """A client's value as messages quote it, cut if it is long."""
    return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")


def busy(message: str, seconds: float) -> Problem:
    """No place is free; the client may come back after `seconds`."""
    return Problem(429, message, code="too_many_requests", headers={"retry-after": str(max(1, round(seconds)))})


def stopping() -> Problem:
    """The server stops, and hands the request back."""
    return Problem(503, "the server is stopping; send the request again", code="stopping", headers={"retry-after": "5"})


def unusable_voice(message: str) -> Problem:
    """The recording of a known voice cannot be used."""
    return bad_field("known_speaker_references", message, "invalid_audio")


def no_speaker_models() -> Problem:
    """Speakers cannot be told apart by voice, until somebody installs the models. Trying again does not help."""
    message = "this server lacks the models that tell speakers apart: run `mtasr models pull speakers` on it"
    return Problem(501, message, code="no_speaker_models", headers={_RETRY: "false"})


#: The code of the error of a strict request or job whose text and speech do not match. It has its transcript.
INCOMPLETE = "incomplete_transcript"


def incomplete(more: Mapping[str, Any] | None = None) -> Problem:
    """Text and speech do not match, and the client wants an error then; `more` goes into it."""
    message = "speech has no text, or text no speech, in the places that `coverage` names"
    return Problem(400, message, code=INCOMPLETE, more=more)


class _Kind(NamedTuple):
    status: int
    code: str
    #: Whether the client may see the message, which can name files of the server.
    shown: bool = True
    #: The field that is wrong.
    param: str | None = None


#: The first class that fits counts.
_KINDS: tuple[tuple[type[BaseException], _Kind], ...] = (
    (UsageError, _Kind(400, "invalid_value")),
    (RecordingTooLongError, _Kind(413, "recording_too_long", param="file")),
    (FfmpegNotFoundError, _Kind(500, "server_error", shown=False)),
    (InputError, _Kind(400, "invalid_audio", param="file")),
    (ModelNotFoundError, _Kind(404, "model_not_found", param="model")),
    (ModelError, _Kind(500, "model_error", shown=False)),
    (OutputError, _Kind(500, "storage_error", shown=False)),
    (MemoryError, _Kind(503, "out_of_memory", shown=False)),
)


def problem_of(error: BaseException) -> Problem:
    """The answer to an error. Those whose message the client must not see are logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase.lower()
        message = f"there is no such route ({phrase})" if error.status_code == 404 else str(error.detail)
        if error.status_code == 405 and error.headers and "Allow" in error.headers:
            message = f"this route does not answer that method; use {error.headers['Allow']}"
        return Problem(error.status_code, message, code=phrase.replace(" ", "_"), headers=error.headers)
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), _Kind(500, "server_error", shown=False))
    if not kind.shown:
        _LOG.error("request failed", exc_info=error)
    headers = {} if kind.status < 500 else {"retry-after": "5"} if kind.status == 503 else {_RETRY: "false"}
    message = str(error) if kind.shown and isinstance(error, MtasrError) else _UNSHOWN[kind.code]
    if kind.code == "storage_error" and (reason := _reason(error.__cause__)):
        message = f"the server cannot write to its disk: {reason}"
    return Problem(kind.status, message, code=kind.code, param=kind.param, headers=headers)


def _reason(cause: BaseException | None) -> str | None:
    """What the system says of a disk, without the name of a file."""
    if isinstance(cause, sqlite3.Error):
        return str(cause)
    return atomic.reason(cause) if isinstance(cause, OSError) and cause.errno else None


_UNSHOWN = {
    "server_error": "the server has failed; its log says why, under the id of this request",
    "model_error": "the model cannot be used; the log of the server says why, under the id of this request",
    "storage_error": "the server cannot write to its disk; its log says why, under the id of this request",
    "out_of_memory": "the server is short of memory; send the request again later",
}


def answer(error: BaseException) -> JSONResponse:
    """The response to an error."""
    problem = problem_of(error)
    return JSONResponse(problem.body, problem.status, problem.headers)
