"""Fixtures: a web server and an object store on loopback."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import fsspec.asyn
import pytest
from hostile_server import HostileServer, hostile_server
from object_store import ObjectStore, object_store


@contextlib.contextmanager
def no_thread_is_left() -> Iterator[None]:
    """Wait for those that end a little later than what they serve: other tests count threads."""
    before = _threads()
    yield
    end = time.monotonic() + 20
    while _threads() > before and time.monotonic() < end:
        time.sleep(0.01)


def _threads() -> int:
    """How many there are, without those that fsspec's event loop keeps."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with no_thread_is_left(), hostile_server() as found:
        yield found


@pytest.fixture(scope="module")
def one_store() -> Iterator[ObjectStore]:
    fsspec.asyn.get_loop()  # its thread stays
    with no_thread_is_left(), object_store() as found:
        yield found


@pytest.fixture
def store(one_store: ObjectStore) -> ObjectStore:
    """An empty bucket, on a good line."""
    for key in one_store.listed():
        one_store.client.delete_object(Bucket="talks", Key=key)
    one_store.proxy.cuts, one_store.proxy.stalls = [], False
    return one_store
