from __future__ import annotations

import pytest

from mtasr.audio.tracks import Tracks
from mtasr.errors import UsageError


def test_speakers_are_numbered_where_they_have_no_name() -> None:
    tracks = Tracks(channels="split", speakers=(" Anna ", ""))
    assert [tracks.speaker(channel) for channel in range(3)] == ["Anna", "Speaker 2", "Speaker 3"]
    assert Tracks(channels="split").speaker(0) == "Speaker 1"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"audio_stream": -1}, "audio_stream is a whole number from 0"),
        ({"audio_stream": 1.5}, "audio_stream is a whole number from 0"),
        ({"audio_stream": 2**32}, "audio_stream is a whole number from 0"),
        ({"channels": "left"}, "channels is mix or split, not 'left'"),
        ({"speakers": ("Anna",)}, "they need channels split"),
        ({"speakers": ("Speaker 2",), "channels": "split"}, "two speakers are called 'Speaker 2'"),
        ({"speakers": "Anna", "channels": "split"}, "speakers is a list of names, not 'Anna'"),
        ({"speakers": (1,), "channels": "split"}, "speakers is a list of names"),
        ({"speakers": ("Anna", "Anna "), "channels": "split"}, "two speakers are called 'Anna'"),
        ({"speakers": ("Speaker 2", ""), "channels": "split"}, "two speakers are called 'Speaker 2'"),
    ],
)
def test_what_makes_no_sense(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Tracks(**fields)  # type: ignore[arg-type]
