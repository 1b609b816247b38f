"""Decoding with the real ffmpeg: every file is made here."""

import gc
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtasr.audio import read as reading
from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.audio.read import check_input, check_reopenable, count_channels, open_audio
from mtasr.errors import AudioDecodeError, FfmpegNotFoundError, InputError, InputNotFoundError
from mtasr.spans import SAMPLE_RATE

TONE = "sine=frequency=440:duration={seconds}:sample_rate={rate}"


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([find_ffmpeg(), "-y", "-nostdin", "-loglevel", "error", *map(str, arguments)], check=True)


def make_tone(path: Path, *arguments: str, seconds: float = 2.0, rate: int = 44_100, channels: int = 1) -> Path:
    pan = f"pan={channels}c|" + "|".join(f"c{c}=c0" for c in range(channels))
    ffmpeg("-f", "lavfi", "-i", TONE.format(seconds=seconds, rate=rate), "-af", pan, *arguments, path)
    return path


def read(source, **chosen) -> np.ndarray:
    with open_audio(source, **chosen) as stream:
        return np.concatenate([np.zeros(0, np.float32), *stream])


def frequency(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


def children() -> set[str]:
    """Process ids of our children, zombies included."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="module", autouse=True)
def collections_are_quick():
    """A collection looks at what the tests here make, not at all that the modules hold."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(collections_are_quick):
    before = children(), threading.active_count(), descriptors()
    yield
    gc.collect()
    assert (children(), threading.active_count(), descriptors()) == before


@pytest.fixture(scope="module")
def wav(tmp_path_factory) -> Path:
    return make_tone(tmp_path_factory.mktemp("audio") / "tone.wav", seconds=5)


@pytest.fixture(scope="module")
def m4a(tmp_path_factory) -> Path:
    return make_tone(tmp_path_factory.mktemp("audio") / "tone.m4a", seconds=5)


# --- formats, rates, channels ---


@pytest.mark.parametrize(
    "name",
    ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a", "a.mkv", "a.opus", "a.aiff", "a.webm", "a.w64", "a.caf", "a.mp4"],
)
def test_formats(tmp_path, name):
    samples = read(make_tone(tmp_path / name))
    assert len(samples) == 2 * SAMPLE_RATE  # to the sample: no encoder delay left in front, no padding behind
    assert frequency(samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("name", ["a.avi", "a.wma", "a.mpg", "a.ts", "a.aac", "a.mov", "a.flv"])
def test_formats_that_round_to_packets(tmp_path, name):
    samples = read(make_tone(tmp_path / name))
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
    assert frequency(samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 48_000, 96_000, 192_000])
def test_rates_give_the_exact_length(tmp_path, rate):
    assert len(read(make_tone(tmp_path / "a.wav", rate=rate))) == 2 * SAMPLE_RATE


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_are_averaged_not_summed(tmp_path, channels):
    samples = read(make_tone(tmp_path / "a.wav", channels=channels))
    assert np.abs(samples).max() == pytest.approx(0.125, abs=0.01)  # lavfi's sine has amplitude 1/8


def test_samples_at_16_khz_pass_unchanged(tmp_path):
    written = (np.random.default_rng(0).uniform(-1, 1, 40_000) * 32767).astype("<i2")
    (tmp_path / "a.raw").write_bytes(written.tobytes())
    ffmpeg("-f", "s16le", "-ar", "16000", "-ac", "1", "-i", tmp_path / "a.raw", tmp_path / "a.wav")
    samples = read(tmp_path / "a.wav")
    assert samples.dtype == np.float32
    assert np.array_equal(samples, written.astype(np.float32) / 32768)


def test_not_a_number_becomes_silence_and_loud_is_clipped(tmp_path):
    written = np.array([0.5, np.nan, np.inf, -np.inf, 7.0, -7.0, 0.25] * 100, "<f4")
    (tmp_path / "a.raw").write_bytes(written.tobytes())
    ffmpeg("-f", "f32le", "-ar", "16000", "-ac", "1", "-i", tmp_path / "a.raw", "-c", "copy", tmp_path / "a.wav")
    assert read(tmp_path / "a.wav")[:7].tolist() == [0.5, 0.0, 0.0, 0.0, 1.0, -1.0, 0.25]


def test_blocks_duration_and_count(wav):
    with open_audio(wav) as stream:
        assert stream.duration == 5.0
        sizes = [block.size for block in stream]
        assert sizes == [reading.BLOCK_SAMPLES] * 5
        assert stream.samples_read == sum(sizes)
        assert stream.warnings == ()
        assert stream.duration == 5.0


def test_no_samples_is_no_error(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine", "-t", "0", tmp_path / "a.wav")
    assert read(tmp_path / "a.wav").size == 0


# --- tracks and channels ---


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
        ("tracks", 2, "has no audio track 2: there are 2, counted from 0"),
        ("wav", 1, "has no audio track 1: there is 1, counted from 0"),
        ("wav", 9999, "has no audio track 9999: there is 1, counted from 0"),
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


# --- times ---


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_late_audio_is_padded_to_file_time(tmp_path, wav, name):
    picture = ["-f", "lavfi", "-i", "testsrc=duration=5:size=64x64", "-itsoffset", "1.5", "-i", wav]
    ffmpeg(*picture, "-c:v", "mpeg4" if name != "a.ts" else "mpeg2video", tmp_path / name)
    samples = read(tmp_path / name)
    assert np.flatnonzero(np.abs(samples) > 0.01)[0] / SAMPLE_RATE == pytest.approx(1.5, abs=0.03)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6.5, abs=0.05)


def test_holes_are_filled(tmp_path, wav):
    ffmpeg("-i", wav, "-af", "asetpts='if(lt(T,2),PTS,PTS+3/TB)'", "-c:a", "flac", tmp_path / "a.mkv")
    samples = read(tmp_path / "a.mkv")
    assert len(samples) / SAMPLE_RATE == pytest.approx(8.0, abs=0.05)
    assert np.abs(samples[int(2.3 * SAMPLE_RATE) : int(4.7 * SAMPLE_RATE)]).max() == 0


def test_a_change_of_rate_and_channels_adds_no_time(tmp_path):
    first, second = make_tone(tmp_path / "1.mp3", channels=2), make_tone(tmp_path / "2.mp3", rate=22_050)
    (tmp_path / "a.mp3").write_bytes(first.read_bytes() + second.read_bytes())
    assert len(read(tmp_path / "a.mp3")) / SAMPLE_RATE == pytest.approx(4.0, abs=0.15)


# --- other sources ---

LENGTH_OF_STDIN = (
    "import sys; from mtasr.audio.read import open_audio\nwith open_audio(sys.argv[1]) as a: print(sum(map(len, a)))"
)


def run_python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("fixture", ["wav", "m4a"])
def test_redirected_standard_input(fixture, name, request):
    with request.getfixturevalue(fixture).open("rb") as stdin:
        done = run_python(LENGTH_OF_STDIN, name, stdin=stdin)
    assert (done.stdout, done.stderr) == (b"80000\n", b"")


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_piped_standard_input(wav, name):
    done = run_python(LENGTH_OF_STDIN, name, input=wav.read_bytes())
    assert (done.stdout, done.stderr) == (b"80000\n", b"")


def test_piped_mp4_with_its_index_at_the_end_is_explained(tmp_path):
    long = make_tone(tmp_path / "a.m4a", seconds=60)  # more than ffmpeg's buffer, so that it would have to go back
    done = run_python(LENGTH_OF_STDIN, "-", input=long.read_bytes())
    assert b"standard input: is incomplete, or keeps its index at the end" in done.stderr


def test_closed_standard_input():
    done = run_python("import os; os.close(0); from mtasr.audio.read import check_input; check_input('-')")
    assert b"InputNotFoundError: standard input: is closed" in done.stderr


def test_fifo(tmp_path, wav):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(wav.read_bytes()))
    writer.start()
    assert len(read(fifo)) == 80_000
    writer.join()


