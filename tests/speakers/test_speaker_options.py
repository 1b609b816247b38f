"""Options of telling speakers apart, and the names of speakers."""

from __future__ import annotations

from typing import Any

import pytest

from mtasr.audio.tracks import Tracks
from mtasr.errors import UsageError
from mtasr.speakers.options import SpeakerOptions, check_tracks, split_off


def test_speakers_are_numbered_where_they_have_no_name() -> None:
    options = SpeakerOptions(speakers=(" Anna ", "", "Cid"))
    assert [options.name(place) for place in range(4)] == ["Anna", "Speaker 2", "Cid", "Speaker 4"]


def test_names_are_those_of_channels() -> None:
    names = ("", "Ben")
    tracks = Tracks(channels="split", speakers=names)
    options = SpeakerOptions(speakers=names)
    assert [options.name(place) for place in range(3)] == [tracks.speaker(place) for place in range(3)]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"num_speakers": 0}, "num_speakers must be a whole number from 1 to 100, not 0"),
        ({"num_speakers": 101}, "num_speakers must be a whole number"),
        ({"min_speakers": 1.5}, "min_speakers must be a whole number"),
        ({"max_speakers": True}, "max_speakers must be a whole number"),
        ({"min_speakers": 3, "max_speakers": 2}, "min_speakers must be at most max_speakers, not 3 and 2"),
        ({"num_speakers": 2, "max_speakers": 3}, "num_speakers says how many there are"),
        ({"num_speakers": 2, "min_speakers": 1}, "num_speakers says how many there are"),
        ({"speakers": ("Anna", "Anna ")}, "two speakers are called 'Anna'"),
        ({"speakers": ("Speaker 2",)}, "two speakers are called 'Speaker 2'"),
        ({"speakers": "Anna"}, "speakers must be a list of names, not 'Anna'"),
        ({"speakers": ("Anna",), "voices": "known"}, "speakers and voices both name the speakers"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        SpeakerOptions(**fields)


def test_keywords_are_split_off() -> None:
    assert split_off(True, {"num_speakers": 2, "beam_size": 1}) == (SpeakerOptions(num_speakers=2), {"beam_size": 1})
    given = SpeakerOptions(min_speakers=2)
    assert split_off(given, {"speakers": ("A",)}) == (SpeakerOptions(min_speakers=2, speakers=("A",)), {})
    assert split_off(False, {"speakers": ("A",), "num_speakers": None}) == (None, {"speakers": ("A",)})
    with pytest.raises(UsageError, match="num_speakers needs diarize"):
        split_off(False, {"num_speakers": 2})


def test_split_channels_have_their_speakers() -> None:
    check_tracks(SpeakerOptions(), Tracks())
    check_tracks(None, Tracks(channels="split"))
    with pytest.raises(UsageError, match="diarize cannot be used with channels split"):
        check_tracks(SpeakerOptions(), Tracks(channels="split"))


@pytest.mark.parametrize("value", [0, 1, "", "yes", {}, {"num_speakers": 2}])
def test_diarize_is_a_truth_or_options(value: Any) -> None:
    with pytest.raises(UsageError, match="diarize must be True, False or a SpeakerOptions, not"):
        split_off(value, {})


def test_none_is_no_diarization() -> None:
    assert split_off(None, {}) == (None, {})
