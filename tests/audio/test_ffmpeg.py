"""Which ffmpeg runs, what happens if it fails, and what it costs."""

import io
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tones import ffmpeg, make_tone, read

from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.audio.read import open_audio
from mtasr.errors import AudioDecodeError, FfmpegNotFoundError
from mtasr.spans import SAMPLE_RATE

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


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
