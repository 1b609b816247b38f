from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_model import FakeModel, Run
from loudness_diarizer import LOUD_SOUND, LoudnessDiarizer, noise
from speech import write_wav
from test_cli_process import FAKE

from mtasr.batch.inputs import Input
from mtasr.cli.watch import Watch


def ready(looks: Watch, now: float) -> list[str]:
    return [Path(each.source).name for each in looks.ready(now)]


def test_a_recording_is_ready_once_it_has_stopped_growing(tmp_path: Path) -> None:
    looks = Watch(str(tmp_path), recursive=False, settled=5.0)
    (tmp_path / "a.wav").write_bytes(b"1")
    (tmp_path / "empty.wav").write_bytes(b"")
    assert ready(looks, 0.0) == []
    assert ready(looks, 4.0) == []
    (tmp_path / "a.wav").write_bytes(b"12")
    assert ready(looks, 6.0) == [], "it has grown"
    assert ready(looks, 10.0) == []
    assert ready(looks, 11.0) == ["a.wav"]
    assert ready(looks, 20.0) == [], "once"
    (tmp_path / "a.wav").write_bytes(b"123")
    assert ready(looks, 21.0) == []
    assert ready(looks, 26.0) == ["a.wav"], "and again when it has changed"
    (tmp_path / "a.wav").unlink()
    assert ready(looks, 40.0) == []


def test_a_subfolder_that_cannot_be_read_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def fail(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    reported: list[str] = []
    looks = Watch(str(tmp_path), recursive=True, settled=1.0, report=reported.append)
    assert ready(looks, 0.0) == []
    assert ready(looks, 2.0) == ["a.wav"]
    assert reported == [f"{tmp_path / 'locked'}: cannot be read: Permission denied"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    return tmp_path


def test_a_recording_that_is_deleted_before_it_is_opened(
    run: Run, model: FakeModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "in" / "a.wav").write_bytes(b"sound")
    looks = iter([[Input(str(folder / "in" / name)) for name in ("gone.wav", "a.wav")]])

    def ready(self: Watch, now: float) -> list[Input]:
        for found in looks:
            return found
        raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "ready", ready)
    assert run("watch", str(folder / "in"), "-o", str(folder)).exit_code == 0
    assert [Path(source).name for source, _ in model.calls] == ["a.wav"]


def test_voices_are_heard_once(run: Run, model: FakeModel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diarizer = LoudnessDiarizer()
    monkeypatch.setattr("mtasr.speakers.diarize.load_diarizer", lambda progress=None: diarizer)
    (folder / "voices").mkdir()
    write_wav(folder / "voices" / "Ben.wav", noise(2, LOUD_SOUND))
    for name in ("a.wav", "b.wav"):
        (folder / "in" / name).write_bytes(b"sound")
    arriving = iter(["a.wav", "b.wav"])

    def ready(self: Watch, now: float) -> list[Input]:
        (folder / "voices" / "Zed.wav").write_bytes(b"half a recording")
        for name in arriving:
            return [Input(str(folder / "in" / name))]
        raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "ready", ready)
    voices = ["--diarize", "--voices", str(folder / "voices")]
    result = run("watch", str(folder / "in"), "-o", str(folder), *voices)
    assert result.exit_code == 0, result.stderr
    assert [Path(source).name for source, _ in model.calls] == ["a.wav", "b.wav"]
    assert diarizer.listening == 1


def start(folder: Path, *args: str, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, FAKE, "watch", "in", "-o", "out", "--settled", "0.2", "--interval", "0.1", *args]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.05)


def test_what_comes_is_transcribed_until_ctrl_c(folder: Path) -> None:
    (folder / "in" / "before.wav").write_bytes(b"sound")
    (folder / "in" / "done.wav").write_bytes(b"sound")
    (folder / "out").mkdir()
    (folder / "out" / "done.srt").write_text("mine")
    process = start(folder, "--recursive")
    wait_for(folder / "out" / "before.srt")
    (folder / "in" / "notes.txt").write_text("no recording")
    (folder / "in" / "before.mp3").write_bytes(b"sound")
    (folder / "in" / "sub").mkdir()
    (folder / "in" / "sub" / "new.ogg").write_bytes(b"sound")
    wait_for(folder / "out" / "sub" / "new.srt")
    time.sleep(1.5)  # it has come to the end of what it does for a recording
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors.count("Using the model") == 1
    assert "before.mp3 would be written to out/before.srt, like in/before.wav; rename one of them" in errors
    assert errors.endswith("no longer watching in\n")
    assert (folder / "out" / "done.srt").read_text() == "mine"
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["before.srt", "done.srt", "sub"]


def test_ctrl_c_in_the_middle_of_a_recording(folder: Path) -> None:
    (folder / "in" / "a.wav").write_bytes(b"sound")
    process = start(folder, FAKE_DELAY="200")
    assert process.stderr is not None
    for line in process.stderr:
        if "detected language" in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in errors
    assert not list((folder / "out").iterdir())
