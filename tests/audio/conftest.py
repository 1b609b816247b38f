"""Fixtures of the tests that decode."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tones import children, make_tone


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="module")
def collections_are_quick() -> Iterator[None]:
    """A collection looks at what the tests here make, not at all that the modules hold."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def nothing_is_left_behind(collections_are_quick: None) -> Iterator[None]:
    """No process, thread or open file."""
    before = children(), threading.active_count(), descriptors()
    yield
    gc.collect()
    assert (children(), threading.active_count(), descriptors()) == before


@pytest.fixture(scope="session")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tone(tmp_path_factory.mktemp("audio") / "tone.wav", seconds=5)


@pytest.fixture(scope="session")
def m4a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tone(tmp_path_factory.mktemp("audio") / "tone.m4a", seconds=5)
