"""A URL as a source: it sounds as the file does, whatever the format and the line."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from containers import joined
from hostile_server import HASTE, HostileServer, Page
from object_store import ObjectStore
from tones import children, ffmpeg, make_tone, read

from mtasr.audio.read import check_input, count_channels, open_audio
from mtasr.audio.sources import openers, opens_at_once, stated_seconds
from mtasr.audio.tracks import Tracks
from mtasr.errors import AudioDecodeError, InputError, InputNotFoundError
from mtasr.remote.file import LEAST
from mtasr.remote.patience import Patience

ENCODINGS = {
    "tone.wav": [],
    "tone.flac": [],
    "tone.ogg": ["-c:a", "libvorbis"],
    "tone.opus": ["-c:a", "libopus"],
    "tone.mp3": ["-write_id3v1", "1", "-metadata", "title=Tone"],
    "tone.m4a": [],
    "tone.mka": ["-c:a", "libmp3lame"],
    "tone.ts": ["-c:a", "mp2"],
    "tone.aac": [],
    "tone.aiff": [],
    "tone.wma": [],
    "tone.caf": ["-c:a", "alac"],
    "tone.avi": ["-c:a", "mp3"],
}


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patience, "usual", lambda: HASTE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tones")
    for name, arguments in ENCODINGS.items():
        make_tone(found / name, *arguments, seconds=3.0, channels=2)
    return found


def same(url: str, path: Path) -> None:
    """The samples, the repairs and the warnings of both are equal."""
    heard = []
    for source in (str(path), url):
        with open_audio(source) as stream:
            samples = np.concatenate([np.zeros(0, np.float32), *stream])
        lines = [line.removeprefix(f"{source}: ") for line in stream.warnings]
        heard.append((samples, stream.repairs, lines))
    (expected, *told), (samples, *said) = heard
    assert np.array_equal(samples, expected)
    assert said == told


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("ranges", [True, False])
def test_it_sounds_as_the_file_does(server: HostileServer, folder: Path, name: str, ranges: bool) -> None:
    page = Page((folder / name).read_bytes(), ranges=ranges)
    same(server.put(name, page), folder / name)


def test_in_an_object_store(store: ObjectStore, folder: Path) -> None:
    for name in ("tone.flac", "tone.m4a"):
        same(store.put(f"any folder/{name}", (folder / name).read_bytes()), folder / name)


def test_a_line_that_is_cut_costs_nothing(server: HostileServer, folder: Path) -> None:
    data = (folder / "tone.wav").read_bytes()
    page = Page(data, cut_after=[None, 65_536, 0, 40_960, None])
    same(server.put("tone.wav", page), folder / "tone.wav")


def test_recordings_in_one_file_are_all_heard(server: HostileServer, folder: Path, tmp_path: Path) -> None:
    both = joined(tmp_path / "both.wav", folder / "tone.wav", folder / "tone.wav")
    same(server.put("both.wav", Page(both.read_bytes())), both)


def test_so_are_those_that_are_not_looked_for(server: HostileServer, folder: Path, tmp_path: Path) -> None:
    both = joined(tmp_path / "both.flac", folder / "tone.flac", folder / "tone.flac")
    samples = read(server.put("both.flac", Page(both.read_bytes())))
    assert abs(len(samples) - len(read(str(both)))) < 100


@pytest.mark.parametrize("name", ["tone.wav", "tone.ogg"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_recording_without_its_end(
    server: HostileServer, folder: Path, tmp_path: Path, name: str, ranges: bool
) -> None:
    cut = tmp_path / name
    cut.write_bytes((folder / name).read_bytes()[:-5000])
    same(server.put(name, Page(cut.read_bytes(), ranges=ranges)), cut)


def test_a_line_that_breaks_is_no_end_of_the_recording(server: HostileServer, folder: Path) -> None:
    url = server.put("tone.wav", Page((folder / "tone.wav").read_bytes(), cut_after=[None, None, 0]))
    with pytest.raises(AudioDecodeError, match=r"tone.wav: reading it failed after .* s of audio: the connection was"):
        read(url)


def test_nor_where_the_format_is_looked_for(server: HostileServer, folder: Path) -> None:
    url = server.put("tone.m4a", Page((folder / "tone.m4a").read_bytes(), cut_after=[None, 0]))
    with pytest.raises(InputError, match=r"tone.m4a: reading it failed: the connection was cut \(5 times\), at byte 0"):
        read(url)


def test_a_missing_recording_is_one_line(server: HostileServer) -> None:
    for look in (check_input, read):
        with pytest.raises(InputNotFoundError) as caught:
            look(f"{server.url}/none.wav?key=secret")
        assert str(caught.value) == f"{server.url}/none.wav: no such file (HTTP 404)"


def test_each_channel_is_read(server: HostileServer, tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    sides = "sine=440:duration=1[a];sine=880:duration=1[b];[a][b]amerge"
    ffmpeg("-filter_complex", sides, path)
    url = server.put("stereo.wav", Page(path.read_bytes()))
    assert count_channels(url) == 2
    for source in (url, str(path)):
        opened = openers(source, Tracks(channels="split"))
        assert len(opened) == 2
    sounds = [
        np.concatenate(list(open_()))
        for source in (url, str(path))
        for open_ in openers(source, Tracks(channels="split"))
    ]
    assert np.array_equal(sounds[0], sounds[2])
    assert np.array_equal(sounds[1], sounds[3])
    assert not np.array_equal(sounds[0], sounds[1])


@pytest.mark.parametrize("name", ["tone.m4a", "tone.flac"])
def test_what_it_states(server: HostileServer, folder: Path, name: str) -> None:
    url = server.put(name, Page((folder / name).read_bytes()))
    assert stated_seconds(url) == stated_seconds(str(folder / name))


def test_opening_may_take_its_time(server: HostileServer) -> None:
    assert not opens_at_once(f"{server.url}/a.wav")


def test_stopping_early_leaves_nothing(server: HostileServer, tmp_path: Path) -> None:
    path = make_tone(tmp_path / "tone.wav", seconds=60.0)
    url = server.put("tone.wav", Page(path.read_bytes()))
    before = children()
    with open_audio(url) as stream:
        next(stream)
        threads = threading.active_count()
    del stream
    gc.collect()
    assert children() == before
    assert threading.active_count() <= threads


def test_a_stalled_server_does_not_hold_up_the_end(server: HostileServer, tmp_path: Path) -> None:
    page = Page(make_tone(tmp_path / "tone.wav", seconds=60.0).read_bytes(), cut_after=[None, None, 0])
    url = server.put("tone.wav", page)
    with open_audio(url) as stream:
        page.cut_after, page.stall_after = [None], 0
        asked = len(server.asked)
        while len(server.asked) == asked:
            next(stream)  # makes room in the pipe, until the next block is asked for
        stream.close()
    assert not stream._feeder._thread.is_alive()  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODINGS)
def test_nothing_is_fetched_twice(server: HostileServer, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=60:r=44100:c=pink", "-ac", "2", *ENCODINGS[name], path)
    size = path.stat().st_size
    assert size > 450_000
    same(server.put(name, Page(path.read_bytes())), path)
    ranges = [asked[6:].split("-") for _, asked in server.asked]
    assert sum(min(int(end), size - 1) + 1 - int(start) for start, end in ranges) < 1.1 * size + LEAST


@pytest.mark.parametrize("name", ["tone.wav", "tone.flac"])
def test_streaming_begins_with_the_first_bytes(server: HostileServer, tmp_path: Path, name: str) -> None:
    path = make_tone(tmp_path / name, seconds=300.0, channels=2)
    url = server.put(name, Page(path.read_bytes()))
    with open_audio(url) as stream:
        next(stream)
        starts = [int(asked[6:].partition("-")[0]) for _, asked in server.asked]
    assert max(starts) < path.stat().st_size // 2


@pytest.mark.parametrize("ranges", [True, False])
def test_a_copy_that_nobody_wants_ends(server: HostileServer, tmp_path: Path, ranges: bool) -> None:
    """Opening does not copy; closing while another thread waits for the copy ends it."""
    page = Page(make_tone(tmp_path / "tone.m4a", seconds=5.0).read_bytes() * 100, ranges=ranges)
    url = server.put("tone.m4a", page)
    stream = open_audio(url)
    asked = len(server.asked)
    server.asked.clear()
    page.trickle = 0.05
    errors: list[Exception] = []

    def wait() -> None:
        try:
            next(stream)
        except InputError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not server.asked:
        time.sleep(0.01)
    stream.abort()
    stream.close()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert [str(error) for error in errors] == [f"{url}: reading it failed: it was closed"]
    assert asked == (2 if ranges else 1)
    assert stream.duration is None
    assert len(server.asked) == 1
    with pytest.raises(InputError):
        next(stream)


def test_no_space_for_a_copy(server: HostileServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.put("tone.m4a", Page((folder / "tone.m4a").read_bytes()))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"tone.m4a: has to be copied first, and .* too many for .*TMPDIR"):
        read(url)
