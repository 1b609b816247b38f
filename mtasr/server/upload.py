"""Receives a request with a recording: the file goes to disk as it comes, and limits count while it comes.

Nothing is kept of a request that is refused. No name from a client becomes a path: the file gets a random name, and of
the client's name only a plain ending, which tells ffmpeg formats apart that have no header.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from mtasr import atomic
from mtasr.errors import OutputError
from mtasr.server.problems import ClientGone, Problem, bad_field
from mtasr.server.settings import Settings

#: Bytes written to disk at a time.
_PIECE = 1 << 20
#: Bytes a second that must come on average, once so many seconds have passed: whoever sends next to nothing holds a
#: place for nothing. Speech in the narrowest codecs has more.
_LEAST_RATE = 500
_GRACE = 60.0
#: The form field whose values are recordings, and too large to hold in memory.
REFERENCES = "known_speaker_references"
#: Characters of a file's name that are shown.
_SHOWN_NAME = 200

_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")
#: `name[]` and `name[0]` are spellings of an array `name`.
_ARRAY = re.compile(r"\[\d*\]$")


@dataclass(slots=True)
class Upload:
    """A request that was received: a file on disk and form fields. Leaving its `with` block deletes the file.

    `fields` has the values of each field in their order; `name[]` counts as `name`.
    """

    path: Path
    #: What the client calls the file, cleaned: to be shown, and never to be opened.
    name: str
    size: int
    fields: dict[str, tuple[str, ...]]
    #: A file for each value of the field `REFERENCES`, in their order; deleted too.
    references: tuple[Path, ...] = ()
    #: The folder of what is made of them.
    voices: Path = Path()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in (self.path, *self.references):
            path.unlink(missing_ok=True)
        if self.references:
            shutil.rmtree(self.voices, ignore_errors=True)


async def receive(
    request: Request,
    settings: Settings,
    folder: Path,
    *,
    file_fields: Sequence[str] = ("file",),
    head: bytes = b"",
    references: bool = False,
) -> Upload:
    """Receive a multipart request with one file, named as one of `file_fields`, into `folder`.

    `head` is written before the file. `references` says whether the request may have recordings of known voices.

    Raises `Problem`: 400 for a wrong form, 408 for a sender that is too slow, 413 for too much, 415 for another kind of
    body; `ClientGone`; and `OutputError` if the file cannot be written, as when the disk is full.
    """
    boundary = _boundary(request)
    form = _Form(settings, folder, file_fields, boundary, head, references=references)
    try:
        async for chunk in _chunks(request, settings, settings.upload_bytes):
            form.feed(chunk)
            await form.write()
        await form.finish()
        return form.upload()
    except BaseException:
        form.discard()
        raise


async def receive_body(request: Request, settings: Settings, most: int) -> bytes:
    """The body of a request that has no recording, of at most `most` bytes.

    Raises `Problem` 408 or 413, 415 for an encoded body, and `ClientGone`.
    """
    _require_plain(request)
    body = bytearray()
    async for chunk in _chunks(request, settings, most):
        body += chunk
    return bytes(body)


def _boundary(request: Request) -> bytes:
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise Problem(415, "send the recording as multipart/form-data", code="unsupported_media_type")
    _require_plain(request)
    if not parameters.get(b"boundary"):
        raise Problem(400, "the content type has no boundary", code="invalid_form")
    return parameters[b"boundary"]


def _require_plain(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "send the request without content-encoding", code="unsupported_media_type")


def _too_large(most: int) -> Problem:
    return Problem(413, f"the request has more than {most:,} bytes", code="request_too_large")


def _too_slow() -> Problem:
    return Problem(408, "the request came too slowly", code="request_timeout")


async def _chunks(request: Request, settings: Settings, most: int) -> AsyncIterator[bytes]:
    """The body as it comes, within the limits on bytes and time."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise _too_large(most)
    end = time.monotonic() + settings.upload_seconds
    size = 0
    stream = aiter(request.stream())
    while True:
        left = end - time.monotonic()
        try:
            chunk = await asyncio.wait_for(anext(stream), max(0.0, min(left, settings.upload_pause)))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow() from None
        except ClientDisconnect:
            raise ClientGone from None
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        passed = settings.upload_seconds - (end - time.monotonic())
        if passed > _GRACE and size < _LEAST_RATE * passed:
            raise _too_slow()
        yield chunk


