"""Reading text files of the user, with one line for what is wrong."""

from __future__ import annotations

import codecs
import io
import logging
import re
from pathlib import Path
from typing import NamedTuple

from mtasr.errors import InputError, InputNotFoundError

_LOG = logging.getLogger(__name__)

#: The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Control characters that no text has.
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x19\x1c-\x1f]")
#: Bytes in which UTF-16 without a mark is looked for.
_LOOKED_AT = 4096


class Encoding(NamedTuple):
    """Python's name of an encoding, and whether it was guessed from the bytes."""

    name: str
    guessed: bool


def read_text(
    path: Path,
    error: type[InputError] | None = None,
    *,
    most: int | None = None,
    any_encoding: bool = False,
    tell: bool = True,
) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    With `any_encoding`, also UTF-16 and UTF-32, and Windows-1252 if it is none of these; a guess is logged as a
    warning, unless `tell` is false. Raises `InputNotFoundError` if the file cannot be opened, and `InputError` if it
    has another encoding or more than `most` bytes. `error` replaces both classes.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(-1 if most is None else most + 1)
    except OSError as exc:
        raise (error or InputNotFoundError)(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    if most is not None and len(data) > most:
        raise (error or InputError)(f"{path}: has more than {most:,} bytes")
    encoding = encoding_of(data) if any_encoding else Encoding("utf-8-sig", guessed=False)
    try:
        text = io.StringIO(data.decode(encoding.name), newline=None).read()
    except UnicodeDecodeError as exc:
        name = encoding.name.removesuffix("-sig").upper()
        raise (error or InputError)(f"{path}: is not {name} (byte {exc.start})") from exc
    if encoding.guessed and tell:
        name = "Windows-1252" if encoding.name == "cp1252" else "UTF-16"
        _LOG.warning("%s: does not state its encoding, and is read as %s", path, name)
    return text


def encoding_of(data: bytes) -> Encoding:
    """The encoding of a text file, by its mark or else by its bytes; UTF-8 for what is no text."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return Encoding(name, guessed=False)
    # In UTF-16, every second byte of digits, spaces and European letters is 0; in UTF-8, none is.
    head = data[:_LOOKED_AT]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) / 8:
        return Encoding("utf-16-le" if odd > even else "utf-16-be", guessed=True)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            data.decode("cp1252")
        except UnicodeDecodeError:
            return Encoding("utf-8", guessed=False)
        return Encoding("utf-8", guessed=False) if _NO_TEXT.search(data) else Encoding("cp1252", guessed=True)
    return Encoding("utf-8", guessed=False)
