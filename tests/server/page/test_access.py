"""The page for everyone: axe, keyboard alone, narrow screens, light and dark, reduced motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server.page.conftest import CAPTIONS, Visit

pytestmark = pytest.mark.slow

Open = Callable[..., Visit]

WIDE = {"width": 1200, "height": 850}
NARROW = {"width": 375, "height": 740}


def go_home(opened: Visit) -> None:
    pass


def record(opened: Visit) -> None:
    opened.page.click("#record")
    opened.page.wait_for_selector("#recorder:visible")


def caption(opened: Visit) -> None:
    opened.state.captions = CAPTIONS
    record(opened)
    opened.page.wait_for_selector(".captions .draft:has-text('boat')")


def fill_the_screen(opened: Visit) -> None:
    caption(opened)
    opened.page.click("#captions-full")
    opened.page.wait_for_selector("#recorder.room")


def follow(opened: Visit) -> None:
    opened.state.shown = 1
    opened.upload()
    opened.page.wait_for_selector("#text section")


def fail(opened: Visit) -> None:
    opened.state.failure = "there is no sound in this file"
    opened.upload()
    opened.page.wait_for_selector("#failure:visible")


def fail_in_list(opened: Visit) -> None:
    fail(opened)
    opened.page.click(".back")
    opened.page.wait_for_selector("#recordings li")


def read(opened: Visit) -> None:
    opened.state.document["coverage"] = {"speech": 6.0, "speech_without_text": [[4.5, 5.0]], "text_without_speech": []}
    opened.transcribed()
    opened.page.keyboard.press("u")
    opened.page.wait_for_selector("span.now")


def search(opened: Visit) -> None:
    read(opened)
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("the")
    opened.page.keyboard.press("Enter")


def correct(opened: Visit) -> None:
    read(opened)
    opened.page.keyboard.press("e")
    opened.page.fill("[name=end]", "soon")


def after_key(key: str) -> Callable[[Visit], None]:
    def press(opened: Visit) -> None:
        read(opened)
        opened.page.keyboard.press(key)
        opened.page.wait_for_selector("dialog[open]")

    return press


def read_many_speakers(opened: Visit) -> None:
    """More speakers than there are colours, of whom one talks over another, and one is not clear."""
    document = opened.state.document
    first = document["segments"][0]
    document["segments"] += [first | {"speaker": f"Speaker {number}"} for number in range(8)]
    spoken = [(each["start"], each["end"], each["speaker"]) for each in document["segments"]]
    turns = [{"start": start, "end": end, "speaker": speaker, "confidence": 0.9} for start, end, speaker in spoken]
    turns[1]["confidence"] = 0.2
    document["turns"] = turns
    read(opened)
    opened.page.wait_for_selector(".unclear")
    assert opened.page.locator("#people button.dashed").count() == 2


def rename(opened: Visit) -> None:
    read_many_speakers(opened)
    opened.page.click("#speakers")


def give(opened: Visit) -> None:
    read_many_speakers(opened)
    opened.page.keyboard.press("s")


def read_one_speaker(opened: Visit) -> None:
    read_many_speakers(opened)
    opened.page.click("#people button >> nth=9")


def divide(opened: Visit) -> None:
    read(opened)
    opened.page.click("#divide")


def delete(opened: Visit) -> None:
    read(opened)
    opened.page.click(".back")
    opened.page.click("#recordings .delete")


def give_key(opened: Visit) -> None:
    opened.expected = ["401"]
    opened.state.key = "secret"
    opened.open()
    opened.page.wait_for_selector("#key-dialog[open]")


STATES = {
    "home": go_home, "recording": record, "captions": caption, "room": fill_the_screen,
    "live": follow, "failed": fail, "list": fail_in_list, "reading": read,
    "searching": search, "correcting": correct, "help": after_key("?"), "download": after_key("d"), "speakers": rename,
    "who": give, "one speaker": read_one_speaker, "cues": divide, "delete": delete, "key": give_key,
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("scheme", "viewport"), [("light", WIDE), ("dark", NARROW)], ids=["light", "dark, narrow"])
def test_axe_finds_nothing(visit: Open, state: str, scheme: str, viewport: dict[str, int]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    opened = visit(color_scheme=scheme, viewport=viewport, permissions=["microphone"])
    STATES[state](opened)
    assert opened.page.get_attribute("html", "data-theme") == scheme
    found = axe.run(opened.page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()
    # Nothing hangs over the edge.
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = """() => [...document.querySelectorAll("main *, dialog[open] *")].filter((each) => {
        const box = each.getBoundingClientRect();
        const isHidden = each.closest(".hidden") || getComputedStyle(each).position === "absolute";
        return box.width && box.right > innerWidth + 1 && !isHidden;
    }).map((each) => each.outerHTML.slice(0, 100))"""
    assert opened.page.evaluate(wide) == []


def test_keyboard_alone(visit: Open, tmp_path: Path) -> None:
    opened = visit()
    page = opened.page
    page.on("filechooser", lambda _: None)  # The browser is told to report choosers now, not while a key is pressed.

    def tab_to(selector: str, key: str = "Tab") -> None:
        for _ in range(60):
            page.keyboard.press(key)
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
                return
        raise AssertionError(f"the tabulator does not reach {selector}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to("#choose")
    with page.expect_file_chooser() as choosing:
        page.keyboard.press("Enter")
    choosing.value.set_files(str(opened.recording.path))
    page.wait_for_selector("#download:visible")
    opened.until("document.getElementById('audio').duration > 5")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("We saw a boat.")
    page.keyboard.press("Shift+Enter")
    assert page.input_value("textarea") == "Nobody knows whose it was."
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    page.keyboard.type("?")
    page.keyboard.press("Enter")
    assert [text.split(" ", 1)[1] for text in opened.texts()[1:]] == ["We saw a boat.", "Nobody knows whose it was?"]
    page.keyboard.press("Control+z")
    opened.said("Undone")
    tab_to(".speaker", "Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.type("Dr Grey")
    page.keyboard.press("Enter")
    opened.until("document.querySelectorAll('.speaker')[2].textContent === 'Dr Grey'")
    page.keyboard.press("d")
    tab_to("#formats button")
    with page.expect_download() as coming:
        page.keyboard.press("Enter")
    assert coming.value.suggested_filename == "Boat talk.txt"
    page.keyboard.press("Escape")
    page.wait_for_selector("#download-dialog:not([open])", state="attached")
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    page.keyboard.press("Escape")
    page.keyboard.press(" ")
    opened.until("!document.getElementById('audio').paused")
    page.keyboard.press("Control+Home")
    tab_to(".back", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#recordings li")
    tab_to("#recordings .delete")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.wait_for_selector("#history", state="hidden")


def test_the_player_stays_in_reach_on_a_narrow_screen(visit: Open) -> None:
    opened = visit(viewport=NARROW, has_touch=True, is_mobile=True)
    page = opened.transcribed()
    box = page.locator("#player").bounding_box()
    assert box["y"] + box["height"] == pytest.approx(NARROW["height"], abs=1)
    assert box["height"] < NARROW["height"] / 4
    edits = page.locator(".edit")
    assert all(edits.nth(number).is_visible() for number in range(3))
    sizes = """() => [...document.querySelectorAll("button, select, input, a")].filter((each) => each.offsetParent)
        .map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
        .filter(([, box]) => box.width < 24 || box.height < 24).map(([html]) => html)"""
    small = [each for each in page.evaluate(sizes) if 'type="checkbox"' not in each and "skip" not in each]
    assert small == []  # WCAG 2.2, 2.5.8
    edits.nth(1).tap()
    page.fill("textarea", "We saw a boat.")
    page.tap(".cue-form .main")
    assert opened.texts()[1] == "Ben We saw a boat."


def test_no_word_is_broken_on_the_narrowest_screen(visit: Open, tmp_path: Path) -> None:
    opened = visit(viewport={"width": 320, "height": 640})
    named = tmp_path / "Conversation-with_Okonkwo.about.neighbourhoods.wav"
    named.write_bytes(opened.recording.path.read_bytes())
    opened.state.failure = "there is no pronounceable sound in this recording"
    opened.upload(named)
    page = opened.page
    broken = """(selector) => [...document.querySelectorAll(selector)].flatMap((element) => {
        const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), found = [];
        for (let node; (node = walker.nextNode());) for (const { 0: word, index } of node.data.matchAll(/[^\\W_]+/g)) {
            const range = document.createRange();
            range.setStart(node, index);
            range.setEnd(node, index + word.length);
            if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) found.push(word);
        }
        return found;
    })"""
    page.wait_for_selector("#failure:visible")
    assert page.evaluate(broken, "#title, #failure p") == []
    page.click(".back")
    page.wait_for_selector("#recordings li.failed .retry:visible")
    assert page.evaluate(broken, "#recordings b, #recordings .muted") == []
    assert page.inner_text("#recordings b") == named.name
    opened.state.failure = None
    page.click("#recordings .retry")
    page.wait_for_selector("#recordings li.done")
    page.click("#recordings .open")
    page.wait_for_selector("#download:visible")
    assert page.evaluate(broken, "#title") == []


def test_colours_are_chosen_and_remembered(visit: Open) -> None:
    opened = visit(color_scheme="light")
    page = opened.page
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    opened.open()
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.inner_text("#theme") == "Light"


def test_nothing_moves_for_who_wants_no_motion(visit: Open) -> None:
    opened = visit(reduced_motion="reduce")
    opened.state.document["duration"] = None
    opened.state.shown = 0
    opened.upload()
    opened.page.wait_for_selector("#progress:visible")
    assert opened.page.evaluate("document.getAnimations().length") == 0


def test_the_browser_can_install_the_page(visit: Open) -> None:
    opened = visit()
    session: Any = opened.context.new_cdp_session(opened.page)
    assert session.send("Page.getAppManifest")["errors"] == []
    assert session.send("Page.getInstallabilityErrors")["installabilityErrors"] in (
        [],
        [{"errorId": "in-incognito", "errorArguments": []}],
    )
