"""What mtasr takes care of itself, in file systems of fsspec's that do not."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any, ClassVar
from urllib.parse import urlsplit

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry as registry

from mtasr.errors import InputError
from mtasr.remote.file import RemoteFile, open_remote
from mtasr.remote.patience import Patience

DATA = random.Random(4).randbytes(1_500_001)


class Slices(BytesIO):
    """Comes in many small reads, as from SFTP, so that two threads that share it would get in each other's way."""

    def read(self, count: int | None = -1) -> bytes:
        found = bytearray()
        while len(found) < (count or 0) and (piece := super().read(min(4096, (count or 0) - len(found)))):
            found += piece
            time.sleep(0.002)
        return bytes(found)


class Store(MemoryFileSystem):
    """Names of its objects may have "::" in them. It has dates, and compares nothing while an object is read."""

    protocol = ("gs", "gcs")
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    modified: ClassVar[str] = "monday"
    #: Seconds that each opening takes, for as long as there are any.
    waits: ClassVar[list[float]] = []
    files: ClassVar[list[Slices]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.partition("://")[2] or path

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": len(self.objects[path]), "type": "file", "modified": self.modified}

    def open(self, path: str, *_: Any, **__: Any) -> Slices:
        if self.waits:
            time.sleep(self.waits.pop(0))
        self.files.append(Slices(self.objects[path]))
        return self.files[-1]


@pytest.fixture(autouse=True)
def store() -> Iterator[type[Store]]:
    for scheme in Store.protocol:
        fsspec.register_implementation(scheme, Store, clobber=True)
    Store.objects, Store.modified, Store.waits, Store.files = {}, "monday", [], []
    yield Store
    for scheme in (*Store.protocol, "sftp"):
        registry.pop(scheme, None)


def opened(url: str, patience: Patience) -> RemoteFile:
    found = open_remote(url, patience)
    assert isinstance(found, RemoteFile)
    return found


def test_a_late_attempt_changes_nothing(store: type[Store]) -> None:
    store.objects["bucket/a.wav"] = DATA
    store.waits = [1.2, 0.0]
    with opened("gs://bucket/a.wav", Patience(seconds=1.0, pause=0.001)) as file:
        assert file.read() == DATA
    assert len(store.files) >= 2
    deadline = time.monotonic() + 20
    while not all(each.closed for each in store.files) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(each.closed for each in store.files)


def test_two_colons_are_part_of_a_name(store: type[Store]) -> None:
    store.objects |= {"bucket/a": b"another", "bucket/a::b.wav": b"sound"}
    with opened("gs://bucket/a::b.wav", Patience()) as file:
        assert file.read() == b"sound"


def test_a_recording_that_changes_before_its_end_is_not_mixed(store: type[Store]) -> None:
    store.objects["bucket/a.wav"] = DATA
    with opened("gs://bucket/a.wav", Patience()) as file:
        file.read(10)
        store.modified = "tuesday"
        with pytest.raises(OSError, match=r"^it was changed while it was read$"):
            file.read()


class Parsing(Store):
    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        return {"port": urlsplit(path).port}


def test_an_address_that_is_none_does_not_show_its_password(store: type[Store]) -> None:
    fsspec.register_implementation("gs", Parsing, clobber=True)
    with pytest.raises(InputError, match=r"^gs://host:pa55/x.wav: is no address$") as caught:
        open_remote("gs://host:pa55/x.wav")
    assert caught.value.__cause__ is None
    fsspec.register_implementation("sftp", Parsing, clobber=True)
    with pytest.raises(InputError) as caught:
        open_remote("sftp://me:pa55/word@host/x.wav")
    assert str(caught.value) == "sftp://...@host/x.wav: is no address"
