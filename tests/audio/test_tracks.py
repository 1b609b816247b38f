"""Tracks of a file and channels of a track: what may be chosen, and what is decoded then."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from tones import ffmpeg, frequency, make_tone, read

from mtasr.audio.read import check_reopenable, count_channels
from mtasr.audio.tracks import Tracks
from mtasr.errors import AudioDecodeError, InputError, InputNotFoundError, UsageError
from mtasr.spans import SAMPLE_RATE

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


def test_speakers_are_numbered_where_they_have_no_name() -> None:
    tracks = Tracks(channels="split", speakers=(" Anna ", ""))
    assert [tracks.speaker(channel) for channel in range(3)] == ["Anna", "Speaker 2", "Speaker 3"]
    assert Tracks(channels="split").speaker(0) == "Speaker 1"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"audio_stream": -1}, "audio_stream must be a whole number from 0"),
        ({"audio_stream": 1.5}, "audio_stream must be a whole number from 0"),
        ({"audio_stream": 2**32}, "audio_stream must be a whole number from 0"),
        ({"channels": "left"}, "channels must be mix or split, not 'left'"),
        ({"speakers": ("Anna",)}, "speakers needs diarize, or channels split"),
        ({"speakers": ("Speaker 2",), "channels": "split"}, "two speakers are called 'Speaker 2'"),
        ({"speakers": "Anna", "channels": "split"}, "speakers must be a list of names, not 'Anna'"),
        ({"speakers": (1,), "channels": "split"}, "speakers must be a list of names"),
        ({"speakers": ("Anna", "Anna "), "channels": "split"}, "two speakers are called 'Anna'"),
        ({"speakers": ("Speaker 2", ""), "channels": "split"}, "two speakers are called 'Speaker 2'"),
    ],
)
def test_what_makes_no_sense(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Tracks(**fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> Path:
    """Track 0 is a mono tone of 440 Hz, track 1, which starts a second later, has 300 Hz left and 600 Hz right."""
    folder = tmp_path_factory.mktemp("tracks")
    tones = (f"sine=frequency={pitch}:duration=2:sample_rate=48000" for pitch in (300, 600))
    inputs = [part for tone in tones for part in ("-f", "lavfi", "-i", tone)]
    ffmpeg(*inputs, "-filter_complex", "join", folder / "calls.wav")
    first = ["-f", "lavfi", "-i", "testsrc=duration=3:size=64x64", "-i", make_tone(folder / "tone.wav", seconds=3)]
    second = ["-itsoffset", "1", "-i", folder / "calls.wav"]
    ffmpeg(*first, *second, "-map", "1", "-map", "0", "-map", "2", "-c:a", "flac", folder / "a.mkv")
    return folder / "a.mkv"


def test_tracks(tracks):
    assert frequency(read(tracks)) == pytest.approx(440, abs=1)
    assert len(read(tracks, track=0)) / SAMPLE_RATE == pytest.approx(3.0, abs=0.05)
    second = read(tracks, track=1)
    assert len(second) / SAMPLE_RATE == pytest.approx(3.0, abs=0.05)
    assert np.flatnonzero(np.abs(second) > 0.01)[0] / SAMPLE_RATE == pytest.approx(1.0, abs=0.03)
    assert np.array_equal(second, read(io.BytesIO(tracks.read_bytes()), track=1))


def test_tracks_of_a_transport_stream_start_where_its_header_says(tmp_path, wav):
    late = ["-itsoffset", "1.5", "-i", wav]
    ffmpeg("-i", wav, *late, "-map", "0", "-map", "1", "-c:a", "mp2", tmp_path / "a.ts")
    for track, start in enumerate((0.0, 1.5)):
        samples = read(tmp_path / "a.ts", track=track)
        assert np.flatnonzero(np.abs(samples) > 0.01)[0] / SAMPLE_RATE == pytest.approx(start, abs=0.05)


@pytest.mark.parametrize(
    ("fixture", "track", "reason"),
    [
        ("tracks", 2, "has no audio track 2: it has 0 to 1"),
        ("wav", 1, "has no audio track 1: its only one is 0"),
        ("wav", 9999, "has no audio track 9999: its only one is 0"),
    ],
)
def test_a_track_that_is_not_there(request, fixture, track, reason):
    path = request.getfixturevalue(fixture)
    with pytest.raises(AudioDecodeError) as caught:
        read(path, track=track)
    assert str(caught.value) == f"{path}: {reason}"
    assert count_channels(path, track=track) == 0


def test_channels_apart(tracks):
    for channel, pitch in enumerate((300, 600)):
        samples = read(tracks, track=1, channel=channel)
        assert samples.shape == read(tracks, track=1).shape
        spoken = samples[SAMPLE_RATE : 3 * SAMPLE_RATE]
        assert np.abs(samples[: SAMPLE_RATE - 500]).max() == 0
        assert frequency(spoken) == pytest.approx(pitch, abs=1)
        assert np.abs(spoken).max() == pytest.approx(0.125, abs=0.01), "as loud as it is, and not half of it"


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
def test_how_many_channels(tmp_path, channels):
    path = make_tone(tmp_path / "a.wav", channels=channels, seconds=0.5)
    assert count_channels(path) == channels
    for channel in {0, channels - 1}:
        assert frequency(read(path, channel=channel)) == pytest.approx(440, abs=2)


def test_how_many_channels_of_tracks(tracks, tmp_path):
    assert [count_channels(tracks, track=track) for track in (0, 1)] == [1, 2]
    ffmpeg("-f", "lavfi", "-i", "sine", "-t", "0", tmp_path / "a.wav")
    assert count_channels(tmp_path / "a.wav") == 0
    with pytest.raises(InputNotFoundError):
        count_channels(tmp_path / "missing.wav")


def test_a_channel_that_ends_is_silent_from_there(tmp_path):
    first, second = make_tone(tmp_path / "1.mp3", channels=2), make_tone(tmp_path / "2.mp3", channels=1)
    (tmp_path / "a.mp3").write_bytes(first.read_bytes() + second.read_bytes())
    samples = read(tmp_path / "a.mp3", channel=1)
    assert len(samples) / SAMPLE_RATE == pytest.approx(4.0, abs=0.15)
    assert np.abs(samples[: SAMPLE_RATE * 19 // 10]).max() > 0.1
    assert np.abs(samples[SAMPLE_RATE * 22 // 10 :]).max() < 0.01


def test_what_can_be_read_once_cannot_be_split(tmp_path, wav):
    check_reopenable(wav)
    os.mkfifo(tmp_path / "fifo")
    for source in ("-", tmp_path / "fifo", io.BytesIO(wav.read_bytes())):
        with pytest.raises(InputError, match="give the path of a file"):
            check_reopenable(source)