class _Part:
    """One part of the form while it comes."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.name = ""
        self.filename: str | None = None
        self.is_file = False
        self.value = bytearray()
        #: The descriptor of the file of a value that is a recording.
        self.reference: int | None = None


class _Form:
    """Collects the fields of a form, and the pieces of its file for `write`."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        file_fields: Sequence[str],
        boundary: bytes,
        head: bytes,
        *,
        references: bool = False,
    ) -> None:
        self._settings, self._folder, self._file_fields = settings, folder, file_fields
        self._takes_references = references
        self._references: list[Path] = []
        self._part = _Part()
        self._header, self._header_value = bytearray(), bytearray()
        self._fields: dict[str, list[str]] = {}
        self._count = self._field_bytes = self._reference_bytes = 0
        self._path: Path | None = None
        self._descriptor: int | None = None
        self._name = ""
        self._size = 0
        self._unwritten = bytearray(head)
        #: The write under way, or the last one.
        self._writing: asyncio.Future[None] | None = None
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise Problem(400, f"the content type is wrong: {error}", code="invalid_form") from error

    def feed(self, chunk: bytes) -> None:
        """Parse a piece of the body. Raises `Problem`."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Problem(400, "the body is not a form of parts between boundaries", code="invalid_form") from error

    async def write(self, *, least: int = _PIECE) -> None:
        """Write what has come of the file, once it is worth it."""
        if self._descriptor is not None and len(self._unwritten) >= max(1, least):
            data, self._unwritten = bytes(self._unwritten), bytearray()
            self._writing = asyncio.ensure_future(asyncio.to_thread(_write_all, self._descriptor, data))
            try:
                await asyncio.shield(self._writing)
            except OSError as error:
                raise OutputError(f"{self._path}: {atomic.reason(error)}") from error

    async def finish(self) -> None:
        """Write the rest. Raises `Problem` for a form that is incomplete or has no file."""
        await self.write(least=1)
        self._close()
        if not self._ended:
            raise Problem(400, "the body ends before the form does", code="invalid_form")
        if self._path is None:
            wanted = " or ".join(self._file_fields)
            raise bad_field(self._file_fields[0], f"the form has no file in a field called {wanted}", "missing_file")
        if not self._size:
            raise bad_field(self._file_fields[0], f"{self._name}: is empty", "invalid_audio")

    def upload(self) -> Upload:
        assert self._path is not None  # noqa: S101 - `finish` has checked it
        fields = {name: tuple(values) for name, values in self._fields.items()}
        voices = self._path.with_name(f"voices-{self._path.stem}")
        return Upload(self._path, self._name, self._size, fields, tuple(self._references), voices)

    def discard(self) -> None:
        """Delete what was received, once nothing is being written: the number of a closed file may be another's."""
        if self._writing is not None and not self._writing.done():
            self._writing.add_done_callback(lambda _: self.discard())
            return
        self._close()
        for path in [*self._references, *([] if self._path is None else [self._path])]:
            path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._close_reference()

    def _close_reference(self) -> None:
        if self._part.reference is not None:
            os.close(self._part.reference)
            self._part.reference = None

    # --- called by the parser ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._part = _Part()
        self._count += 1
        if self._count > self._settings.fields:
            raise Problem(400, f"the form has more than {self._settings.fields} fields", code="too_many_fields")

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._part.headers[bytes(self._header).lower()] = bytes(self._header_value)
        self._header.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        part.name = _ARRAY.sub("", _text(options.get(b"name", b""), "the name of a field"))
        if not part.name:
            raise Problem(400, "a part of the form has no name", code="invalid_form")
        if b"filename" in options:
            part.filename = options[b"filename"].decode("utf-8", "replace")
        part.is_file = part.name in self._file_fields
        if part.is_file:
            if part.filename is None and b"content-type" not in part.headers:
                message = f"{part.name} is text, not a file; with curl write -F {part.name}=@NAME"
                raise bad_field(part.name, message, "invalid_form")
            self._open(part)
        elif part.name == REFERENCES and self._takes_references:
            part.reference = self._open_reference()
        elif part.filename is not None:
            wanted = " or ".join(self._file_fields)
            raise bad_field(
                part.name, f"send the file in a field called {wanted}, not {part.name!r}", "unknown_parameter"
            )

    def _open(self, part: _Part) -> None:
        if self._path is not None:
            raise bad_field(part.name, "send one file at a time", "too_many_files")
        self._name = shown_name(part.filename or "")
        ending = Path(self._name).suffix
        ending = ending if _ENDING.fullmatch(ending) else ""
        self._path = self._folder / f"{secrets.token_hex(16)}{ending}"
        self._descriptor = _create(self._path)

    def _open_reference(self) -> int:
        self._references.append(self._folder / secrets.token_hex(16))
        return _create(self._references[-1])

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._size += end - start
            self._unwritten += data[start:end]
            return
        if self._part.reference is not None:
            self._keep_reference(self._part.reference, data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > self._settings.field_bytes:
            most = self._settings.field_bytes
            raise Problem(413, f"the fields of the form have more than {most:,} bytes", code="request_too_large")
        self._part.value += data[start:end]

    def _keep_reference(self, descriptor: int, data: bytes) -> None:
        """Write what has come of it at once: it is little, and its limit low."""
        self._reference_bytes += len(data)
        if self._reference_bytes > self._settings.reference_bytes:
            most = self._settings.reference_bytes
            raise Problem(413, f"{REFERENCES} has more than {most:,} bytes", code="request_too_large")
        try:
            _write_all(descriptor, data)
        except OSError as error:
            raise OutputError(f"{self._references[-1]}: {atomic.reason(error)}") from error

    def _end_part(self) -> None:
        if self._part.reference is not None:
            self._close_reference()
        elif not self._part.is_file:
            value = _text(bytes(self._part.value), f"the field {self._part.name!r}")
            self._fields.setdefault(self._part.name, []).append(value)

    def _end(self) -> None:
        self._ended = True


def _create(path: Path) -> int:
    """A new file for its user alone, to be written. Raises `OutputError`."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise OutputError(f"{path}: {atomic.reason(error)}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Problem(400, f"{what} is not UTF-8", code="invalid_form") from None


def shown_name(name: str) -> str:
    """A client's name for a file, to be shown: its last part, without what a terminal or a log would obey."""
    last = re.split(r"[/\\]", name)[-1]
    clean = "".join(char for char in last if unicodedata.category(char)[0] not in "CZ" or char == " ").strip(" .")
    return clean[:_SHOWN_NAME] or "recording"
