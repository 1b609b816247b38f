"""Objects in S3, on a good line and on bad ones."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hostile_server import HASTE
from object_store import BUCKET, ObjectStore, forget_connections

from mtasr.errors import InputError, InputNotFoundError, MissingExtraError, UsageError
from mtasr.remote import store as store_module
from mtasr.remote.file import RemoteFile, examine, open_remote
from mtasr.remote.patience import Patience
from mtasr.remote.store import pages

DATA = random.Random(3).randbytes(700_001)


def opened(url: str, patience: Patience = HASTE) -> RemoteFile:
    found = open_remote(url, patience)
    assert isinstance(found, RemoteFile)
    return found


def read(url: str, patience: Patience = HASTE) -> bytes:
    with opened(url, patience) as file:
        return file.read()


def cut_new_connections(store: ObjectStore, *cuts: int | None) -> None:
    forget_connections()
    store.proxy.cuts = list(cuts)


def test_an_object_is_read(store: ObjectStore) -> None:
    assert read(store.put("a::b @ 100%?.wav", DATA)) == DATA


def test_what_is_cut_is_asked_for_again(store: ObjectStore) -> None:
    url = store.put("a.wav", DATA)
    cut_new_connections(store, 0, 200, 100_000, 300_000, 0)
    before = store.proxy.connections
    assert read(url) == DATA
    assert store.proxy.cuts == []
    assert store.proxy.connections - before >= 5


def test_a_line_that_is_always_cut_is_given_up(store: ObjectStore) -> None:
    url = store.put("a.wav", DATA)
    with opened(url) as file:
        cut_new_connections(store, *[100] * 100)
        with pytest.raises(OSError, match=r"\(5 times\), at byte 0 of 700001$"):
            file.read()
    cut_new_connections(store, *[100] * 100)
    with pytest.raises(InputError, match=rf"^s3://{BUCKET}/a.wav: cannot be opened: the connection failed"):
        open_remote(url, HASTE)


def test_a_slow_store_is_given_up(store: ObjectStore) -> None:
    url = store.put("a.wav", DATA)
    examine(url, HASTE)  # the first connection takes longer
    with opened(url, Patience(seconds=2.0, attempts=2, pause=0.001)) as file:
        cut_new_connections(store, *[2000] * 100)
        store.proxy.stalls = True
        with pytest.raises(OSError, match=r"^too slow: .* \(2 times\), at byte 0 of 700001$"):
            file.read()
    cut_new_connections(store)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"s3://{BUCKET}/none.wav", "no such file"),
        ("s3://no-such-bucket/a.wav", "no such file (no such bucket)"),
        (f"s3://{BUCKET}/folder", "is a folder, not a recording"),
        (f"s3://{BUCKET}", "is a folder, not a recording"),
        (f"s3://{BUCKET}/empty.wav", "is empty"),
    ],
)
def test_what_is_not_there_is_one_line(store: ObjectStore, url: str, words: str) -> None:
    store.put("folder/a.wav", b"x")
    store.put("empty.wav", b"")
    with pytest.raises(InputNotFoundError) as caught:
        open_remote(url, HASTE)
    assert str(caught.value) == f"{url}: {words}"


def test_a_recording_that_changes_is_not_mixed(store: ObjectStore) -> None:
    url = store.put("a.wav", DATA)
    with opened(url) as file:
        assert file.read(10) == DATA[:10]
        store.put("a.wav", DATA[::-1])
        with pytest.raises(OSError, match=r"^it was changed while it was read$"):
            file.read()


def test_one_that_is_deleted_meanwhile(store: ObjectStore) -> None:
    url = store.put("a.wav", DATA)
    with opened(url) as file:
        file.read(10)
        store.client.delete_object(Bucket=BUCKET, Key="a.wav")
        with pytest.raises(OSError, match=r"^no such file"):
            file.read()


def test_what_identifies_it_is_what_a_listing_says(store: ObjectStore) -> None:
    url = store.put("a.wav", DATA)
    ((listed,),) = pages(f"s3://{BUCKET}/", recursive=False, patience=HASTE)
    assert listed == ("a.wav", examine(url, HASTE))
    store.put("a.wav", DATA[::-1])
    assert examine(url, HASTE).identity != listed[1].identity


def test_a_listing_of_many_pages(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_PAGE", 3)
    names = ["a.wav", "b/", "b/c.wav", "b/d/e.wav", "f?.wav", "g::h 100%.wav", "z.txt", "ä.wav"]
    for name in names:
        store.put(f"talks/{name}", b"x")
    store.put("talks2/a.wav", b"x")

    def listed(url: str, *, recursive: bool) -> list[list[str]]:
        return [[name for name, _ in page] for page in pages(url, recursive=recursive, patience=HASTE)]

    files = [name for name in names if name != "b/"]
    found = listed(f"s3://{BUCKET}/talks", recursive=True)
    assert [name for page in found for name in page] == files
    assert len(found) == 3
    flat = listed(f"s3://{BUCKET}/talks/", recursive=False)
    assert [name for page in flat for name in page] == [name for name in files if "/" not in name]


@pytest.mark.slow
def test_ten_thousand_keys_are_listed_in_the_memory_of_two_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    with listing_server() as address:
        monkeypatch.setattr(store_module, "_shared", {})
        for name, value in {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        peaks = {}
        for count in (10, 2000, 10_000):  # the first makes what is made once; two pages are there at a time
            tracemalloc.start()
            found = sum(map(len, pages(f"s3://bucket/{count}/", recursive=True, patience=HASTE)))
            peaks[count] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert found == count
        assert peaks[10_000] < 1.5 * peaks[2000]


@contextlib.contextmanager
def listing_server() -> Iterator[str]:
    """S3 that knows listings alone, and holds none of the keys: it makes pages as they are asked for."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            prefix, start = asked["prefix"][0], int(asked.get("continuation-token", ["0"])[0])
            end = min(start + int(asked["max-keys"][0]), int(prefix.rstrip("/")))
            entry = (
                "<Contents><Key>{}{:05}.wav</Key><Size>5</Size><ETag>&quot;{}&quot;</ETag>"
                "<LastModified>2026-11-29T10:00:00.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
            )
            keys = "".join(entry.format(prefix, number, number) for number in range(start, end))
            more = "" if end == int(prefix.rstrip("/")) else f"<NextContinuationToken>{end}</NextContinuationToken>"
            truncated = str(bool(more)).lower()
            body = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{keys}</ListBucketResult>".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_schemes_that_nobody_knows() -> None:
    with pytest.raises(InputError, match=r"^nope://a/b.wav: addresses that begin with nope:// are not known$"):
        open_remote("nope://a/b.wav", HASTE)


