"""A browser, a server that recognises what a test sets, and a recording whose words and times are known."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.page.stand_in import StandIn, make_app
from server.running import serving
from speech import SAMPLE_RATE, speak_words, write_wav

from mtasr.formats import transcript_json
from mtasr.transcript import Segment, Transcript, Word

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

#: Who says what, and how sure the model is of each word.
SAID = [
    ("Anna", "Good morning, and thank you for coming.", {"morning,": 0.8}),
    ("Ben", "We found the old boat near the bridge.", {"boat": 0.4, "old": 0.65}),
    ("Anna", "Nobody knows whose it was.", {}),
]
GAP = 0.5

#: What the server tells of somebody who speaks: one stretch is final, one goes on.
CAPTIONS = [
    {"type": "speech_started", "stretch": 0, "at": 0.4, "event": 1},
    {"type": "committed", "stretch": 0, "text": " Good mourning,", "words": [], "event": 2},
    {"type": "draft", "stretch": 0, "text": " and thank", "words": [], "event": 3},
    {"type": "final", "stretch": 0, "text": " Good morning, and thank you.", "segments": [], "event": 4},
    {"type": "committed", "stretch": 1, "text": " We found", "words": [], "event": 5},
    {"type": "committed", "stretch": 1, "text": " the old", "words": [], "event": 6},
    {"type": "draft", "stretch": 1, "text": " vote", "words": [], "event": 7},
    {"type": "draft", "stretch": 1, "text": " boat", "words": [], "event": 8},
    {"type": "lag", "seconds": 4.2, "event": 9},
]

#: Seconds after which a state that does not come counts as missing. A busy machine takes its time.
TIMEOUT = 60


@dataclass
class Recording:
    path: Path
    transcript: Transcript


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Three sentences of two speakers, as a file and as the transcript that a perfect model would write."""
    now, parts, segments = GAP, [np.zeros(round(GAP * SAMPLE_RATE), np.float32)], []
    for number, (speaker, text, unsure) in enumerate(SAID):
        samples, spoken = speak_words(text)
        texts = re.findall(r"\S+", text)
        words = tuple(
            Word(
                word=f" {word}",
                start=round(now + each.start, 3),
                end=round(now + each.end, 3),
                probability=unsure.get(word, 0.97),
            )
            for word, each in zip(texts, _one_for_each(texts, spoken), strict=True)
        )
        segments.append(
            Segment(
                id=number, start=words[0].start, end=words[-1].end, text=f" {text}", tokens=(), avg_logprob=-0.2,
                compression_ratio=1.2, no_speech_prob=0.01, temperature=0.0, words=words, language="en",
                speaker=speaker,
            )
        )  # fmt: skip
        parts += [samples, np.zeros(round(GAP * SAMPLE_RATE), np.float32)]
        now += len(samples) / SAMPLE_RATE + GAP
    path = tmp_path_factory.mktemp("recording") / "Boat talk.wav"
    write_wav(path, np.concatenate(parts))
    return Recording(
        path, Transcript(language="en", language_probability=0.91, duration=round(now, 3), segments=tuple(segments))
    )


@dataclass
class Time:
    start: float
    end: float


def _one_for_each(words: list[str], spoken: Any) -> list[Time]:
    """Times for each word, where the synthesiser has taken some together."""
    starts, place = [], 0
    text = " ".join(words)
    for word in words:
        place = text.index(word, place)
        starts.append(place)
        place += len(word)
    times: list[Time] = []
    for number, (begin, word) in enumerate(zip(starts, words, strict=True)):
        own = [each for each in spoken if begin <= each.place < begin + len(word)]
        if own:
            times.append(Time(own[0].start, own[-1].end))
        else:
            before = times[number - 1]
            middle = (before.start + before.end) / 2
            times.append(Time(middle, before.end))
            before.end = middle
    return times


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("needs Chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    arguments = [
        "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required", "--host-resolver-rules=MAP plain.test 127.0.0.1",
    ]  # fmt: skip
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=BROWSER, args=arguments)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def served(recording: Recording) -> Iterator[tuple[str, StandIn]]:
    state = StandIn(transcript_json.to_dict(recording.transcript))
    with serving(make_app(state)) as (url, _):
        yield url, state


class Visit:
    """A page in a browser of its own, which has nothing in its history."""

    def __init__(self, context: Any, url: str, state: StandIn, recording: Recording) -> None:
        self.context, self.url, self.state, self.recording = context, url, state, recording
        context.set_default_timeout(TIMEOUT * 1000)
        self.page = context.new_page()
        #: What the browser complains of: errors of scripts, breaches of the policy.
        self.complaints: list[str] = []
        #: Parts of complaints that the test means to cause.
        self.expected: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.open()

    def open(self, address: str = "/") -> None:
        self.page.goto(f"{self.url}{address}")
        self.page.wait_for_selector("html[data-ready]")

    def upload(self, *paths: Path) -> None:
        self.page.set_input_files("#files", [str(path) for path in paths or [self.recording.path]])

    def transcribed(self) -> Any:
        """The page with the text of the recording."""
        self.upload()
        self.page.wait_for_selector("#download:visible")
        return self.page

    def texts(self) -> list[str]:
        return [each.strip() for each in self.page.locator("#text section > p").all_text_contents()]

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        self.page.wait_for_function(f"() => {condition}")  # The policy of the page forbids expressions.

    def until_true(self, condition: Callable[[], bool]) -> None:
        """Wait until the server has been told, or whatever else is no state of the page."""
        latest = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < latest
            self.page.wait_for_timeout(20)

    def said(self, text: str) -> None:
        """Wait until screen readers have been told."""
        self.page.wait_for_function("(text) => document.getElementById('said').textContent.includes(text)", arg=text)

    def stored(self) -> dict[str, Any]:
        """What the browser keeps: the one transcript, as corrected."""
        script = """async () => {
            const history = await import("/page/history.js");
            const [first] = await history.recordings();
            return (await history.texts(first.id)).edited;
        }"""
        return self.page.evaluate(script)  # type: ignore[no-any-return]


@pytest.fixture
def visit(browser: Any, served: tuple[str, StandIn], recording: Recording) -> Iterator[Callable[..., Visit]]:
    """Opens a page; options are those of a browser context. Afterwards no page may have complained."""
    url, state = served
    state.__init__(transcript_json.to_dict(recording.transcript))  # type: ignore[misc]
    visits: list[Visit] = []

    def open_page(address: str = url, **options: Any) -> Visit:
        settings = {"viewport": {"width": 1200, "height": 850}, "locale": "en-GB", "timezone_id": "UTC"} | options
        visits.append(Visit(browser.new_context(**settings), address, state, recording))
        return visits[-1]

    yield open_page
    for each in visits:
        each.context.close()
    state.shown, state.failure = None, None
    for each in visits:
        assert not [text for text in each.complaints if not any(part in text for part in each.expected)]
