"""Objects in Google's store, by gcsfs against an emulator on loopback.

Both packages bring twenty others, so no extra has them: `pip install gcsfs gcp-storage-emulator` lets these tests run.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
import requests

from mtasr.errors import InputNotFoundError, OutputError
from mtasr.remote.file import RemoteFile, examine, open_remote
from mtasr.remote.folder import RemotePath, check_writable, write_object
from mtasr.remote.listing import below, is_prefix
from mtasr.remote.patience import Patience

pytest.importorskip("gcsfs")
emulator = pytest.importorskip("gcp_storage_emulator.server")

DATA = bytes(range(256)) * 400


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, bytes], str]]:
    """Stores an object in the bucket `talks`, and returns its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it needs gRPC, which the emulator lacks
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="talks")
    server.start()

    def stored(key: str, data: bytes) -> str:
        where = {"uploadType": "media", "name": key}
        requests.post(f"{address}/upload/storage/v1/b/talks/o", params=where, data=data, timeout=10).raise_for_status()
        return f"gs://talks/{key}"

    yield stored
    server.stop()


def read(url: str) -> bytes:
    with open_remote(url, Patience()) as file:
        assert isinstance(file, RemoteFile)
        return file.read()


def test_objects_are_read_listed_and_written_whole(put: Callable[[str, bytes], str]) -> None:
    assert read(put("monday/a.wav", DATA)) == DATA
    assert examine(put("monday/rooms/b.wav", b"sound"), Patience()).size == 5
    for recursive, names in ((False, ["a.wav"]), (True, ["a.wav", "rooms/b.wav"])):
        assert [str(path) for _, path, _ in below("gs://talks/monday/", recursive=recursive)] == names
    assert is_prefix("gs://talks/monday")
    for url in ("gs://talks/none.wav", "gs://none/a.wav"):
        with pytest.raises(InputNotFoundError, match=rf"^{url}: no such file"):
            read(url)
    check_writable(RemotePath("gs://talks/texts"))
    for content in (b"first" * 1000, b"second"):
        write_object(RemotePath("gs://talks/texts/a.srt"), content)
        assert read("gs://talks/texts/a.srt") == content
    assert [url for url, _, _ in below("gs://talks/texts/", recursive=True)] == ["gs://talks/texts/a.srt"]
    with pytest.raises(OutputError, match=r"^gs://none/texts: cannot write here: no such bucket or folder"):
        check_writable(RemotePath("gs://none/texts"))
