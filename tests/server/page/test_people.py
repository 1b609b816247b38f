"""Speakers in a browser: colours, a legend, and corrections of who says what."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from server.page.conftest import Visit
from server.page.stand_in import StandIn

pytestmark = pytest.mark.slow

Open = Callable[..., Visit]


def turn(start: float, end: float, speaker: str, confidence: float = 0.9) -> dict[str, Any]:
    return {"start": start, "end": end, "speaker": speaker, "confidence": confidence}


def diarize(document: dict[str, Any], *names: str) -> None:
    """Give each segment a speaker, with a turn as long as it."""
    for segment, name in zip(document["segments"], names, strict=True):
        segment["speaker"] = name
        for word in segment["words"]:
            word["speaker"] = name
    document["turns"] = [turn(each["start"], each["end"], each["speaker"]) for each in document["segments"]]


def said(opened: Visit) -> list[tuple[str, str]]:
    """The speaker and the text of each segment that is kept."""
    segments = opened.stored()["segments"]
    for segment in segments:
        assert {word["speaker"] for word in segment["words"]} == {segment["speaker"]}
    return [(each["speaker"], each["text"].strip()) for each in segments]


def test_who_speaks_is_corrected(visit: Open) -> None:
    opened = visit()
    document = opened.state.document
    diarize(document, "Anna", "Ben", "Cleo")
    page = opened.transcribed()
    words = document["segments"][1]["words"]
    # The selected words become a cue of their own, of somebody new; all by keys but for the selection.
    page.evaluate("""() => {
        const spans = document.querySelectorAll("section:nth-child(2) p span[data-s]");
        getSelection().setBaseAndExtent(spans[2].firstChild, 0, spans[4].firstChild, 2);
    }""")
    page.keyboard.press("s")
    assert page.inner_text("#who-text") == "“the old boat”"
    page.fill("#who-new", "Dora")
    page.keyboard.press("Enter")
    opened.until("document.querySelectorAll('#text section').length === 5")
    boat = [("Ben", "We found"), ("Dora", "the old boat"), ("Ben", "near the bridge.")]
    assert said(opened)[1:4] == boat
    assert opened.stored()["turns"][1:4] == [
        turn(words[0]["start"], words[2]["start"], "Ben"),
        turn(words[2]["start"], words[4]["end"], "Dora", 1),
        turn(words[4]["end"], words[-1]["end"], "Ben"),
    ]
    # Nobody changes colour because of somebody new.
    places = "[...document.querySelectorAll('#text .speaker')].map((each) => each.dataset.n).join()"
    assert page.evaluate(places) == "1,2,4,2,3"
    # A cue is given to another speaker by the number.
    page.keyboard.press("ArrowDown")
    page.keyboard.press("s")
    page.keyboard.press("3")
    opened.said("Cleo says it.")
    assert said(opened)[0] == ("Cleo", "Good morning, and thank you for coming.")
    # Two are one person.
    page.click("#text section:nth-child(3) .speaker")
    page.select_option("#who-same", "Ben")
    page.click("#who-same-form button")
    opened.until("document.querySelectorAll('#people button').length === 2")
    assert [name for name, _ in said(opened)] == ["Cleo", "Ben", "Ben", "Ben", "Cleo"]
    assert {each["speaker"] for each in opened.stored()["turns"]} == {"Ben", "Cleo"}
    page.keyboard.press("Control+z")
    opened.said("Undone: speakers made one")
    assert said(opened)[1:4] == boat
    page.click("#undo")
    page.click("#undo")
    assert opened.stored() == document
    for _ in range(3):
        page.keyboard.press("Control+Shift+z")
    # All speakers at once.
    page.click("#speakers")
    page.select_option("[aria-label='Ben is the same person as']", label="Cleo")
    page.locator("#speaker-names input").nth(0).fill("Cleopatra")
    page.click("#speakers-form .main")
    opened.until("document.querySelectorAll('.speaker')[1].textContent === 'Cleopatra'")
    assert {name for name, _ in said(opened)} == {"Cleopatra"}
    page.keyboard.press("d")
    with page.expect_download():
        page.click("#formats button:has(b:text-is('VTT'))")
    assert {each["speaker"] for each in opened.state.rendered[-1][2]["turns"]} == {"Cleopatra"}


def test_a_selection_while_one_corrects(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    page.hover("section:nth-child(2)")
    page.click("section:nth-child(2) .edit")
    page.fill("textarea", "We  found the old ferry.")
    page.evaluate("document.querySelector('textarea').setSelectionRange(4, 9)")
    page.click("text=Who says the selection")
    assert page.inner_text("#who-text") == "“found”"
    page.click("#who-names >> text=Anna")
    opened.until("document.querySelectorAll('#text section').length === 5")
    assert opened.texts()[1:4] == ["Ben We", "Anna found", "Ben the old ferry."]
    # A press on a name means the selection, too, which may reach over several cues.
    page.evaluate("""() => {
        const spans = document.querySelectorAll("section:nth-child(n + 4) p span[data-s]");
        getSelection().setBaseAndExtent(spans[1].firstChild, 0, spans[4].firstChild, 3);
    }""")
    page.click("section:nth-child(4) .speaker")
    assert page.inner_text("#who-text") == "“old ferry. … Nobody knows”"
    page.fill("#who-new", "Dora")
    page.click("#who-new-form button")
    opened.until("document.querySelectorAll('#text section').length === 7")
    assert opened.texts()[3:] == ["Ben the", "Dora old ferry.", "Dora Nobody knows", "Anna whose it was."]


def test_the_legend_and_marks(visit: Open) -> None:
    opened = visit()
    document = opened.state.document
    diarize(document, "Anna", "Ben", "Anna")
    first, second, third = document["segments"]
    document["turns"][0]["end"] = second["words"][1]["end"]
    third["speaker_confidence"] = document["turns"][2]["confidence"] = 0.3
    page = opened.transcribed()
    assert page.locator("#text .over").all_text_contents() == ["We", "found"]
    assert page.locator("#text .with").all_text_contents() == ["with Anna"]
    assert page.locator(".unclear").all_text_contents() == ["Anna"]
    anna = second["words"][1]["end"] - first["start"] + third["end"] - third["start"]
    share = round(100 * anna / (anna + second["end"] - second["start"]))
    assert page.locator("#people button").all_inner_texts() == [f"Anna {share} %", f"Ben {100 - share} %"]
    assert "it may be somebody else" in page.inner_text("#people p")
    # One speaker alone: what the others say is out of the way, for the keys and the search too.
    page.click("#people button >> nth=1")
    assert page.get_attribute("#people button >> nth=1", "aria-pressed") == "true"
    assert [page.locator("#text section").nth(each).is_visible() for each in range(3)] == [False, True, False]
    page.keyboard.press("ArrowDown")
    assert page.inner_text("section.now .speaker") == "Ben"
    page.keyboard.press("/")
    page.keyboard.type("morning")
    assert page.inner_text("#found") == "0 found"
    page.keyboard.press("Escape")
    page.click("#people button >> nth=1")
    assert page.locator("#text section >> visible=true").count() == 3
    # To choose the name that is there already is to be sure of it.
    page.click("section:nth-child(3) .speaker")
    page.click("#who-names >> text=Anna")
    opened.until("!document.querySelector('.unclear')")
    assert opened.stored()["turns"][-1]["confidence"] == 1
    assert "it may be somebody else" not in page.inner_text("#people")


def test_whatever_is_changed_speakers_stay_whole(browser: Any, served: tuple[str, StandIn]) -> None:
    """Turns of one speaker never overlap, words agree with their segment, and who still speaks keeps the colour."""
    page = browser.new_page()
    page.goto(f"{served[0]}/page/icon.svg")
    script = """async ([document, changes]) => {
        const people = await import("/page/people.js"), text = await import("/page/transcript.js"), states = [];
        for (const [name, ...given] of changes) {
            const index = Math.floor(given[0] * document.segments.length);
            const { length } = document.segments[index].text.trim();
            const [from, to] = [given[1], given[2]].map((share) => Math.round(share * length)).sort((a, b) => a - b);
            const before = document, changed = {
                give: () => people.give(document, [{ index, from, to }], given[3]),
                rename: () => people.rename(document, new Map([[document.segments[index].speaker, given[3]]])),
                split: () => text.split(document, index, from),
                join: () => text.join(document, Math.min(index, document.segments.length - 2)),
                confirm: () => people.confirmed(document, [index]),
            }[document.segments.length < 2 && name === "join" ? "split" : name]();
            document = people.settled(before, changed);
            states.push([name, people.people(before), people.people(document), document]);
        }
        return states;
    }"""
    chooser = random.Random(5)
    segments, turns = [], []
    for number in range(6):
        name, start = chooser.choice(["Anna", "Ben", "Cleo"]), 2.0 * number
        words = [
            {"word": f" w{place}", "start": start + 0.3 * place, "end": start + 0.3 * place + 0.25, "speaker": name}
            for place in range(6)
        ]
        text = "".join(word["word"] for word in words)
        segments.append(
            {"id": number, "start": start, "end": start + 1.75, "text": text, "words": words, "speaker": name}
        )
        turns.append(turn(start - 0.1 * (number > 0), start + 1.8 + chooser.random(), name, 0.6))
    kinds = ["give", "give", "rename", "split", "join", "confirm"]
    changes = [
        [chooser.choice(kinds), *(chooser.random() for _ in range(3)), chooser.choice(["Anna", "Ben", "Cleo", "Dora"])]
        for _ in range(60)
    ]
    transcript = {"language": "en", "duration": 20.0, "segments": segments, "turns": turns}
    for name, before, after, document in page.evaluate(script, [transcript, changes]):
        spoken = {each["speaker"] for each in document["segments"]}
        for segment in document["segments"]:
            assert {word["speaker"] for word in segment["words"]} == {segment["speaker"]}
            middle = (segment["start"] + segment["end"]) / 2
            near = [
                each["speaker"]
                for each in document["turns"]
                if each["start"] <= middle + 0.3 and each["end"] >= middle - 0.3
            ]
            assert segment["speaker"] in near, name
        for speaker in spoken:
            own = [each for each in document["turns"] if each["speaker"] == speaker]
            assert all(a["end"] <= b["start"] + 1e-6 for a, b in itertools.pairwise(own)), name
        if name != "rename":
            stay = [each for each in before if each in spoken]
            assert [after.index(each) for each in stay] == [before.index(each) for each in stay], name
        assert len({each for each in after if each in spoken}) == len(spoken)
    page.close()
