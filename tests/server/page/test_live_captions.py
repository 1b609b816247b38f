"""Live captions in a browser, while somebody speaks and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.page.conftest import BROWSER, CAPTIONS, SAID, Recording, Visit
from server.page.stand_in import StandIn
from server.running import fake_model, running
from speech import write_wav

from mtasr.server import Settings

pytestmark = pytest.mark.slow

Open = Callable[..., Visit]
KEY = "0123456789abcdef"


def test_captions_are_shown_and_kept(visit: Open) -> None:
    opened = visit(permissions=["microphone"])
    opened.state.captions = CAPTIONS
    page = opened.page
    page.select_option("#language", "en")
    page.fill("#hotwords", "boat")
    page.click("#record")
    page.wait_for_selector(".captions .draft:has-text('boat')")
    assert page.locator("#captions-text p").all_text_contents() == [
        "Good morning, and thank you.",
        " We found the old boat",
    ]
    draft, committed = (
        page.locator(f"#captions-text p:last-child {each}").first.evaluate("each => getComputedStyle(each).color")
        for each in (".draft", "span")
    )
    assert draft != committed
    # What is said to those who do not see it is what was committed, once, and what the final text adds.
    assert page.inner_text("#captions-said").split() == [
        "Good",
        "mourning,",
        "and",
        "thank",
        "you.",
        "We",
        "found",
        "the",
        "old",
    ]
    assert page.get_attribute("#captions-said", "role") == "log"
    assert "4 s late" in page.inner_text("#captions-note")
    page.click("#captions-full")
    assert page.evaluate("document.querySelector('#recorder').getBoundingClientRect().height >= innerHeight")
    opened.until("document.fullscreenElement?.id === 'recorder'")
    page.click("#captions-full")
    opened.until("document.fullscreenElement === null")
    page.click("#recorder-stop")
    page.wait_for_selector("#download:visible")
    assert opened.texts() == [f"{speaker} {text}" for speaker, text, _ in SAID]
    assert opened.state.jobs == [], "the text is there already"
    (began,) = opened.state.live
    assert (began["type"], began["language"], began["hotwords"]) == ("start", "en", "boat")
    assert began["word_timestamps"] is True
    opened.until("Number.isFinite(document.getElementById('audio').duration)")
    page.dblclick("#text section:nth-child(1) p")
    opened.open()
    page.wait_for_selector("#recordings li.done, #download:visible")


def test_speakers_are_named_and_corrected(visit: Open) -> None:
    opened = visit(permissions=["microphone"])
    good, thanks = ({"text": " Good morning."}, {"text": " Thank you."})
    opened.state.captions = [
        {"type": "final", "stretch": 0, "text": " Good morning. Thank you.", "event": 1,
         "segments": [good | {"speaker": "Ann"}, thanks | {"speaker": "Ann"}]},
        {"type": "committed", "stretch": 1, "text": " You are", "event": 2,
         "words": [{"word": " You", "speaker": "Ann"}, {"word": " are", "speaker": "Ann"}]},
        {"type": "committed", "stretch": 1, "text": " yes", "event": 3, "words": [{"word": " yes", "speaker": "Ben"}]},
        {"type": "speakers_changed", "stretch": 0, "event": 4,
         "segments": [good | {"speaker": "Ann"}, thanks | {"speaker": "Ben"}]},
    ]  # fmt: skip
    page = opened.page
    page.select_option("#apart", "voices")
    page.fill("#count", "2")
    page.click("#record")
    page.wait_for_selector("#captions-text p:first-child b:has-text('Ben')")
    assert page.locator("#captions-text p").all_inner_texts() == [
        "Ann: Good morning.\nBen: Thank you.", "Ann: You are\nBen: yes",
    ]  # fmt: skip
    assert page.locator("#captions-said").text_content() == " Good morning. Thank you. You are yes"
    page.click("#recorder-stop")
    page.wait_for_selector("#download:visible")
    assert opened.state.jobs == []
    (began,) = opened.state.live
    assert (began["diarize"], began["num_speakers"]) == ("true", "2")


def test_what_a_final_text_adds_is_said(visit: Open) -> None:
    opened = visit(permissions=["microphone"])
    words = {"type": "committed", "stretch": 0, "text": " Good mourning", "event": 1, "words": []}
    opened.state.captions = [
        words,
        {"type": "final", "stretch": 0, "text": " Good morning, Ben.", "event": 2, "segments": []},
    ]
    page = opened.page
    page.click("#record")
    page.wait_for_selector("#captions-text p:has-text('Ben.')")
    assert page.locator("#captions-said").text_content() == " Good mourning Ben."
    page.click("#recorder-stop")


def test_channels_are_told_apart_afterwards(visit: Open) -> None:
    opened = visit(permissions=["microphone"])
    page = opened.page
    page.select_option("#apart", "channels")
    page.fill("#names", "Ann, Ben")
    page.click("#record")
    opened.until_true(lambda: len(opened.state.live) == 1)
    page.click("#recorder-stop")
    page.wait_for_selector("#download:visible")
    (job,) = opened.state.jobs
    assert job["channels"] == "split"
    assert not {"diarize", "speakers"} & set(opened.state.live[0])


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """What the microphone hears: noise of 1.5 s, twice, with pauses."""
    noise = np.random.default_rng(3).normal(0, 0.1, 24_000).astype(np.float32)
    pause = np.zeros(16_000, np.float32)
    write_wav(tmp_path / "spoken.wav", np.concatenate([pause, noise, pause, noise, pause, pause]))
    return tmp_path / "spoken.wav"


def test_words_arrive_from_the_microphone(browser: Any, spoken: Path) -> None:
    arguments = [
        "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}%noloop",
    ]  # fmt: skip
    with (
        running(Settings(keys=(("anna", KEY),)), load=lambda name: fake_model()) as server,
        browser.browser_type.launch(executable_path=BROWSER, args=arguments) as listening,
        listening.new_context(permissions=["microphone"]) as context,
    ):
        context.add_init_script(f"sessionStorage.setItem('mtasr-key', '{KEY}')")
        visit = Visit(context, server.url, StandIn({}), Recording(spoken, None))  # type: ignore[arg-type]
        page = visit.page
        page.click("#record")
        visit.until("document.querySelectorAll('#captions-text p').length >= 2")
        visit.until("document.getElementById('captions-said').textContent.trim().split(' ').length >= 4")
        # The connection is lost, and taken up again.
        _cut_off(server)
        visit.until("document.getElementById('captions-note').textContent.includes('lost')")
        visit.until("document.getElementById('captions-note').textContent === ''")
        page.click("#recorder-stop")
        page.wait_for_selector("#download:visible")
        kept = visit.stored()
        assert {word for segment in kept["segments"] for word in segment["text"].split()} <= WORDS
        assert (kept["segments"][0]["start"] < 1.5, kept["segments"][-1]["end"] > 4) == (True, True), "all was heard"
        assert all(segment["words"] for segment in kept["segments"])
        assert visit.complaints == []
        with server.client(headers={"authorization": f"Bearer {KEY}"}) as client:
            assert client.get("/v1/jobs").json()["data"] == []


WORDS = {"the", "day", "water", "people", "sound", "number"}


def _cut_off(server: Any) -> None:
    """Close the connection of the captions without a word."""

    async def cut() -> None:
        for each in [*server.connections]:
            if hasattr(each, "handshake_complete"):
                each.transport.abort()

    server.call(cut()).result(20)
