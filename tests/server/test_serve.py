"""`mtasr serve` as a process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mtasr.checkpoints.parity_clip import CLIP
from mtasr.server.openai_fields import WRITTEN
from mtasr.transcribe import load_model


class Process:
    """`mtasr serve` on a free port, with what it has written to standard error."""

    def __init__(self, *arguments: str | Path, data: Path) -> None:
        command = [sys.executable, "-m", "mtasr", "serve", "--port", "0", "--data", data, *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._started = threading.Event()
        self.url = ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._started.wait(60), self.lines

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"serving on (\S+);", line):
                self.url = found[1]
                self._started.set()
        self._started.set()

    def end(self, signum: int = signal.SIGTERM) -> int:
        os.kill(self.process.pid, signum)
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self._listener.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process.wait()


@contextlib.contextmanager
def serving(*arguments: str | Path, data: Path) -> Iterator[Process]:
    started = Process(*arguments, data=data)
    try:
        yield started
    finally:
        started.close()


#: A certificate for localhost, and its key.
CERTIFICATE = Path(__file__).with_name("localhost.pem")


@pytest.mark.slow
@pytest.mark.weights
def test_each_format_is_the_file_of_the_command_line(tmp_path: Path) -> None:
    for formats in ("txt,tsv,csv,md", "srt,vtt,ass,lrc,ttml"):  # subtitles want word times, which move segments
        options = ["--language", "en", "--beam-size", "2", "--quiet", "-f", formats, "-o", tmp_path]
        subprocess.run([sys.executable, "-m", "mtasr", "transcribe", CLIP, *options], check=True)
    with serving(data=tmp_path / "data") as server, httpx.Client(base_url=server.url, timeout=60) as client:
        # RTTM needs the speaker models; test_speakers_served.py has it.
        for form, name in ((form, name) for form, name in WRITTEN.items() if name != "rttm"):
            answer = client.post(
                "/v1/audio/transcriptions",
                files={"file": (CLIP.name, CLIP.read_bytes())},
                data={"language": "en", "beam_size": "2", "response_format": form},
            )
            assert answer.content == (tmp_path / f"{CLIP.stem}.{name}").read_bytes() != b"", form


@pytest.mark.slow
@pytest.mark.weights
def test_https_and_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("anna 0123456789abcdef\n")
    arguments = ["--keys", keys, "--tls-cert", CERTIFICATE, "--tls-key", CERTIFICATE]
    with serving(*arguments, data=tmp_path / "data") as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=CERTIFICATE)
        with httpx.Client(base_url=server.url, verify=context) as client:
            assert client.get("/v1/models").status_code == 401
            assert client.get("/v1/models", headers={"x-api-key": "0123456789abcdef"}).status_code == 200
        assert server.end(signal.SIGINT) == 0
    assert "0123456789abcdef" not in "".join(server.lines)


@pytest.mark.slow
@pytest.mark.weights
def test_serves_the_text_of_the_command_line_and_stops_when_told(tmp_path: Path) -> None:
    with serving(data=tmp_path) as server:
        answer = httpx.post(
            f"{server.url}/v1/audio/transcriptions",
            files={"file": ("clip.flac", CLIP.read_bytes())},
            data={"model": "whisper-1", "response_format": "srt"},
            headers={"x-request-id": "mine"},
            timeout=60,
        )
        assert answer.text == load_model("base").transcribe(CLIP, word_timestamps=True).to_srt()
        assert answer.headers["x-request-id"] == "mine"
        assert httpx.get(f"{server.url}/health").json()["loaded"] is True
        assert server.end() == 0
    logged = [json.loads(line) for line in server.lines if line.startswith("{")]
    request = next(each for each in logged if each["event"] == "request")
    assert (request["request"], request["path"], request["status"]) == ("mine", "/v1/audio/transcriptions", 200)
    assert "train" not in "".join(server.lines)
    assert [*(tmp_path / "incoming").iterdir()] == []
