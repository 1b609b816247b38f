"""Listening to a recording and reading along, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.page.conftest import Visit

from mtasr.audio.read import open_audio
from mtasr.audio.write import SoundWriter

pytestmark = pytest.mark.slow

Open = Callable[..., Visit]


def place(page: Any) -> float:
    return float(page.evaluate("document.getElementById('audio').currentTime"))


def test_a_word_is_highlighted_while_it_is_spoken(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    word = opened.recording.transcript.segments[1].words[3]  # type: ignore[index]
    page.select_option("#speed", "0.5")  # Each word is there longer than a busy machine needs to look.
    page.click("span[data-s]:has-text('old')")
    opened.until("document.querySelector('span.now')?.textContent === 'old'")
    assert place(page) >= word.start
    opened.until("document.querySelector('span.now')?.textContent === 'boat'")
    assert page.inner_text("#play") == "Pause"
    assert page.inner_text("section.now .speaker") == "Ben"
    page.keyboard.press("k")
    opened.until("document.getElementById('play').textContent === 'Play'")
    assert place(page) > word.end


def test_seeking(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    segments = opened.recording.transcript.segments
    opened.until("document.getElementById('audio').duration > 5")
    page.keyboard.press("ArrowDown")
    assert place(page) == pytest.approx(segments[0].start, abs=0.01)
    page.keyboard.press("ArrowDown")
    assert place(page) == pytest.approx(segments[1].start, abs=0.01)
    page.keyboard.press("Shift+ArrowRight")
    assert page.inner_text("span.now") == "found"
    page.keyboard.press("ArrowRight")
    assert place(page) == pytest.approx(segments[1].words[1].start + 3, abs=0.01)  # type: ignore[index]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    assert page.inner_text("span.now") == "old"
    page.keyboard.press("]")
    assert page.evaluate("document.getElementById('audio').playbackRate") == 1.25
    box = page.locator("#overview").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
    opened.until(f"document.getElementById('audio').currentTime >= {opened.recording.transcript.duration / 2 - 0.05}")
    page.keyboard.press("k")
    opened.until("document.getElementById('play').textContent === 'Play'")
    assert float(page.get_attribute("#overview", "aria-valuenow")) == pytest.approx(place(page), abs=0.1)


def test_the_waveform_shows_the_sound(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    # Where somebody speaks, more of a column is coloured than where nobody does.
    heights = """(share) => {
        const canvas = document.getElementById("overview"), paint = canvas.getContext("2d");
        const wave = getComputedStyle(document.documentElement).getPropertyValue("--wave").trim();
        const { data } = paint.getImageData(Math.round(canvas.width * share), 0, 1, canvas.height);
        const wanted = [1, 3, 5].map((at) => parseInt(wave.slice(at, at + 2), 16));
        let count = 0;
        for (let at = 0; at < data.length; at += 4) if (wanted.every((part, n) => data[at + n] === part)) count++;
        return count;
    }"""
    duration = opened.recording.transcript.duration
    loud = [word.start + 0.1 for word in opened.recording.transcript.segments[1].words]  # type: ignore[union-attr]
    page.wait_for_function(f"(share) => ({heights})(share) > 3", arg=loud[2] / duration)
    assert max(page.evaluate(heights, time / duration) for time in loud) > 8
    assert page.evaluate(heights, 0.2 / duration) == 0


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_the_waveform_of_a_long_recording_is_made_in_pieces(visit: Open, tmp_path: Path, kind: str) -> None:
    opened = visit()
    path = opened.recording.path
    if kind == "mp3":
        path = tmp_path / "talk.mp3"
        with open_audio(opened.recording.path) as sound, SoundWriter(path) as writer:
            for block in sound:
                writer.write(block)
    opened.upload(path)
    opened.page.wait_for_selector("#download:visible")
    script = """async (options) => {
        const { peaksOf } = await import("/page/peaks.js"), history = await import("/page/history.js");
        const [first] = await history.recordings();
        return [...await peaksOf(await history.sound(first.id), 100, options)];
    }"""
    whole = np.array(opened.page.evaluate(script, {"longest": 1000}))
    pieces = np.array(opened.page.evaluate(script, {"longest": 1, "piece": path.stat().st_size // 3}))
    assert len(whole) == pytest.approx(100 * opened.recording.transcript.duration, abs=10)
    assert len(pieces) == pytest.approx(len(whole), abs=15)  # a cut may cost a frame
    coarse, others = (
        each[: min(len(whole), len(pieces)) // 20 * 20].reshape(-1, 20).max(axis=1) for each in (whole, pieces)
    )
    assert np.corrcoef(coarse, others)[0, 1] > 0.9


def test_search(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    page.keyboard.press("/")
    page.keyboard.type("the OLD bo")
    assert page.inner_text("#found") == "1 found"
    assert page.locator("span.found").all_text_contents() == ["the", "old", "boat"]
    page.keyboard.press("Enter")
    assert page.inner_text("#found") == "1 of 1"
    page.keyboard.press("Escape")
    assert page.locator("span.found").count() == 0


def test_the_text_follows_the_sound(visit: Open) -> None:
    opened = visit(viewport={"width": 900, "height": 420})
    page = opened.transcribed()
    page.evaluate("scrollTo(0, 0)")
    page.evaluate("document.querySelector('#text section:last-child .time').click()")
    opened.until("scrollY > 50")
    page.keyboard.press("k")
    page.uncheck("#follow")
    page.evaluate("scrollTo(0, 0)")
    page.evaluate("document.querySelector('#text section:nth-child(2) .time').click()")
    after = "document.getElementById('overview').getAttribute('aria-valuenow') > "
    opened.until(f"{after}{opened.recording.transcript.segments[1].start + 0.3}")
    assert page.evaluate("scrollY") == 0
    # Who corrects a cue keeps it in sight.
    page.check("#follow")
    page.evaluate("document.querySelector('#text section:nth-child(1) .edit').click()")
    place = page.evaluate("scrollY")
    page.evaluate("document.querySelector('#text section:last-child .time').click()")
    opened.until(f"{after}{opened.recording.transcript.segments[2].start + 0.3}")
    assert page.evaluate("scrollY") == place


def test_confidence_is_more_than_a_colour(visit: Open) -> None:
    page = visit().transcribed()
    lines = """(text) => {
        const word = [...document.querySelectorAll("span[data-s]")].find((each) => each.textContent === text);
        return getComputedStyle(word).borderBottomStyle;
    }"""
    assert [page.evaluate(lines, word) for word in ("morning,", "old", "boat", "bridge.")] == [
        "dotted", "dashed", "solid", "none",
    ]  # fmt: skip
    page.hover("span[data-s]:has-text('boat')")
    assert page.get_attribute("span[data-s]:has-text('boat')", "title").endswith("40 % sure")


def test_every_marked_word_is_an_unsure_one(visit: Open) -> None:
    opened = visit()
    for segment in opened.state.document["segments"]:
        for word in segment["words"]:
            word["probability"] = max(word["probability"], 0.8)
    page = opened.transcribed()
    page.wait_for_selector("#facts li:text-is('20 words, 3 unsure')")
    assert page.locator("#text :is(.c0, .c1, .c2)").all_text_contents() == ["morning,", "old", "boat"]
    assert page.inner_text("#marks") == "Marked: words that the model is less than 90 %, 70 % or 50 % sure of."
    for expected in ("morning,", "old", "boat", "morning,"):
        page.click("#unsure")
        assert page.inner_text("span.now") == expected


def test_without_unsure_words_nothing_speaks_of_marks(visit: Open) -> None:
    opened = visit()
    for segment in opened.state.document["segments"]:
        for word in segment["words"]:
            word["probability"] = 0.95
    page = opened.transcribed()
    page.wait_for_selector("#facts li:text-is('20 words, 0 unsure')")
    assert page.is_disabled("#unsure")
    assert page.is_hidden("#marks")


def test_languages_and_coverage(visit: Open) -> None:
    opened = visit()
    document = opened.state.document
    document["segments"][1]["language"] = "fr"
    document["coverage"] = {"speech": 6.0, "speech_without_text": [[4.5, 5.0]], "text_without_speech": []}
    page = opened.transcribed()
    assert page.locator(".tag").all_text_contents() == ["French"]
    assert page.get_attribute("#text section:nth-child(2) p", "lang") == "fr"
    page.click("text=Speech without text at 0:04")
    opened.until("document.getElementById('audio').currentTime >= 4.5")


def test_a_recording_without_speech(visit: Open) -> None:
    opened = visit()
    opened.state.document |= {"segments": [], "text": ""}
    page = opened.transcribed()
    assert "no speech was found" in page.inner_text("#facts")


def test_a_sound_that_the_browser_cannot_play(visit: Open, tmp_path: Any) -> None:
    opened = visit()
    opened.expected = ["ERR_"]
    noise = tmp_path / "a.wma"
    noise.write_bytes(bytes(range(256)) * 10)
    opened.upload(noise)
    page = opened.page
    page.wait_for_selector("#download:visible")
    page.wait_for_selector("#silent:visible:has-text('cannot play')")
    page.click("section:nth-child(1) .edit")
    page.fill("textarea", "Good evening.")
    page.keyboard.press("Enter")
    assert opened.texts()[0] == "Anna Good evening."


def test_a_hostile_transcript_stays_text(visit: Open) -> None:
    opened = visit()
    hostile = "</p><img src=x onerror=alert(1)><script>alert(2)</script>"
    segment = opened.state.document["segments"][0]
    segment["text"], segment["speaker"], segment["words"][0]["word"] = hostile, hostile, f" {hostile}"
    page = opened.transcribed()
    assert page.locator("#text img, #text script").count() == 0
    assert page.inner_text("#text section:nth-child(1) .speaker") == hostile
