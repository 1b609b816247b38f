"""Text read aloud over HTTP, asked for by OpenAI's own client and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from fake_voice import FakeVoice
from server.running import Running

from mtasr.errors import MissingExtraError, ModelNotFoundError
from mtasr.server.speech.voice_pool import VoicePool
from mtasr.speech.marking import read_mark


class Loading:
    """Stands in for `load_voice`."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, bool]] = []
        self.error: Exception | None = None
        self.voice = FakeVoice()

    def __call__(self, name: str, *, local_only: bool) -> FakeVoice:
        self.loaded.append((name, local_only))
        if self.error:
            raise self.error
        self.voice = FakeVoice()
        self.voice.name = name
        return self.voice


@pytest.fixture
def loading(server: Running) -> Iterator[Loading]:
    found, before = Loading(), server.service.voices
    server.service.voices = VoicePool(downloads=False, load=found)
    yield found
    server.service.voices = before


def ask(server: Running, **fields: Any) -> Any:
    with server.client() as client:
        return client.post("/v1/audio/speech", json=fields)


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav"])
def test_openai_client(server: Running, loading: Loading, tmp_path: Path, form: Any) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        target = tmp_path / f"speech.{form}"
        made = client.audio.speech.create(
            model="tts-1", voice="alloy", input="Good morning", response_format=form, speed=1.5
        )
        made.write_to_file(target)
    assert loading.loaded == [("jm_kumo", True)]
    assert loading.voice.said == [("Good morning", 1.5)]
    mark = read_mark(target)
    assert mark is not None
    assert mark.voice == "jm_kumo"


def test_raw_samples_have_the_mark_beside_them(server: Running, loading: Loading) -> None:
    found = ask(server, input="Good morning", voice="jf_alpha+jm_kumo", response_format="pcm")
    assert found.headers["content-type"] == "audio/pcm"
    assert json.loads(found.headers["x-mtasr-mark"])["voice"] == "jf_alpha+jm_kumo"
    samples = np.frombuffer(found.content, "<i2")
    expected = FakeVoice().say("Good morning").samples
    assert len(samples) == len(expected)
    assert np.abs(samples / 32767 - expected).max() < 1e-4


def test_a_voice_is_loaded_once_and_replaced_by_another(server: Running, loading: Loading) -> None:
    for voice in ("jm_kumo", "jm_kumo", "jf_alpha", "jm_kumo"):
        assert ask(server, input="Hello", voice=voice, model="kokoro").status_code == 200
    assert [name for name, _ in loading.loaded] == ["jm_kumo", "jf_alpha", "jm_kumo"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "..."}, "input"),
        ({"input": 3}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"input": "Hello", "voice": "nobody"}, "voice"),
        ({"input": "Hello", "voice": "jm_kumo+"}, "voice"),
        ({"input": "Hello", "voice": {"id": "x"}}, "voice"),
        ({"input": "Hello", "model": "base"}, "model"),
        ({"input": "Hello", "response_format": "doc"}, "response_format"),
        ({"input": "Hello", "speed": 4}, "speed"),
        ({"input": "Hello", "speed": True}, "speed"),
        ({"input": "Hello", "instructions": "Whisper."}, "instructions"),
        ({"input": "Hello", "stream_format": "sse"}, "stream_format"),
        ({"input": "Hello", "consent": "me"}, "consent"),
    ],
)
def test_what_cannot_be_spoken(server: Running, loading: Loading, fields: dict[str, Any], param: str) -> None:
    found = ask(server, **fields)
    assert found.status_code == 400
    assert found.json()["error"]["param"] == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_no_object(server: Running, loading: Loading, body: bytes) -> None:
    with server.client() as client:
        found = client.post("/v1/audio/speech", content=body)
    assert found.status_code == 400
    assert not loading.loaded


def test_a_server_without_voices(server: Running, loading: Loading) -> None:
    loading.error = MissingExtraError("speaking needs onnxruntime")
    found = ask(server, input="Hello")
    assert (found.status_code, found.json()["error"]["code"]) == (503, "no_voices")
    assert found.headers["x-should-retry"] == "false"
    loading.error = ModelNotFoundError("kokoro is not on this machine")
    assert ask(server, input="Hello").status_code == 404
    loading.error = None
    assert ask(server, input="Hello").status_code == 200
