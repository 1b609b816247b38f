"""Reading text files of the user, with one line for what is wrong."""

from __future__ import annotations

import io
from pathlib import Path

from mtasr.errors import InputError, InputNotFoundError


def read_text(path: Path, error: type[InputError] | None = None, *, most: int | None = None) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises `InputNotFoundError` if the file cannot be opened, and `InputError` if it has another encoding or more than
    `most` bytes. `error` replaces both classes.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(-1 if most is None else most + 1)
        if most is not None and len(data) > most:
            raise (error or InputError)(f"{path}: has more than {most:,} bytes")
        return io.StringIO(data.decode("utf-8-sig"), newline=None).read()
    except UnicodeDecodeError as exc:
        raise (error or InputError)(f"{path}: is not UTF-8 (byte {exc.start})") from exc
    except OSError as exc:
        raise (error or InputNotFoundError)(f"{path}: cannot be read: {exc.strerror or exc}") from exc
