"""`.ecdc` files, as Meta's `encodec` tool writes and reads them without its language model.

    "ECDC", a byte 0 (the version), the length of what follows as 4 bytes, the highest first
    JSON: m (name of the model), al (samples), nc (books), lm (false), and from here: id (digest of the books)
    codes, frame after frame, in a frame book after book; each has the bits that a book needs, the lowest first

Letters in shapes: Q books, S frames.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtasr.arrays import IntArray
from mtasr.atomic import write_file
from mtasr.errors import InputError, InputNotFoundError

_HEADER = struct.Struct(">4sBI")
_MAGIC = b"ECDC"
#: Far more than any header of Meta's tool has.
_MOST_JSON = 65_536


@dataclass(frozen=True, kw_only=True)
class CodecFile:
    """What a file says, and its codes still packed."""

    model: str
    samples: int
    books: int
    #: Of the books with which it was written; empty in files of Meta's tool.
    digest: str
    packed: bytes

    def codes(self, bits: int, frames: int) -> IntArray:
        """The codes (Q, S) of so many frames. Raises `InputError` unless the file has just these."""
        count = bits * self.books * frames
        if len(self.packed) != (expected := -(-count // 8)):
            raise InputError(f"its codes have {len(self.packed)} bytes, not {expected}: damaged, or of another codec")
        return unpack(self.packed, bits, self.books * frames).reshape(frames, self.books).T


def write_codec_file(target: Path, codes: IntArray, bits: int, *, model: str, samples: int, digest: str) -> None:
    """Write codes (Q, S), of which each is below 2^bits, all or nothing. Raises `OutputError`."""
    document = {"m": model, "al": samples, "nc": len(codes), "lm": False, "id": digest}
    header = json.dumps(document).encode()
    data = _HEADER.pack(_MAGIC, 0, len(header)) + header + pack(codes.T.reshape(-1), bits)
    write_file(target, lambda passing: passing.write_bytes(data))


def read_codec_file(path: Path) -> CodecFile:
    """Raises `InputNotFoundError`, and `InputError` for a file of another kind, damaged, or with a language model."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InputNotFoundError(f"{path}: {exc.strerror or exc}") from exc
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        raise InputError(f"{path}: is not an .ecdc file")
    _, version, length = _HEADER.unpack_from(data)
    header = data[_HEADER.size : _HEADER.size + length]
    if version != 0 or length > _MOST_JSON or len(header) < length:
        raise InputError(f"{path}: is damaged, or of a later version of the format")
    try:
        document = json.loads(header)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{path}: is damaged: its header is not JSON") from exc
    return _checked(document, path, data[_HEADER.size + length :])


def _checked(document: Any, path: Path, packed: bytes) -> CodecFile:
    fields = {"m": str, "al": int, "nc": int, "lm": bool}
    if not isinstance(document, dict) or any(type(document.get(name)) is not kind for name, kind in fields.items()):
        raise InputError(f"{path}: is damaged: its header lacks one of {', '.join(fields)}")
    if document["lm"]:
        raise InputError(f"{path}: was written with Meta's language model (encodec --lm), which is not read here")
    if document["al"] < 0 or document["nc"] < 1:
        raise InputError(f"{path}: is damaged: its header has impossible sizes")
    digest = document.get("id", "")
    return CodecFile(
        model=document["m"], samples=document["al"], books=document["nc"],
        digest=digest if isinstance(digest, str) else "", packed=packed,
    )  # fmt: skip


def pack(values: IntArray, bits: int) -> bytes:
    """Numbers from 0 to 2^bits - 1 one after the other, each with its lowest bit first; the last byte is filled up."""
    each = (np.asarray(values, np.int64)[:, None] >> np.arange(bits)) & 1
    return np.packbits(each.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def unpack(data: bytes, bits: int, count: int) -> IntArray:
    """The first `count` numbers that `pack` has packed."""
    each = np.unpackbits(np.frombuffer(data, np.uint8), count=bits * count, bitorder="little").reshape(count, bits)
    return each.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
