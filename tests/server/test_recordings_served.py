"""Recordings on their way through the server: short ones first, doubts told, messages without paths."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import Heard, HearingEngine, LoudIsSpeech
from server.conftest import write_noise
from server.running import Running, running
from server.test_cancelling import wait_until

from mtasr.engines.engine import EngineLimits, Hypothesis
from mtasr.server import Settings
from mtasr.transcribe import Model

PATH = "/v1/audio/transcriptions"


def test_a_short_recording_does_not_wait_for_a_long_one(clip: Path, tmp_path: Path) -> None:
    long = write_noise(tmp_path / "long.wav", [(at, at + 8.0) for at in range(1, 240, 10)], 240.0)
    gate = threading.Event()
    engine = HearingEngine(fails=lambda heard: not gate.wait(60), limits=EngineLimits(batch_size=4))
    with (
        running(Settings(short_seconds=10.0), load=lambda name: Model(engine, detector=LoudIsSpeech)) as server,
        ThreadPoolExecutor() as pool,
    ):
        slow = pool.submit(server.post, PATH, long)
        scheduler = server.model._scheduler
        wait_until(lambda: len(scheduler._waiting) >= 4)
        quick = pool.submit(server.post, PATH, clip)
        wait_until(lambda: len(scheduler._groups) == 2 and all(each.reader for each in scheduler._groups))
        wait_until(lambda: any(each.state.group.priority == 0 for each in scheduler._waiting))
        priorities = {each.state.group.priority for each in scheduler._waiting}
        gate.set()
        assert quick.result().status_code == slow.result().status_code == 200
        assert priorities == {-1, 0}
        # At once after the batch under way, which is of half the size.
        short = min(heard.frames for heard in engine.encoded)
        assert [heard.frames for heard in engine.encoded].index(short) <= 2


class Doubtful:
    """A model that writes nothing for the second of two stretches of speech."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._lock = threading.Lock()

    def load(self, name: str) -> Model:
        return Model(HearingEngine(judge=self._judge), detector=LoudIsSpeech)

    def _judge(self, heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        with self._lock:
            self._first = self._first or heard.number
        return hypothesis if heard.number == self._first else replace(hypothesis, tokens=(), avg_logprob=-0.2)


@pytest.fixture(scope="module")
def doubtful() -> Iterator[Running]:
    with running(load=Doubtful().load) as server:
        yield server


@pytest.fixture(scope="module")
def two_stretches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("stretches") / "a.wav", [(1.0, 9.0), (20.0, 29.0)], 30.0)


def test_speech_without_text_is_told(doubtful: Running, two_stretches: Path) -> None:
    answer = doubtful.post(PATH, two_stretches)
    assert answer.status_code == 200
    ((start, end),) = answer.json()["coverage"]["speech_without_text"]
    assert (start, end) == (pytest.approx(20.0, abs=0.5), pytest.approx(29.0, abs=0.5))
    assert answer.headers["x-speech-without-text"] == f"{start:.2f}-{end:.2f}"
    for form in ("text", "srt", "verbose_json"):
        answer = doubtful.post(PATH, two_stretches, response_format=form)
        assert answer.headers["x-speech-without-text"] == f"{start:.2f}-{end:.2f}"


def test_a_strict_request_fails_and_keeps_the_text(doubtful: Running, two_stretches: Path) -> None:
    text = doubtful.post(PATH, two_stretches).json()["text"]
    for form in ("json", "srt"):
        answer = doubtful.post(PATH, two_stretches, strict="true", response_format=form)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "incomplete_transcript")
        assert error["transcript"]["text"] == text != ""
        assert len(error["transcript"]["coverage"]["speech_without_text"]) == 1


def test_strict_events_end_with_the_error(doubtful: Running, two_stretches: Path) -> None:
    lines = doubtful.post(PATH, two_stretches, strict="true", stream="true").text.splitlines()
    *deltas, last = [json.loads(line[6:]) for line in lines if line]
    assert {each["type"] for each in deltas} == {"transcript.text.delta"}
    assert last["error"]["code"] == "incomplete_transcript"


def test_a_strict_request_for_a_complete_transcript(server: Running, clip: Path) -> None:
    answer = server.post(PATH, clip, strict="true")
    assert answer.status_code == 200
    assert "x-speech-without-text" not in answer.headers


def test_what_is_wrong_with_a_recording_names_it_as_the_client_does(server: Running, clip: Path) -> None:
    cut = clip.read_bytes()[:60_000]
    with server.client() as client:
        answer = client.post(PATH, files={"file": ("dir/my talk.wav", cut)}).json()
    assert answer["warnings"] == ["my talk.wav: is cut short: its end is missing"]


def test_a_pulse_between_events(server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.events._PULSE", 0.0005)
    long = write_noise(tmp_path / "long.wav", [(at, at + 8.0) for at in range(1, 120, 10)], 120.0)
    with contextlib.closing(server.client()) as client:
        text = client.post(PATH, files={"file": long.read_bytes()}, data={"stream": "true"}).text
    assert ": still here\n\n" in text
    assert text.rstrip().splitlines()[-1].startswith('data: {"type": "transcript.text.done"')