def test_a_package_of_fsspec_that_is_missing() -> None:
    with pytest.raises(
        UsageError,
        match=r"^gs:// needs a package of its own: .*gcsfs.*; .*install '\.\[remote\]'.* brings what S3 needs$",
    ):
        open_remote("gs://a/b.wav", HASTE)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fsspec", "fsspec.core"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"needs fsspec.*: .*'\.\[remote\]'.* brings it"):
        open_remote("s3://a/b.wav", HASTE)


def test_without_credentials(store: ObjectStore, tmp_path: Path) -> None:
    """In a process of its own: credentials that were found once are kept."""
    code = "from mtasr.remote.file import examine; examine('s3://talks/a.wav')"
    gone = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), "PATH": ""}
    environment = {"AWS_ENDPOINT_URL": store.environment["AWS_ENDPOINT_URL"], **gone}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "s3://talks/a.wav: may not be read" in last, done.stderr


def test_a_scheme_with_a_letter_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^htp://a/b.wav: addresses .* not known; did you mean http://\?$"):
        open_remote("htp://a/b.wav", HASTE)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"brings it; did you mean http://\?$"):
        open_remote("htp://a/b.wav", HASTE)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://127.0.0.1:1", "the server 127.0.0.1:1 cannot be reached"),
        ("127.0.0.1:18726", "AWS_ENDPOINT_URL must begin with http:// or https://"),
    ],
)
def test_an_endpoint_that_is_none(endpoint: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.remote.store._shared", {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises((InputError, UsageError)) as caught:
        open_remote("s3://talks/a.wav", HASTE)
    assert str(caught.value).endswith(words)