@pytest.mark.parametrize("fixture", ["wav", "m4a"])
def test_file_objects(fixture, request):
    path = request.getfixturevalue(fixture)
    assert len(read(io.BytesIO(path.read_bytes()))) == 80_000
    with path.open("rb") as file:
        assert len(read(file)) == 80_000


def test_a_file_object_leaves_standard_input_alone(m4a):
    code = """
import io, sys
from pathlib import Path
from mtasr.audio.read import open_audio
with open_audio(io.BytesIO(Path(sys.argv[1]).read_bytes())) as stream:
    print(sum(map(len, stream)), stream.warnings, sys.stdin.read())
"""
    done = run_python(code, str(m4a), input=b"RIFF and the rest")
    assert (done.stdout, done.stderr) == (b"80000 () RIFF and the rest\n", b"")


def test_file_object_that_fails():
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError("the disk is on fire")

    with pytest.raises(AudioDecodeError, match=r"the recording: reading it failed .* the disk is on fire"):
        read(Broken())


@pytest.mark.parametrize(
    "name",
    [
        b"-x.wav",
        b"concat:a.wav|b.wav",
        b"a%03d.wav",
        b"new\nline.wav",
        b"\xff\xfe.wav",
        b"pipe:0",
        b"http:x.wav",
        "Gespräch 会议 🎙.wav".encode(),
        b"'\"[in]\\;,.wav",
    ],
)
def test_odd_names(tmp_path, wav, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(os.fsdecode(name)).symlink_to(wav)
    assert len(read(os.fsdecode(name))) == 80_000


def test_odd_names_stay_on_one_line(tmp_path):
    with pytest.raises(InputNotFoundError, match=r"new\\nline\\udcff: no such file$") as caught:
        open_audio(tmp_path / os.fsdecode(b"new\nline\xff"))
    assert str(caught.value).encode()  # can be printed


# --- ends, early and otherwise ---


def test_leaving_early_stops_ffmpeg(wav):
    before = children()
    with open_audio(wav) as stream:
        next(stream)
        assert len(children() - before) == 1
    assert children() == before
    stream.close()


def test_an_exception_stops_ffmpeg(wav):
    def interrupted():
        with open_audio(wav) as stream:
            next(stream)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_forgotten_stream_is_reaped(wav):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(open_audio(wav))
        gc.collect()


def test_endless_file_object_can_be_left():
    class Noise(io.RawIOBase):
        header = True

        def read(self, size=-1):
            head, self.header = (b"RIFF\xff\xff\xff\xffWAVEfmt " if self.header else b""), False
            fmt = b"\x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\xff\xff\xff\xff" if head else b""
            return head + fmt + os.urandom(4096)

    with open_audio(Noise()) as stream:
        assert next(stream).size == reading.BLOCK_SAMPLES


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_ffmpeg_is_an_error_and_not_an_end(tmp_path, number):
    long = make_tone(tmp_path / "a.wav", seconds=120, rate=16_000)
    before = children()
    with open_audio(long) as stream:
        next(stream)
        (process,) = children() - before
        os.kill(int(process), number)
        with pytest.raises(AudioDecodeError, match=r"a\.wav: ffmpeg was stopped after .* s of audio"):
            list(stream)


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.mkv", "a.aiff"])
def test_cut_short_keeps_what_is_there_and_tells(tmp_path, name):
    path = make_tone(tmp_path / name, seconds=20)
    os.truncate(path, path.stat().st_size // 2 + 1)
    with open_audio(path) as stream:
        samples = np.concatenate(list(stream))
    assert 8 < len(samples) / SAMPLE_RATE < 14
    assert frequency(samples[:SAMPLE_RATE]) == pytest.approx(440, abs=1)
    assert stream.warnings
    assert all(line.startswith(str(path)) and "\n" not in line for line in stream.warnings)


# --- what cannot be read ---


def test_missing_folder_empty_dangling(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    for name, reason in {
        "missing.wav": "no such file",
        ".": "is a folder, not a recording",
        "empty.wav": "is empty",
        "link.wav": "is a link to a file that does not exist",
        "empty.wav/a.wav": "no such file",
        "a\0b": "embedded null byte",
        "n" * 300: "File name too long",
    }.items():
        for refuse in (check_input, open_audio):
            with pytest.raises(InputNotFoundError, match=reason):
                refuse(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path, wav):
    path = tmp_path / "a.wav"
    path.write_bytes(wav.read_bytes())
    path.chmod(0)
    with pytest.raises(InputNotFoundError, match="permission denied"):
        open_audio(path)


def test_unreadable_by_report(wav, monkeypatch):
    monkeypatch.setattr(reading.os, "access", lambda path, mode: False)
    with pytest.raises(InputNotFoundError, match="permission denied"):
        check_input(wav)


def test_address_is_a_missing_file_and_nobody_is_called():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        with pytest.raises(InputNotFoundError, match="addresses are not opened"):
            open_audio(f"http://127.0.0.1:{server.getsockname()[1]}/a.wav")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_text_and_noise_are_no_recordings(tmp_path):
    (tmp_path / "a.wav").write_text("hello\n" * 1000)
    (tmp_path / "b.wav").write_bytes(np.random.default_rng(0).bytes(100_000))
    for name in ("a.wav", "b.wav"):
        with pytest.raises(AudioDecodeError, match="is not a media file that ffmpeg can read") as caught:
            read(tmp_path / name)
        assert caught.value.details


def test_picture_without_sound(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=duration=1:size=64x64", tmp_path / "a.mp4")
    with pytest.raises(AudioDecodeError, match=r"a\.mp4: has no audio track") as caught:
        read(tmp_path / "a.mp4")
    assert any("matches no streams" in line for line in caught.value.details)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{file}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{file}'\n",
    "dash": '<?xml version="1.0"?>\n'
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{file}</BaseURL></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "asx": '<asx version="3.0"><entry><ref href="{file}"/></entry></asx>',
}


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m3u8", "ffconcat", "mpd"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_open_no_other_file(tmp_path, wav, kind, suffix):
    (tmp_path / "secret.wav").symlink_to(wav)
    path = tmp_path / f"list.{suffix}"
    path.write_text(PLAYLISTS[kind].format(file="secret.wav"))
    with pytest.raises(AudioDecodeError, match="is not a media file"):
        read(path)


# --- ffmpeg itself ---


def test_named_ffmpeg(monkeypatch, tmp_path):
    real = find_ffmpeg()
    monkeypatch.setenv("MTASR_FFMPEG", real)
    assert find_ffmpeg() == real
    for wrong in (tmp_path / "nothing", tmp_path):
        monkeypatch.setenv("MTASR_FFMPEG", str(wrong))
        with pytest.raises(FfmpegNotFoundError, match=f"MTASR_FFMPEG is {wrong}"):
            find_ffmpeg()


def test_ffmpeg_that_does_not_start(monkeypatch, tmp_path, wav):
    fake = tmp_path / "ffmpeg"
    fake.write_bytes(b"\x7fELF nonsense")
    fake.chmod(0o755)
    monkeypatch.setenv("MTASR_FFMPEG", str(fake))
    with pytest.raises(FfmpegNotFoundError, match="cannot be started"):
        open_audio(wav)


def test_path_comes_before_the_package(monkeypatch, tmp_path):
    monkeypatch.delenv("MTASR_FFMPEG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "imageio_ffmpeg" in find_ffmpeg()
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    assert find_ffmpeg() == str(tmp_path / "ffmpeg")


def test_no_ffmpeg_at_all(monkeypatch, tmp_path):
    monkeypatch.delenv("MTASR_FFMPEG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FfmpegNotFoundError, match="install ffmpeg"):
        find_ffmpeg()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "ffmpeg failed and gave no reason"),
        ("yes '[error] the same again and again' | head -c 20000000 >&2; exit 1", "ffmpeg: the same again"),
        ("head -c 20000000 /dev/zero >&2; exit 1", "gave no reason"),
    ],
)
def test_failing_ffmpeg(monkeypatch, tmp_path, wav, script, reason):
    """However much it says, nothing blocks and little is kept."""
    fake = tmp_path / "ffmpeg"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("MTASR_FFMPEG", str(fake))
    with pytest.raises(AudioDecodeError, match=reason) as caught:
        read(wav)
    assert len(caught.value.details) <= 200


def test_environment_cannot_change_the_messages(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AV_LOG_FORCE_COLOR", "1")
    monkeypatch.setenv("FFREPORT", "file=report.log")
    ffmpeg("-f", "lavfi", "-i", "testsrc=duration=1:size=64x64", "a.mp4")
    (tmp_path / "report.log").unlink()
    with pytest.raises(AudioDecodeError, match="has no audio track"):
        read("a.mp4")
    assert not (tmp_path / "report.log").exists()


def resident_kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.slow
def test_an_hour_takes_constant_memory_and_waits_for_us(tmp_path):
    """An hour is 230 MB of samples. ffmpeg runs ahead by the size of its pipe and no more."""
    path = make_tone(tmp_path / "a.flac", seconds=3600, rate=8_000)
    with open_audio(path) as stream:
        next(stream)
        time.sleep(0.2)
        before = resident_kilobytes()
        for _ in stream:
            pass
        assert stream.samples_read == 3600 * SAMPLE_RATE
    assert resident_kilobytes() - before < 20_000


@pytest.mark.parametrize("room", [0, 1])
def test_no_room_for_a_thread_is_want_of_memory_and_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Neither for the one that listens to ffmpeg, nor for the one that feeds it."""
    started = []
    popen = subprocess.Popen

    def watched(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        return started[-1]

    begin = threading.Thread.start
    left = iter(range(room))

    def refuse(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(subprocess, "Popen", watched)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(MemoryError):
        open_audio(io.BytesIO(b"sound"))
    assert [process.returncode is not None for process in started] == [True]


@pytest.mark.parametrize(
    "says", ["pthread_create() failed: Resource temporarily unavailable", "[out @ 0x1] [fatal] Cannot allocate memory"]
)
def test_a_decoder_without_memory_is_not_a_damaged_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    """Neither before the first sample, nor after some, which are not taken for the whole."""
    make_tone(tmp_path / "a.wav", seconds=3)
    real, stub = find_ffmpeg(), tmp_path / "ffmpeg"
    for samples in ("", f'"{real}" "$@"; '):
        line = says if says.startswith("[") else f"[error] {says}"
        stub.write_text(f"#!/bin/sh\n{samples}echo '{line}' >&2; exit 1\n")
        stub.chmod(0o755)
        monkeypatch.setenv("MTASR_FFMPEG", str(stub))
        with pytest.raises(MemoryError):
            read(tmp_path / "a.wav")
