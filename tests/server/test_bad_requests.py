"""Requests that are wrong, hostile or too large: exact statuses, nothing left behind, and the server goes on."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import socket
import struct
import subprocess
import threading
import time
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from server.running import Running, running
from waiting import wait_until

from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.server import Settings

PATH = "/v1/audio/transcriptions"

#: Small enough to be passed in a test.
LIMITS = Settings(upload_bytes=3_000_000, upload_pause=0.3, upload_seconds=1.0, recording_seconds=30.0, fields=50)


@pytest.fixture(scope="module")
def limited() -> Iterator[Running]:
    with running(LIMITS) as server:
        yield server


@pytest.fixture(autouse=True)
def goes_on(limited: Running, clip: Path) -> Iterator[None]:
    """After each test the server works, all places are free and nothing is left on disk."""
    yield
    assert limited.post(PATH, clip).status_code == 200
    wait_until(lambda: not limited.service.admission.taken)
    assert not limited.service.admission.active
    assert list(limited.service.incoming.iterdir()) == []


def code_of(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    return answer.status_code, error["code"]


def sent(server: Running, content: bytes | Iterable[bytes], **headers: str) -> httpx.Response:
    """The answer to a body as it is."""
    kind = headers.pop("content_type", "multipart/form-data; boundary=xx")
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    with server.client() as client:
        return client.post(PATH, content=content, headers={"content-type": kind} | headers)


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'--xx\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


END = b"--xx--\r\n"


def test_a_body_that_is_too_large_and_does_not_say_so(limited: Running) -> None:
    def body() -> Iterator[bytes]:
        yield part("file", b"", "a.wav")[:-2]
        for _ in range(200):
            yield bytes(1 << 20)

    with little_memory():
        assert code_of(sent(limited, body())) == (413, "request_too_large")


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Assert that the process never grows by 50 MB meanwhile."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def look() -> None:
        while not ended.wait(0.005):
            seen.append(resident())

    seen, ended = [resident()], threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()
    assert max(seen) - seen[0] < 50_000_000


def head(length: int) -> bytes:
    """The head of a request whose body is said to be so long."""
    kind = "Content-Type: multipart/form-data; boundary=xx"
    return f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {length}\r\n\r\n".encode()


def test_a_body_that_says_it_is_too_large_is_not_awaited(limited: Running) -> None:
    assert raw(limited, head(10**12)).startswith(b"HTTP/1.1 413 ")


def raw(server: Running, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What comes back for bytes that no client library would send."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        connection.settimeout(30)
        return connection.recv(1 << 16)


@pytest.mark.slow
def test_a_chunked_gigabyte() -> None:
    def body() -> Iterator[bytes]:
        yield part("file", b"", "a.wav")[:-2]
        for _ in range(1100):
            yield bytes(1 << 20)

    with running() as server:
        with little_memory():
            assert code_of(sent(server, body())) == (413, "request_too_large")
        assert list(server.service.incoming.iterdir()) == []


def opus(path: Path, seconds: int, *, states_duration: bool) -> Path:
    """A long silence, which takes little space."""
    arguments = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", str(seconds), "-c:a", "libopus", "-b:a", "6k"]
    if states_duration:
        subprocess.run([find_ffmpeg(), "-loglevel", "error", *arguments, path], check=True)
        return path
    live = [find_ffmpeg(), "-loglevel", "error", *arguments, "-f", "webm", "-live", "1", "pipe:1"]
    path.write_bytes(subprocess.run(live, check=True, stdout=subprocess.PIPE).stdout)
    return path


@pytest.mark.parametrize("states_duration", [True, False])
def test_a_small_file_with_a_long_recording(limited: Running, tmp_path: Path, states_duration: bool) -> None:
    file = opus(tmp_path / ("a.opus" if states_duration else "a.webm"), 60, states_duration=states_duration)
    assert file.stat().st_size < 100_000
    assert code_of(limited.post(PATH, file)) == (413, "recording_too_long")
    assert code_of(limited.post(PATH, file, stream="true")) == (413, "recording_too_long")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100_000, os.urandom(100_000), b"<html>" * 1000, b"#EXTM3U\nfile:///etc/passwd\n", b"RIFF", b"ID3"],
    ids=["nothing", "zeros", "noise", "page", "playlist", "header", "tag"],
)
def test_garbage(limited: Running, content: bytes) -> None:
    assert code_of(limited.post(PATH, content)) == (400, "invalid_audio")


@pytest.mark.parametrize(("path", "field"), [("/detect-language", "audio_file"), ("/inference", "file")])
def test_no_path_of_the_server_is_shown(limited: Running, path: str, field: str) -> None:
    with limited.client() as client:
        files = {field: ("talk.wav", b"no sound at all")}
        answer = client.post(path, files=files, data={"detect_language": "true"} if field == "file" else {})
    assert code_of(answer) == (400, "invalid_audio")
    assert answer.json()["error"]["message"].startswith("talk.wav: ")
    assert "incoming" not in answer.text


def test_a_forged_type(limited: Running) -> None:
    with limited.client() as client:
        answer = client.post(
            PATH, files={"file": ("talk.wav", b"ffconcat version 1.0\nfile /etc/passwd\n", "audio/wav")}
        )
    assert code_of(answer) == (400, "invalid_audio")


def test_a_header_that_claims_hours(limited: Running) -> None:
    head = (
        b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    )
    answer = limited.post(PATH, head + b"data" + struct.pack("<I", 0xFFFFFFFE) + bytes(32000))
    assert answer.status_code == 200


def test_no_file(limited: Running) -> None:
    assert code_of(sent(limited, part("model", b"base") + END)) == (400, "missing_file")
    assert code_of(sent(limited, END)) == (400, "missing_file")


def test_a_file_in_another_field(limited: Running, clip: Path) -> None:
    with limited.client() as client:
        answer = client.post(PATH, files={"audio": ("a.wav", clip.read_bytes())})
    assert code_of(answer) == (400, "unknown_parameter")


def test_a_file_that_is_text(limited: Running) -> None:
    answer = sent(limited, part("file", b"talk.wav") + END)
    assert code_of(answer) == (400, "invalid_form")
    assert answer.json()["error"]["message"] == "file is text, not a file; with curl write -F file=@NAME"


def test_what_names_the_field(limited: Running, clip: Path) -> None:
    answer = limited.post(PATH, clip, model="small " * 100)
    assert (code_of(answer), answer.json()["error"]["param"]) == ((404, "model_not_found"), "model")
    assert len(answer.json()["error"]["message"]) < 250
    assert limited.post(PATH, b"no sound").json()["error"]["param"] == "file"
    with limited.client() as client:
        answer = client.post("/asr", files={"audio_file": ("talk.wav", b"no sound")})
        assert answer.json()["error"]["param"] == "audio_file"
        assert client.get(PATH).json()["error"]["message"].endswith("use POST")


def test_two_files(limited: Running) -> None:
    body = part("file", b"1", "a.wav") + part("file", b"2", "b.wav") + END
    assert code_of(sent(limited, body)) == (400, "too_many_files")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"colour": "red"}, "colour"),
        ({"language": "klingon"}, "language"),
        ({"languages[]": ["en", "klingon"]}, "languages"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": "3"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"beam_size": "1000000"}, "beam_size"),
        ({"beam_size": "0"}, "beam_size"),
        ({"patience": "1000"}, "patience"),
        ({"response_format": "docx"}, "response_format"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"include[]": "everything"}, "include"),
        ({"include[]": "logprobs", "response_format": "srt"}, "include"),
        ({"chunking_strategy": "{"}, "chunking_strategy"),
        ({"chunking_strategy": "[" * 100_000}, "chunking_strategy"),
        ({"stream": "perhaps"}, "stream"),
        ({"model": ["base", "tiny"]}, "model"),
        ({"prompt": "a", "initial_prompt": "b"}, "initial_prompt"),
        ({"keywords[]": "a", "hotwords": "b"}, "keywords"),
        ({"clip_timestamps": "3,1"}, "clip_timestamps"),
        ({"channels": "split", "prefix": "so"}, None),
        ({"audio_stream": "-1"}, "audio_stream"),
    ],
    ids=str,
)
def test_a_wrong_field(limited: Running, clip: Path, fields: dict[str, str], param: str | None) -> None:
    answer = limited.post(PATH, clip, **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_what_is_empty_counts_as_not_given(limited: Running, clip: Path) -> None:
    assert limited.post(PATH, clip, language="", model=" ", prompt="").status_code == 200


def test_what_stands_between_commas(limited: Running, clip: Path) -> None:
    stereo = two_channels(clip)
    answer = limited.post(PATH, stereo, channels="split", speakers="Ann, Bob", response_format="diarized_json")
    assert {each["speaker"] for each in answer.json()["segments"]} == {"Ann", "Bob"}
    answer = limited.post(PATH, stereo, channels="split", response_format="diarized_json",
                          **{"speakers[]": ["Ann", "Bob"]})  # fmt: skip
    assert {each["speaker"] for each in answer.json()["segments"]} == {"Ann", "Bob"}
    assert limited.post(PATH, clip, languages="en, es").status_code == 200
    assert limited.post(PATH, clip, languages="en,klingon").json()["error"]["param"] == "languages"


def two_channels(clip: Path) -> bytes:
    """The recording on both channels, as WAV."""
    with wave.open(str(clip)) as mono:
        samples = np.frombuffer(mono.readframes(mono.getnframes()), np.int16)
    written = io.BytesIO()
    with wave.open(written, "wb") as stereo:
        stereo.setparams((2, 2, 16000, 0, "NONE", ""))
        stereo.writeframes(np.stack([samples, samples], axis=1).tobytes())
    return written.getvalue()


def test_ten_thousand_fields(limited: Running) -> None:
    body = b"".join(part(f"field{number}", b"x") for number in range(10_000))
    assert code_of(sent(limited, body + END)) == (400, "too_many_fields")


def test_a_field_without_end(limited: Running) -> None:
    assert code_of(sent(limited, part("prompt", b"x" * 2_000_000) + END)) == (413, "request_too_large")


def test_a_header_without_end(limited: Running) -> None:
    body = b'--xx\r\nContent-Disposition: form-data; name="file"; x="' + b"x" * 1_000_000
    assert code_of(sent(limited, body)) == (400, "invalid_form")


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x.wav", "..\\..\\x.wav", "/etc/passwd", ".wav", "a\x1b[2J.wav"])
def test_a_path_in_the_name(limited: Running, name: str) -> None:
    answer = limited_post_named(limited, name)
    assert code_of(answer) == (400, "invalid_audio")
    shown = answer.json()["error"]["message"].partition(": ")[0]
    assert not {"/", "\\", "\x1b"} & set(shown)


def limited_post_named(server: Running, name: str) -> httpx.Response:
    return sent(server, part("file", b"no sound", name) + END)


def test_a_slow_sender(limited: Running) -> None:
    begun = part("file", b"", "a.wav")
    assert raw(limited, head(9999), begun).startswith(b"HTTP/1.1 408 "), "a pause that is too long"
    dripping = [b"-"] * 30
    assert raw(limited, head(9999), begun, *dripping, pause=0.05).startswith(b"HTTP/1.1 408 "), "too long in all"


def test_a_sender_that_is_slow_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.upload._GRACE", 0.2)
    begun = part("file", b"", "a.wav")
    with running(Settings(upload_pause=100, upload_seconds=100)) as server:
        dripping = [b"-"] * 12
        assert raw(server, head(9999), begun, *dripping, pause=0.05).startswith(b"HTTP/1.1 408 ")


def test_compressed_bodies(limited: Running) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert code_of(sent(limited, bomb, content_encoding="gzip")) == (415, "unsupported_media_type")
    assert code_of(limited.post(PATH, bomb)) == (400, "invalid_audio"), "as the recording itself"


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=xx", ""]
)
def test_other_kinds_of_bodies(limited: Running, kind: str) -> None:
    assert code_of(sent(limited, b"{}", content_type=kind)) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", END),
        ("multipart/form-data; boundary=" + "x" * 1000, END),
        ("multipart/form-data; boundary=xx", b"no form"),
        ("multipart/form-data; boundary=xx", part("file", b"x", "a.wav")),
        ("multipart/form-data; boundary=xx", b"--xx\r\n\r\nvalue\r\n" + END),
        ("multipart/form-data; boundary=xx", b'--xx\r\nContent-Disposition: form-data; name=""\r\n\r\nv\r\n' + END),
        ("multipart/form-data; boundary=xx", part("prompt", b"\xff\xfe") + END),
        ("multipart/form-data; boundary=xx", b""),
    ],
    ids=["no boundary", "long boundary", "no part", "no end", "no name", "empty name", "not UTF-8", "nothing"],
)
def test_broken_forms(limited: Running, kind: str, body: bytes) -> None:
    status, code = code_of(sent(limited, body, content_type=kind))
    assert (status, code) == (400, "invalid_form")


def test_other_paths_and_methods(limited: Running) -> None:
    with limited.client() as client:
        assert code_of(client.get("/v1/audio/sound")) == (404, "not_found")
        assert code_of(client.get(PATH)) == (405, "method_not_allowed")
        assert code_of(client.get("/v1/models/../../etc/passwd")) == (404, "not_found")
        assert code_of(client.get("/v1/models/%2e%2e%2fetc")) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/v1/models", "/v1/models/base", "/none"])
def test_heads_are_those_of_answers(limited: Running, path: str) -> None:
    with limited.client() as client:
        head, answer = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (answer.status_code, b"")
        assert head.headers["content-type"] == answer.headers["content-type"]
        assert head.headers["x-content-type-options"] == "nosniff"
        assert client.get(path).status_code == answer.status_code, "the connection can be used again"


@pytest.mark.parametrize("begun", [b"", b"POST /v1/audio", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: "])
def test_a_head_that_does_not_come(limited: Running, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.process._HEAD_SECONDS", 0.2)
    assert raw(limited, begun) == b"", "the connection is closed"


def test_a_connection_that_is_used_again_may_wait_between(limited: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.process._HEAD_SECONDS", 0.2)
    with limited.client() as client:
        assert client.get("/v1/models").status_code == 200
        time.sleep(0.4)
        assert client.get("/v1/models").status_code == 200
