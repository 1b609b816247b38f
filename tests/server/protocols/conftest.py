"""A recording as samples without a header, and what the model itself makes of recordings."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server.running import Running

from mtasr.server.protocols import wyoming  # noqa: F401 - it silences a warning that importing the package raises
from mtasr.transcript import Transcript


@pytest.fixture(scope="session")
def samples(clip: Path) -> bytes:
    """The samples of the clip: 16 bits, 16 kHz, mono."""
    with wave.open(str(clip)) as recording:
        assert (recording.getframerate(), recording.getsampwidth(), recording.getnchannels()) == (16_000, 2, 1)
        return recording.readframes(recording.getnframes())


@pytest.fixture
def expected(server: Running, clip: Path) -> Callable[..., Transcript]:
    """What the model itself makes of the clip, or of another recording."""

    def transcribe(source: Path = clip, **options: Any) -> Transcript:
        model = server.model
        return model.transcribe(source, **options)

    return transcribe
