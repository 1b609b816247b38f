"""Reading and writing `model.bin`, the weights file of CTranslate2, version 6.

The format follows from what `ctranslate2.specs` writes. All numbers are little-endian. A string is its length with the
final zero (u16), UTF-8, zero.

    u32 version = 6, string name of the specification, u32 its revision
    u32 number of variables, then each, sorted by name:
        string name, u8 rank, u32 for each dimension, u8 type, u32 bytes, the data
    u32 number of aliases, then each: string alias, string name of a variable

Nothing in the file is trusted: every size is compared with that of the file before memory is allocated.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mtasr.errors import ModelIntegrityError

VERSION = 6
SPECIFICATION, REVISION = "WhisperSpec", 3

#: Types in the order of their numbers, and the bytes of one value.
TYPES = {"float32": 4, "int8": 1, "int16": 2, "int32": 4, "float16": 2, "bfloat16": 2}
_TYPE_NAMES = tuple(TYPES)

# Far above any Whisper model: large-v3 has 1,300 variables of at most three dimensions.
_MOST_VARIABLES = 100_000
_MOST_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Variable:
    """Type, shape and place of one variable in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Bytes of data."""
        return math.prod(self.shape) * TYPES[self.dtype]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The table of contents of a `model.bin`; aliases appear as the variable they stand for."""

    path: Path
    variables: Mapping[str, Variable]

    def read(self, variable: Variable) -> bytearray:
        """The data of a variable. Raises `ModelIntegrityError`."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(variable.offset)
                data = bytearray(stream.read(variable.size))
        except OSError as exc:
            raise ModelIntegrityError(f"cannot read {self.path}: {exc.strerror or exc}") from exc
        if len(data) < variable.size:
            raise ModelIntegrityError(f"{self.path} is truncated")
        return data

    def scalar(self, name: str) -> int | None:
        """The value of an integer without dimensions; None if there is no such variable."""
        variable = self.variables.get(name)
        if variable is None or variable.shape or not variable.dtype.startswith("int"):
            return None
        return int.from_bytes(self.read(variable), "little", signed=True)


def read_contents(path: Path) -> ModelFile:
    """Read everything but the data, and check that the data are complete.

    Raises `ModelIntegrityError` for a file that is truncated, too long or of another kind.
    """
    try:
        with path.open("rb") as stream:
            return ModelFile(path, _Reader(stream, path).contents())
    except OSError as exc:
        raise ModelIntegrityError(f"cannot read {path}: {exc.strerror or exc}") from exc


class _Reader:
    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._left = path.stat().st_size

    def contents(self) -> dict[str, Variable]:
        self._header()
        variables: dict[str, Variable] = {}
        for _ in range(self._count("variables")):
            name = self._string()
            if name in variables:
                raise self._damaged(f"it has two variables {name}")
            variables[name] = self._variable(name)
        aliases = {self._string(): self._string() for _ in range(self._count("aliases"))}
        if self._left:
            raise self._damaged(f"{self._left} bytes follow its end")
        for alias, name in aliases.items():
            if alias in variables or name not in variables:
                raise self._damaged(f"it names {alias} as an alias of {name}, which is impossible")
        return variables | {alias: variables[name] for alias, name in aliases.items()}

    def _header(self) -> None:
        version = self._number("I")
        if version != VERSION:
            raise self._damaged(f"it has version {version}; only version {VERSION} is supported")
        name, revision = self._string(), self._number("I")
        if (name, revision) != (SPECIFICATION, REVISION):
            raise self._damaged(f"it holds {name!r} revision {revision}, not {SPECIFICATION} revision {REVISION}")

    def _variable(self, name: str) -> Variable:
        rank = self._number("B")
        if rank > _MOST_DIMENSIONS:
            raise self._damaged(f"{name} has {rank} dimensions")
        shape = tuple(self._number("I") for _ in range(rank))
        kind, size = self._number("B"), self._number("I")
        if kind >= len(_TYPE_NAMES):
            raise self._damaged(f"{name} is of an unknown type")
        variable = Variable(_TYPE_NAMES[kind], shape, self._stream.tell())
        if variable.size != size:
            raise self._damaged(f"{name} has {size} bytes instead of {variable.size}")
        self._skip(size, name)
        return variable

    def _count(self, what: str) -> int:
        count = self._number("I")
        if count > _MOST_VARIABLES:
            raise self._damaged(f"it announces {count} {what}")
        return count

    def _number(self, kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", self._take(struct.calcsize(kind)))
        return int(value)

    def _string(self) -> str:
        data = self._take(self._number("H"))
        try:
            text = data[:-1].decode()
        except UnicodeDecodeError:
            text = "\0"
        if not text.isprintable() or data[-1:] != b"\0":
            raise self._damaged("a name in it is not text")
        return text

    def _take(self, size: int) -> bytes:
        if size > self._left:
            raise self._damaged("it ends too early")
        self._left -= size
        data = self._stream.read(size)
        if len(data) < size:
            raise self._damaged("it ends too early")
        return data

    def _skip(self, size: int, name: str) -> None:
        if size > self._left:
            raise self._damaged(f"it ends within {name}")
        self._left -= size
        self._stream.seek(size, 1)

    def _damaged(self, reason: str) -> ModelIntegrityError:
        return ModelIntegrityError(f"{self._path} is damaged or not a Whisper model: {reason}")


@dataclass(frozen=True, slots=True)
class StoredVariable:
    """A variable to write."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def write(stream: BinaryIO, variables: Iterable[StoredVariable], aliases: Mapping[str, str]) -> None:
    """Write a `model.bin` to an empty file. `variables` come sorted by name and may be made one at a time."""
    head = struct.pack("<I", VERSION) + _string(SPECIFICATION) + struct.pack("<I", REVISION)
    stream.write(head + bytes(4))
    count = 0
    for count, each in enumerate(variables, start=1):  # noqa: B007 - written below
        shape = struct.pack(f"<B{len(each.shape)}I", len(each.shape), *each.shape)
        stream.write(_string(each.name) + shape + struct.pack("<BI", _TYPE_NAMES.index(each.dtype), len(each.data)))
        stream.write(each.data)
    stream.write(struct.pack("<I", len(aliases)))
    for alias, name in sorted(aliases.items()):
        stream.write(_string(alias) + _string(name))
    stream.seek(len(head))
    stream.write(struct.pack("<I", count))


def _string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data
