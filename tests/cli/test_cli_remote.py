"""Addresses on the command line: what is opened, what is said, and with which exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_model import FakeModel, Run
from hostile_server import HASTE, Page, hostile_server
from loudness_diarizer import LoudnessDiarizer
from speech import speak, write_wav

from mtasr.remote.patience import Patience


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patience, "usual", lambda: HASTE)


def test_an_address_is_a_recording(run: Run, folder: Path, model: FakeModel) -> None:
    with hostile_server() as server:
        url = server.put("talks/a%20talk.wav", Page(b"sound"))
        done = run("transcribe", f"{url}?signature=secret", "-o", "out")
    assert done.exit_code == 0, done.output
    assert [source for source, _ in model.calls] == [f"{url}?signature=secret"]
    assert (folder / "out" / "a talk.srt").exists()
    assert f"{url}: 0:04 of audio" in done.stderr
    assert "secret" not in done.output


def test_one_that_is_missing_is_one_line(run: Run) -> None:
    with hostile_server() as server:
        done = run("transcribe", f"{server.url}/none.wav?signature=secret")
        assert done.exit_code == 3
        assert done.stderr == f"mtasr: error: {server.url}/none.wav: no such file (HTTP 404)\n"
        assert run("transcribe", f"{server.url}/none.wav", "a.wav").exit_code == 6


def test_a_list_opens_what_is_allowed(run: Run, folder: Path) -> None:
    with hostile_server() as server:
        (folder / "list").write_text(server.put("a.wav", Page(b"sound")))
        done = run("transcribe", "--files-from", "list")
        assert done.exit_code == 2
        line = f"{server.url}/a.wav: addresses in a list are opened only with --allow-scheme http"
        assert done.stderr == f"mtasr: error: {line}\n"
        assert server.asked == []
        assert run("transcribe", "--files-from", "list", "--allow-scheme", "http").exit_code == 0


@pytest.mark.parametrize("line", ["file:///etc/passwd", "simplecache::http://host/a.wav"])
def test_never_local_files_and_chains(run: Run, folder: Path, line: str) -> None:
    (folder / "list").write_text(line)
    allowed = [word for scheme in ("file", "http", "simplecache") for word in ("--allow-scheme", scheme)]
    done = run("transcribe", "--files-from", "list", *allowed)
    assert done.exit_code == 2
    assert done.stderr == f"mtasr: error: {line}: a list may not name local files and chains by address\n"


@pytest.mark.parametrize(
    "command",
    [["watch", "."], ["live", "-", "-f", "txt"], ["subtitle", "a.wav", "--embed"]],
    ids=lambda command: command[0],
)
def test_commands_that_write_here(run: Run, folder: Path, command: list[str]) -> None:
    done = run(*command, "--output-dir", "s3://talks/out")
    assert done.exit_code == 2, done.output
    assert "s3://talks/out: " in done.stderr
    assert "of this machine" in done.stderr
    assert not (folder / "s3:").exists()


def test_a_limit_of_time_that_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("MTASR_REMOTE_TIMEOUT", "soon")
    done = run("transcribe", "http://127.0.0.1:1/a.wav")
    assert done.exit_code == 2
    assert "MTASR_REMOTE_TIMEOUT is 'soon', which is no number of seconds" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["transcribe"],
        ["transcribe", "--progress", "json"],
        ["translate", "--debug"],
        ["diarize"],
        ["diarize", "--progress", "json"],
        ["detect-language"],
        ["view"],
        ["view", "--sound", "beside"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("sound", [True, False])
def test_no_command_shows_secrets(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], sound: bool
) -> None:
    monkeypatch.setattr("mtasr.speakers.diarize.load_diarizer", lambda *_: LoudnessDiarizer())
    write_wav(folder / "speech.wav", speak("The train leaves at noon."))
    before = set(folder.rglob("*"))
    with hostile_server() as server:
        data = (folder / "speech.wav").read_bytes() if sound else b"noise"
        url = server.put("talks/talk.wav", Page(data)).replace("//", "//me:passphrase@")
        done = run(*command, f"{url}?signature=secret")
        missing = run(*command, f"{url}x?signature=secret")
    assert missing.exit_code == 3, missing.output
    if sound:
        assert done.exit_code == 0, done.output
    made = [each for each in set(folder.rglob("*")) - before if each.is_file()]
    names = [str(each.relative_to(folder)) for each in made]
    told = [done.output, missing.output, *names, *(each.read_bytes().decode("latin-1") for each in made)]
    for secret in ("passphrase", "secret"):
        assert not [text for text in told if secret in text]
