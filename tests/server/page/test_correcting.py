"""Correcting a transcript in a browser, and downloading it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from server.page.conftest import Visit

from mtasr.formats import transcript_json
from mtasr.formats.registry import OUTPUT_FORMATS, render
from mtasr.transcript import Transcript

pytestmark = pytest.mark.slow

Open = Callable[..., Visit]


def edit(page: Any, number: int) -> None:
    """Open a cue, counted from 1."""
    page.hover(f"#text section:nth-child({number})")
    page.click(f"#text section:nth-child({number}) .edit")


def set_caret(page: Any, at: int) -> None:
    page.evaluate("(at) => document.querySelector('textarea').setSelectionRange(at, at)", at)


def test_words_that_stay_keep_their_times(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    before = opened.state.document["segments"][1]["words"]
    edit(page, 2)
    assert page.input_value("textarea") == "We found the old boat near the bridge."
    page.fill("textarea", "We found  an old ferry boat near the bridge! ")
    page.click(".cue-form .main")
    assert opened.texts()[1] == "Ben We found an old ferry boat near the bridge!"
    segment = opened.stored()["segments"][1]
    assert segment["text"] == " We found an old ferry boat near the bridge!"
    assert "".join(word["word"] for word in segment["words"]) == segment["text"]
    words = {word["word"].strip(): word for word in segment["words"]}
    for kept in (0, 1, 4, 5, 6):
        assert words[before[kept]["word"].strip()] == before[kept]
    assert words["an"] == {"word": " an", "start": before[2]["start"], "end": before[2]["end"], "probability": None}
    # The new word shares the time of the one before it.
    assert words["old"] == before[3] | {"end": words["ferry"]["start"]}
    assert words["ferry"]["start"] < words["ferry"]["end"] == before[3]["end"]
    assert words["bridge!"]["probability"] is None
    # What a person wrote has no mark.
    assert page.locator("section:nth-child(2) :is(.c0, .c1, .c2)").all_text_contents() == ["old", "boat"]
    read(opened.stored())


def test_undo_and_redo(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    assert page.is_disabled("#undo")
    edit(page, 1)
    page.fill("textarea", "Good evening.")
    page.keyboard.press("Enter")
    edit(page, 3)
    page.fill("textarea", "Nobody knows.")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+z")
    opened.said("Undone: correction")
    assert [text.split(" ", 1)[1] for text in opened.texts()][::2] == ["Good evening.", "Nobody knows whose it was."]
    page.click("#undo")
    assert opened.texts()[0] == "Anna Good morning, and thank you for coming."
    assert page.is_disabled("#undo")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+y")
    assert opened.texts()[2] == "Anna Nobody knows."
    assert page.is_disabled("#redo")
    page.click("text=Corrected: back to the original")
    assert opened.stored() == opened.state.document
    page.click("#undo")
    assert opened.stored()["segments"][0]["text"] == " Good evening."
    page.reload()
    page.wait_for_selector("#download:visible")
    assert [text.split(" ", 1)[1] for text in opened.texts()][::2] == ["Good evening.", "Nobody knows."]
    page.click(".back")
    page.wait_for_selector("#recordings li:has-text('corrected')")


def test_an_edit_is_cancelled(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    edit(page, 1)
    page.keyboard.type(" and more")
    page.keyboard.press("Escape")
    before = "Anna Good morning, and thank you for coming."
    assert opened.texts()[0] == before
    assert opened.stored() == opened.state.document
    assert page.evaluate("document.activeElement.className") == "edit quiet"
    page.keyboard.press("Control+z")  # What was written is not lost.
    assert opened.texts()[0] == f"{before} and more"
    page.keyboard.press("Control+z")
    assert opened.texts()[0] == before
    assert page.is_disabled("#undo")


def test_an_edit_without_a_change_is_no_step(visit: Open) -> None:
    page = visit().transcribed()
    edit(page, 1)
    page.keyboard.press("Escape")
    assert page.locator(".cue-form").count() == 0
    assert page.is_disabled("#undo")


def test_a_cancelled_edit_with_a_wrong_time_keeps_its_text(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    edit(page, 1)
    page.fill("textarea", "Good evening.")
    page.fill("[name=end]", "soon")
    page.keyboard.press("Escape")
    assert opened.texts()[0] == "Anna Good morning, and thank you for coming."
    page.click("#undo")
    assert opened.texts()[0] == "Anna Good evening."


def test_splitting_and_joining(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    original = opened.state.document["segments"][1]
    edit(page, 2)
    set_caret(page, len("We found the old"))
    page.keyboard.press("Control+Enter")
    assert opened.texts()[1:3] == ["Ben We found the old", "Ben boat near the bridge."]
    first, second = opened.stored()["segments"][1:3]
    words = original["words"]
    assert (first["start"], first["end"]) == (original["start"], words[3]["end"])
    assert (second["start"], second["end"]) == (words[4]["start"], original["end"])
    assert first["words"] + second["words"] == words
    assert [each["id"] for each in opened.stored()["segments"]] == [0, 1, 2, 3]
    # The second half is open, with the cursor at its start, where Backspace joins both again.
    assert page.input_value("textarea") == "boat near the bridge."
    page.keyboard.press("Backspace")
    page.keyboard.press("Escape")
    joined = opened.stored()["segments"][1]
    assert {name: joined[name] for name in ("text", "start", "end", "words")} == {
        name: original[name] for name in ("text", "start", "end", "words")
    }
    edit(page, 1)
    page.click("text=Join with the next")
    assert page.evaluate("document.querySelector('textarea').selectionStart") == len(original["text"])
    page.click(".cue-form >> text=Delete")
    opened.until("document.querySelectorAll('#text section').length === 1")
    page.click("#undo")
    page.click("#undo")
    assert len(opened.texts()) == 3


def test_a_word_is_split_where_the_cursor_is(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    edit(page, 3)
    page.keyboard.press("Home")
    page.keyboard.press("Control+Enter")
    opened.said("Put the cursor where the cue shall be split.")
    set_caret(page, len("No"))
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    first, second = opened.stored()["segments"][2:]
    assert (first["text"], second["text"]) == (" No", "body knows whose it was.")
    assert first["end"] == second["start"]
    assert opened.stored()["text"].endswith("Nobody knows whose it was.")


def test_times(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    edit(page, 2)
    for name, given, message in [
        ("end", "soon", "Write a time such as 1:02.5."),
        ("end", "0:01", "The end must come after the start."),
        ("end", "9:00", "The recording ends at 0:0"),
    ]:
        page.fill(f"[name={name}]", given)
        assert page.inner_text(".measure").startswith(message)
        assert page.get_attribute(f"[name={name}]", "aria-invalid") == "true"
        page.click(".cue-form .main")
        assert page.locator(".cue-form").count() == 1
    original = opened.state.document["segments"][1]
    start, end = original["start"] + 0.1, original["end"] + 0.2
    page.fill("[name=start]", f"0:0{start:.3f}")
    page.fill("[name=end]", f"{end:.3f}".replace(".", ","))
    page.click(".cue-form .main")
    segment = opened.stored()["segments"][1]
    assert (segment["start"], segment["end"]) == pytest.approx((start, end), abs=1e-3)
    assert (segment["words"][0]["start"], segment["words"][-1]["end"]) == (segment["start"], segment["end"])
    assert segment["words"][2] == original["words"][2]
    edit(page, 2)
    page.keyboard.press("Alt+k")
    opened.until("document.getElementById('audio').currentTime > 0.3")
    page.keyboard.press("Alt+k")
    page.click("[aria-label='Take the time of the player as start']")
    now = page.evaluate("document.getElementById('audio').currentTime")
    assert float(page.input_value("[name=start]").removeprefix("0:")) == pytest.approx(now, abs=0.01)


def test_warnings_of_reading_speed(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    assert page.locator(".warning >> visible=true").count() == 0
    edit(page, 2)
    assert "easy to read" in page.inner_text(".measure")
    page.fill("textarea", "We found the old boat near the bridge, and nobody had ever told us that it was there.")
    assert "⚠ Fast to read" in page.inner_text(".measure")
    page.keyboard.press("Enter")
    assert "Fast to read" in page.inner_text("#text section:nth-child(2) .warning")
    assert "⚠ 1 warning" in page.inner_text("#facts")
    page.keyboard.press("w")
    opened.until("document.querySelector('section.now .speaker').textContent === 'Ben'")


def test_speakers_are_renamed_everywhere(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    page.click("#text section:nth-child(1) .speaker")
    assert page.inner_text("#who-count") == "Anna speaks in 2 cues."
    page.fill("#who-name", "Dr Grey")
    page.keyboard.press("Enter")
    opened.until("document.querySelectorAll('.speaker')[2].textContent === 'Dr Grey'")
    assert page.locator(".speaker").all_text_contents() == ["Dr Grey", "Ben", "Dr Grey"]
    # Names can be exchanged.
    page.click("#speakers")
    fields = page.locator("#speaker-names input")
    fields.nth(0).fill("Ben")
    fields.nth(1).fill("Dr Grey")
    page.click("#speakers-form .main")
    opened.until("document.querySelectorAll('.speaker')[1].textContent === 'Dr Grey'")
    assert page.locator(".speaker").all_text_contents() == ["Ben", "Dr Grey", "Ben"]
    edit(page, 1)
    page.fill("[name=speaker]", "")
    page.keyboard.press("Enter")
    assert page.locator(".speaker").all_text_contents() == ["Dr Grey", "Ben"]
    assert "speaker" not in opened.stored()["segments"][0]
    for _ in range(3):
        page.click("#undo")
    assert page.locator(".speaker").all_text_contents() == ["Anna", "Ben", "Anna"]


def read(document: dict[str, Any]) -> Transcript:
    return transcript_json.loads(json.dumps(document).encode(), "the page")


def test_every_format_is_downloaded(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    edit(page, 1)
    page.fill("textarea", "Good evening.")
    page.keyboard.press("Enter")
    page.keyboard.press("d")
    assert page.locator("#formats b").all_text_contents() == [name.upper() for name in OUTPUT_FORMATS]
    for number, name in enumerate(OUTPUT_FORMATS):
        if number == 10:
            page.wait_for_timeout(1100)  # Chromium lets a page save ten files in a second
        with page.expect_download() as coming:
            page.click(f"#formats button:has(b:text-is('{name.upper()}'))")
        assert coming.value.suggested_filename == f"Boat talk.{name}"
        text = coming.value.path().read_text("utf-8")
        assert text == render(read(opened.stored()), name, recording="Boat talk")
        assert ("Boat_talk" if name == "rttm" else "evening") in text


def test_cues_that_a_person_has_made_stay(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    page.keyboard.press("d")
    assert page.is_checked("[name=style][value=web]")
    page.keyboard.press("Escape")
    edit(page, 1)
    set_caret(page, len("Good morning,"))
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    assert page.is_checked("[name=style][value=raw]")
    with page.expect_download() as coming:
        page.click("#formats button:has(b:text-is('SRT'))")
    assert "\nGood morning,\n" in coming.value.path().read_text("utf-8").replace("Anna: ", "")
    assert opened.state.rendered[-1][:2] == ("srt", "raw")


def test_the_text_is_divided_into_cues(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    before = opened.state.document["text"]
    page.click("#divide")
    page.click("#divide-dialog [value=social]")
    opened.until("document.querySelectorAll('#text section').length > 6")
    stored = opened.stored()
    assert stored["text"] == before
    assert {each["speaker"] for each in stored["segments"]} == {"Anna", "Ben"}
    page.click("#undo")
    page.click("#divide")
    page.click("#divide-dialog [value=web]")
    opened.until("document.querySelectorAll('#text section').length === 3")
    edit(page, 1)
    set_caret(page, len("Good morning,"))
    page.keyboard.press("Delete")
    page.keyboard.press("Alt+Enter")
    page.keyboard.press("Enter")
    segment = opened.stored()["segments"][0]
    assert segment["text"] == " Good morning,\nand thank you for coming."
    assert [word["probability"] for word in segment["words"]][:3] == [0.97, 0.8, 0.97]
    page.keyboard.press("d")
    with page.expect_download() as coming:
        page.click("#formats button:has(b:text-is('SRT'))")
    assert "Good morning,\nand thank you for coming." in coming.value.path().read_text("utf-8").replace("Anna: ", "")


def test_a_download_fails(visit: Open) -> None:
    opened = visit()
    opened.expected = ["ERR_"]
    page = opened.transcribed()
    page.route("**/v1/render*", lambda route: route.abort())
    page.keyboard.press("d")
    page.click("#formats button >> nth=0")
    page.wait_for_selector("#download-problem:visible")
    assert "cannot be reached" in page.inner_text("#download-problem")


def test_copying(visit: Open) -> None:
    opened = visit(permissions=["clipboard-read", "clipboard-write"])
    page = opened.transcribed()
    page.click("#copy")
    opened.said("The text has been copied.")
    expected = "\n".join(segment.text.strip() for segment in opened.recording.transcript)
    assert page.evaluate("navigator.clipboard.readText()") == expected
