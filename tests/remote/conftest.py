"""Fixtures: a web server and an object store on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile_server import HostileServer, hostile_server
from object_store import ObjectStore, object_store


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as found:
        yield found


@pytest.fixture(scope="session")
def one_store() -> Iterator[ObjectStore]:
    with object_store() as found:
        yield found


@pytest.fixture
def store(one_store: ObjectStore) -> ObjectStore:
    """An empty bucket, on a good line."""
    for key in one_store.listed():
        one_store.client.delete_object(Bucket="talks", Key=key)
    one_store.proxy.cuts, one_store.proxy.stalls = [], False
    return one_store
