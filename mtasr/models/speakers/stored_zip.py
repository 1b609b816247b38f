"""Zip files whose members are stored as they are, such as torch's checkpoints and NumPy's archives.

Whatever the file claims, reading it takes no more memory than its size: compressed, encrypted, repeated and overlapping
members are refused. Python's zipfile checks the CRC of each member that is read.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mtasr.closing import Closing
from mtasr.errors import ModelIntegrityError

#: What zipfile raises about damaged files; ValueError includes bytes that are not text.
_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, ValueError, OverflowError)

_ENCRYPTED = 0x1


class StoredZip(Closing):
    """An open zip file, a context manager. Raises `ModelIntegrityError` if the file is damaged or not of this kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._damage():
            size = path.stat().st_size
            self._zip = zipfile.ZipFile(path)
        try:
            self.members = self._check(size)
        except BaseException:
            self._zip.close()
            raise

    def _check(self, size: int) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        members = {info.filename: info for info in infos}
        if len(members) < len(infos):
            raise self.damaged("a member is there twice")
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED for info in infos):
            raise self.damaged("a member is compressed or encrypted")
        if any(info.file_size != info.compress_size for info in infos) or sum(info.file_size for info in infos) > size:
            raise self.damaged("its members are larger than the file")
        return members

    def read(self, name: str) -> bytes:
        """The bytes of a member."""
        if name not in self.members:
            raise self.damaged(f"{name} is missing")
        with self._damage():
            return self._zip.read(name)

    def damaged(self, reason: str) -> ModelIntegrityError:
        return ModelIntegrityError(f"{self.path} is damaged or not a file of weights: {reason}")

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as exc:
            raise self.damaged(f"{exc}" or type(exc).__name__) from exc

    def close(self) -> None:
        self._zip.close()
