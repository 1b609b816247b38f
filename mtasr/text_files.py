"""Files of text that somebody else has written: read in one way, with one line about what is wrong."""

from __future__ import annotations

from pathlib import Path

from mtasr.errors import InputError, InputNotFoundError


def read_text(path: Path, error: type[InputError] | None = None) -> str:
    """The text of a file in UTF-8, without the mark that some programs put before it.

    Raises `InputNotFoundError` for a file that cannot be opened, `InputError` for one in another encoding; `error` for
    both, if it is given.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise (error or InputError)(f"{path}: is not UTF-8 (byte {exc.start})") from exc
    except OSError as exc:
        raise (error or InputNotFoundError)(f"{path}: cannot be read: {exc.strerror or exc}") from exc
