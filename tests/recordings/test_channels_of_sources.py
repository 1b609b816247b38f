"""Channels of recordings behind URLs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile_server import HASTE, HostileServer, Page
from tones import ffmpeg

from mtasr.audio.sources import openers
from mtasr.audio.tracks import Tracks
from mtasr.errors import InputError, InputNotFoundError, RecordingTooLongError
from mtasr.recordings import channels
from mtasr.recordings.channels import channel_openers
from mtasr.remote.patience import Patience

pytestmark = pytest.mark.timeout(60)

SPLIT = Tracks(channels="split")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setattr(Patience, "usual", lambda: HASTE)
    server = HostileServer()
    yield server
    server.close()


def stereo(path: Path, seconds: int, *settings: str) -> Path:
    sides = f"sine=440:duration={seconds}[a];sine=880:duration={seconds}[b];[a][b]amerge"
    ffmpeg("-filter_complex", sides, *settings, path)
    return path


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.flac", "a.aiff"])
def test_channels_are_counted_in_the_beginning(server: HostileServer, tmp_path: Path, name: str) -> None:
    page = Page(stereo(tmp_path / name, 30 if name != "a.mp3" else 100).read_bytes() + bytes(6 << 20))
    found = channel_openers(server.put(name, page), SPLIT)
    assert len(found) == 2
    ends = [int(span.rpartition("-")[2]) for _, span in server.asked if span]
    assert max(ends) < len(page.data) / 2


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.wav"])
def test_they_sound_as_in_a_file(
    server: HostileServer, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beginning of an MP4 does not tell, since its index is at the end."""
    path = stereo(tmp_path / name, 20)
    monkeypatch.setattr(channels, "_HEAD", 1 << 15)
    url = server.put(name, Page(path.read_bytes()))
    heard = [
        [np.concatenate(list(each())) for each in some]
        for some in (channel_openers(url, SPLIT), openers(str(path), SPLIT))
    ]
    assert len(heard[0]) == len(heard[1]) == 2
    assert all(map(np.array_equal, *heard))
    assert not np.array_equal(*heard[0])
    assert (channels._channels_at_beginning(url, 0) == 0) is (name == "a.m4a")
    with pytest.raises(RecordingTooLongError):
        list(channel_openers(url, SPLIT, 5.0)[1]())


def test_a_server_that_fails_while_they_are_counted_loses_none(server: HostileServer, tmp_path: Path) -> None:
    """What can be read later has as many channels as before; one alone would be transcribed without a word."""
    page = Page(stereo(tmp_path / "a.wav", 1).read_bytes(), cut_after=[None, *[0] * 40, None])
    url = server.put("a.wav", page)
    (only,) = channel_openers(url, SPLIT)
    page.cut_after = [None]
    with pytest.raises(InputError, match=r"a\.wav: reading it failed: the connection was cut"):
        only()
    assert len(channel_openers(url, SPLIT)) == 2
    with pytest.raises(InputNotFoundError, match="404"):
        channel_openers(f"{server.url}/none.wav", SPLIT)[0]()
