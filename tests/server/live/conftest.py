"""A server whose live sessions are fakes, and sound for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server.live.fake_session import FakeSession
from server.running import Running, running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as started:
        started.service.live.make_session = FakeSession  # type: ignore[assignment]
        yield started
