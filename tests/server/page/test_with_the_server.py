"""The page and the server together, with an engine that needs no weights."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import Heard, HearingEngine, LoudIsSpeech
from server.page.conftest import Recording, Visit
from server.page.stand_in import StandIn
from server.running import running
from speech import write_wav

from mtasr.engines.engine import EngineLimits
from mtasr.server import Settings
from mtasr.transcribe import Model

pytestmark = pytest.mark.slow


@pytest.fixture
def bursts(tmp_path: Path) -> Path:
    """Noise of 12 s, four times, with pauses: four windows."""
    noise = np.random.default_rng(3).normal(0, 0.1, 12 * 16000).astype(np.float32)
    write_wav(tmp_path / "My talk.wav", np.tile(np.concatenate([noise, np.zeros(16000, np.float32)]), 4))
    return tmp_path / "My talk.wav"


def model(fails: Callable[[Heard], bool]) -> Model:
    limits = EngineLimits(workers=1, batch_size=1)
    return Model(HearingEngine(limits=limits, fails=fails), lambda: "hearing", detector=LoudIsSpeech)


class Gate:
    """Lets an engine hear two windows; the others wait until the gate is opened."""

    def __init__(self) -> None:
        self.heard, self._opened = 0, threading.Event()

    def __call__(self, heard: Heard) -> bool:
        self.heard += 1
        if self.heard > 2:
            self._opened.wait(60)
        return False

    def open(self) -> None:
        self._opened.set()


def test_from_a_file_to_subtitles(browser: Any, bursts: Path) -> None:
    gate = Gate()
    with running(load=lambda name: model(gate)) as server, browser.new_context() as context:
        visit = Visit(context, server.url, StandIn({}), Recording(bursts, None))  # type: ignore[arg-type]
        page = visit.page
        visit.upload()
        page.wait_for_selector("#text[role=log] section")
        visit.until("/^Recognising: 0:[12]. of 0:52$/.test(document.getElementById('stage').textContent)")
        gate.open()
        page.wait_for_selector("#download:visible")
        expected = model(lambda heard: False).transcribe(bursts, word_timestamps=True)
        assert visit.texts() == [segment.text.strip() for segment in expected]
        page.keyboard.press("d")
        for name in ("srt", "txt", "csv"):
            with page.expect_download() as coming:
                page.click(f"#formats button:has(b:text-is('{name.upper()}'))")
            assert coming.value.path().read_text("utf-8") == expected.to_format(name)
        page.keyboard.press("Escape")
        page.click("#divide")
        page.click("#divide-dialog [value=web]")
        page.wait_for_function(f"() => document.querySelectorAll('#text section').length !== {len(expected.segments)}")
        assert visit.stored()["text"] == expected.text
        assert visit.complaints == []
        with server.client() as client:
            visit.until_true(lambda: client.get("/v1/jobs").json()["data"] == [])


def test_a_server_that_stops_and_starts_again(browser: Any, bursts: Path, tmp_path: Path) -> None:
    gate, settings = Gate(), Settings(data=tmp_path / "data", stop_seconds=0)
    with browser.new_context() as context:
        with running(settings, lambda name: model(gate)) as server:
            visit = Visit(context, server.url, StandIn({}), Recording(bursts, None))  # type: ignore[arg-type]
            visit.upload()
            visit.page.wait_for_selector("#text[role=log] section")
            port = int(server.url.rpartition(":")[2])
            stopping = server.call(server.service.stop())
            gate.open()
            stopping.result(60)
        visit.until("document.getElementById('stage').textContent.includes('The connection is lost')")
        with running(settings, lambda name: model(lambda heard: False), port=port):
            visit.page.wait_for_selector("#download:visible")
            expected = model(lambda heard: False).transcribe(bursts, word_timestamps=True)
            assert visit.texts() == [segment.text.strip() for segment in expected]


def test_a_file_without_sound_and_a_key(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("There is no sound in this file. " * 9)
    settings = Settings(keys=(("anna", "a" * 20),))
    with running(settings, load=lambda name: model(lambda heard: False)) as server, browser.new_context() as context:
        visit = Visit(context, server.url, StandIn({}), Recording(tmp_path / "notes.txt", None))  # type: ignore[arg-type]
        page = visit.page
        page.wait_for_selector("#key-dialog[open]")
        page.fill("#key", "a" * 20)
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-dialog:not([open])", state="attached")
        visit.upload()
        page.wait_for_selector("#failure:visible")
        assert page.inner_text("#failure-text") == "This file is not a media file that ffmpeg can read."
