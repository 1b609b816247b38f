"""From a file or the microphone to a text in a browser, and what the page says when that fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server.page.conftest import SAID, Visit

pytestmark = pytest.mark.slow

Open = Callable[..., Visit]


def test_text_appears_while_it_is_recognised(visit: Open) -> None:
    opened = visit()
    opened.state.shown = 1
    opened.upload()
    page = opened.page
    page.wait_for_selector("#text[role=log] section")
    assert page.locator("#text section").count() == 1
    assert re.match(r"Recognising: 0:0\d of 0:\d\d", page.inner_text("#stage"))
    assert 0 < float(page.get_attribute("#share", "value") or 0) < 1
    assert page.locator("#tools, .edit").locator("visible=true").count() == 0
    opened.state.shown = None
    page.wait_for_selector("#download:visible")
    assert opened.texts() == [f"{speaker} {text}" for speaker, text, _ in SAID]
    assert page.get_attribute("#text", "role") is None
    assert page.locator("#facts li").all_text_contents()[:4] == [
        f"0:{int(opened.recording.transcript.duration):02}",
        "English, 91 % sure",
        "20 words, 3 unsure",
        "2 speakers",
    ]
    opened.said("The text is complete.")
    (job,) = opened.state.jobs
    assert job == {"task": "transcribe", "file": "Boat talk.wav", "size": opened.recording.path.stat().st_size}
    opened.until("document.title.includes('Boat talk')")
    opened.until_true(lambda: opened.state.removed == ["job_0"])


def test_options_are_sent_and_remembered(visit: Open) -> None:
    opened = visit()
    opened.state.models = ["base", "small"]
    opened.open()
    page = opened.page
    page.select_option("#language", "fr")
    page.select_option("#task", "translate")
    page.select_option("#model", "small")
    page.fill("#hotwords", "Okonkwo, Wren Street")
    opened.transcribed()
    assert {name: opened.state.jobs[0][name] for name in ("language", "task", "model", "hotwords")} == {
        "language": "fr", "task": "translate", "model": "small", "hotwords": "Okonkwo, Wren Street",
    }  # fmt: skip
    assert "translated into English" in page.locator("#facts").inner_text()
    assert page.locator("#translate").is_hidden()
    opened.open()
    assert page.input_value("#hotwords") == "Okonkwo, Wren Street"
    assert page.input_value("#task") == "translate"


def test_speakers_are_told_apart(visit: Open) -> None:
    opened = visit()
    page = opened.page

    def upload(number: int) -> None:
        opened.upload()
        opened.until_true(lambda: len(opened.state.jobs) == number)
        page.click(".back")

    assert page.is_hidden("#names")
    page.select_option("#apart", "channels")
    assert page.is_hidden("#count")
    page.fill("#names", "Agent,, Caller ")
    upload(1)
    opened.open()
    assert page.input_value("#names") == "Agent,, Caller "
    page.fill("#names", " ")
    upload(2)
    page.select_option("#apart", "voices")
    upload(3)
    page.fill("#names", "Agent")
    page.fill("#count", "3")
    upload(4)
    page.select_option("#apart", "")
    upload(5)
    names = ("channels", "diarize", "num_speakers", "speakers")
    assert [[job.get(name) for name in names] for job in opened.state.jobs] == [
        ["split", None, None, "Agent,,Caller"],
        ["split", None, None, None],
        [None, "true", None, None],
        [None, "true", "3", "Agent"],
        [None, None, None, None],
    ]


def test_translating_a_recording_again(visit: Open) -> None:
    opened = visit()
    opened.state.document["language"] = "fr"
    page = opened.transcribed()
    page.click("#translate")
    opened.until("document.querySelector('#facts').textContent.includes('translated')")
    page.wait_for_selector("#download:visible")
    assert [job["task"] for job in opened.state.jobs] == ["transcribe", "translate"]
    assert opened.state.jobs[0]["size"] == opened.state.jobs[1]["size"]
    page.click(".back")
    opened.until("document.querySelectorAll('#recordings li.done').length === 2")
    names = page.locator("#recordings b").all_text_contents()
    assert names == ["Boat talk (translation).wav", "Boat talk.wav"]


def test_an_english_text_is_not_offered_to_be_translated(visit: Open) -> None:
    opened = visit()
    page = opened.transcribed()
    assert page.is_hidden("#translate")
    opened.state.document["segments"][1]["language"] = "fr"
    opened.open()
    opened.transcribed()
    assert page.is_visible("#translate")


def test_several_files_are_dropped(visit: Open) -> None:
    opened = visit()
    opened.state.shown = 0
    page = opened.page
    drop = """(names) => {
        const transfer = new DataTransfer();
        for (const name of names) transfer.items.add(new File(["sound"], name, { type: "audio/wav" }));
        for (const kind of ["dragenter", "dragover"]) document.body.dispatchEvent(
            new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        const shown = !document.getElementById("drop-here").hidden;
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        return shown && document.getElementById("drop-here").hidden;
    }"""
    assert page.evaluate(drop, ["a.wav", "b.wav", "c.wav", "d.wav"])
    opened.until("document.querySelectorAll('#recordings li.running').length === 3")
    assert page.locator("#recordings li.waiting").count() == 1
    assert len(opened.state.jobs) == 3
    opened.state.shown = None
    opened.until("document.querySelectorAll('#recordings li.done').length === 4")
    assert {job["file"] for job in opened.state.jobs} == {"a.wav", "b.wav", "c.wav", "d.wav"}


def test_recording_the_microphone(visit: Open) -> None:
    opened = visit(permissions=["microphone"])
    opened.state.captions = None
    page = opened.page
    page.click("#record")
    opened.until("document.getElementById('captions-note').textContent.includes('no live captions')")
    opened.until("document.getElementById('level').getAttribute('aria-valuenow') > 30")
    opened.until("document.getElementById('recorder-time').textContent >= '0:02'")
    page.click("#recorder-pause")
    assert page.inner_text("#recorder-state") == "Paused"
    before = page.inner_text("#recorder-time")
    page.wait_for_timeout(1200)  # Longer than a second, and a busy machine may take more.
    assert page.inner_text("#recorder-time") == before
    page.click("#recorder-pause")
    page.click("#recorder-stop")
    page.wait_for_selector("#download:visible")
    (job,) = opened.state.jobs
    assert re.fullmatch(r"Recording \d{4}-\d\d-\d\d \d\d\.\d\d\.webm", job["file"])
    assert job["size"] > 5000
    opened.until("Number.isFinite(document.getElementById('audio').duration)")
    page.click("#text section:nth-child(1) .time")
    opened.until("document.getElementById('audio').currentTime > 0.55")


def test_a_recording_is_discarded(visit: Open) -> None:
    opened = visit(permissions=["microphone"])
    opened.page.click("#record")
    opened.until_true(lambda: len(opened.state.live) == 1)
    opened.until("document.getElementById('recorder-time').textContent >= '0:01'")
    opened.page.click("#recorder-cancel")
    opened.page.wait_for_selector("#record:visible")
    assert opened.page.locator("#recordings li").count() == 0
    assert opened.state.jobs == []
    opened.until_true(lambda: "discard" in opened.state.said)


def test_plain_http_has_no_microphone_and_all_the_rest(visit: Open, served: tuple[str, Any]) -> None:
    port = served[0].rpartition(":")[2]
    opened = visit(f"http://plain.test:{port}")
    page = opened.page
    assert not page.evaluate("isSecureContext")
    page.click("#record")
    page.wait_for_selector("#problem:visible")
    assert f"Open http://localhost:{port}/" in page.inner_text("#problem")
    assert "--tls-cert" in page.inner_text("#problem")
    opened.transcribed()
    assert len(opened.texts()) == 3
    page.click("#copy")
    opened.said("The text has been copied.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NotAllowedError", "Allow it in the settings"),
        ("NotFoundError", "No microphone"),
        ("NotReadableError", "another"),
    ],
)
def test_a_microphone_that_cannot_be_used(visit: Open, name: str, message: str) -> None:
    page = visit().page
    page.evaluate(
        "(name) => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('x', name)); }", name
    )
    page.click("#record")
    page.wait_for_selector("#problem:visible")
    assert message in page.inner_text("#problem")
    assert page.locator("#drop").is_visible()


def test_a_server_that_cannot_be_reached(visit: Open) -> None:
    opened = visit()
    opened.expected = ["ERR_CONNECTION_FAILED", "ERR_FAILED"]
    page = opened.page
    page.route("**/v1/jobs", lambda route: route.abort())
    opened.upload()
    page.wait_for_selector("#failure:visible")
    assert "The server cannot be reached" in page.inner_text("#failure")
    page.unroute("**/v1/jobs")
    page.click("#retry")
    page.wait_for_selector("#download:visible")
    assert page.locator("#failure").is_hidden()


@pytest.mark.parametrize("status", [400, 413])
def test_a_file_is_refused(visit: Open, status: int) -> None:
    opened = visit()
    opened.expected = ["413", "400"]
    opened.state.refusals = [(status, "the recording is too much", {})]
    opened.upload()
    opened.page.wait_for_selector("#failure:visible")
    assert opened.page.inner_text("#failure-text") == "The recording is too much."
    opened.page.click(".back")
    opened.page.wait_for_selector("#recordings li:has-text('⚠ The recording is too much.')")
    assert opened.page.locator("text=Try again").locator("visible=true").count() == 0


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("the request has more than 2,147,483,648 bytes", "The request has more than 2.1 GB."),
        ("the recording is longer than 14400 s", "The recording is longer than 4 hours."),
        ("the recording is longer than 5400 s", "The recording is longer than 1 hour 30 minutes."),
        ("Boat talk.wav: is empty", "This file is empty."),
        ("Other.wav: is empty", "Other.wav: is empty."),
    ],
)
def test_refusals_in_words_for_people(visit: Open, message: str, shown: str) -> None:
    opened = visit()
    opened.expected = ["413"]
    opened.state.refusals = [(413, message, {})]
    opened.upload()
    opened.page.wait_for_selector("#failure:visible")
    assert opened.page.inner_text("#failure-text") == shown


def test_a_job_that_fails_for_its_file_is_not_tried_again(visit: Open) -> None:
    opened = visit()
    opened.state.failure, opened.state.failure_type = "Boat talk.wav: has no sound", "invalid_request_error"
    opened.upload()
    opened.page.wait_for_selector("#failure:visible")
    assert opened.page.inner_text("#failure-text") == "This file has no sound."
    assert opened.page.is_hidden("#retry")
    opened.page.click(".back")
    opened.page.wait_for_selector("#recordings li.failed")
    assert opened.page.locator("#recordings .retry").count() == 0


def test_a_busy_server_is_asked_again(visit: Open) -> None:
    opened = visit()
    opened.expected = ["429"]
    opened.state.refusals = [(429, "too many requests", {"retry-after": "1"})] * 2
    watch = """() => {
        window.stages = [];
        new MutationObserver(() => window.stages.push(document.getElementById("stage").textContent))
            .observe(document.getElementById("stage"), { childList: true });
    }"""
    opened.page.evaluate(watch)
    opened.upload()
    opened.page.wait_for_selector("#download:visible")
    assert "The server is busy. Trying again in 1 s." in opened.page.evaluate("window.stages")
    assert len(opened.state.jobs) == 1


def test_a_job_fails_and_is_tried_again(visit: Open) -> None:
    opened = visit()
    opened.state.failure = "there is no sound in this file"
    opened.upload()
    opened.page.wait_for_selector("#failure:visible")
    assert opened.page.inner_text("#failure-text") == "There is no sound in this file."
    opened.state.failure = None
    opened.page.click("#retry")
    opened.page.wait_for_selector("#download:visible")
    assert len(opened.state.jobs) == 2


def test_a_result_that_did_not_arrive_is_asked_for_again(visit: Open) -> None:
    opened = visit()
    opened.expected = ["ERR_"]
    opened.page.route("**/result*", lambda route: route.abort())
    opened.upload()
    opened.page.wait_for_selector("#failure:visible")
    opened.page.unroute("**/result*")
    opened.page.click("#retry")
    opened.page.wait_for_selector("#download:visible")
    assert len(opened.state.jobs) == 1


def test_a_server_that_wants_a_key(visit: Open) -> None:
    opened = visit()
    opened.expected = ["401"]
    opened.state.key = "correct horse"
    page = opened.page
    opened.open()
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", "wrong")
    page.click("#key-form .main")
    opened.until("document.getElementById('key-title').textContent === 'The server refuses this key'")
    page.fill("#key", "correct horse")
    page.check("#key-keep")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-dialog:not([open])", state="attached")
    opened.transcribed()
    other = opened.context.new_page()
    other.goto(opened.url)
    other.wait_for_selector("html[data-ready]")
    other.set_input_files("#files", str(opened.recording.path))
    other.wait_for_selector("#download:visible")
    assert len(opened.state.jobs) == 2


def test_no_key_is_given(visit: Open) -> None:
    opened = visit()
    opened.expected = ["401"]
    opened.state.key = "correct horse"
    opened.open()
    opened.page.wait_for_selector("#key-dialog[open]")
    opened.page.keyboard.press("Escape")
    opened.page.wait_for_selector("#problem:visible")
    assert opened.page.inner_text("#problem") == "The server wants a key."


def test_a_lost_connection_is_taken_up_where_it_was(visit: Open) -> None:
    opened = visit()
    opened.expected = ["ERR_"]
    opened.state.drops_after = 2
    opened.upload()
    opened.page.wait_for_selector("#download:visible")
    assert opened.state.continued == [2]
    assert len(opened.texts()) == 3


def test_a_page_is_opened_again_while_a_job_runs(visit: Open) -> None:
    opened = visit()
    opened.state.shown = 1
    opened.upload()
    opened.page.wait_for_selector("#text section")
    opened.page.reload()
    opened.page.wait_for_selector("#text[role=log] section")
    opened.state.shown = None
    opened.page.wait_for_selector("#download:visible")
    assert len(opened.state.jobs) == 1


def test_a_job_is_cancelled(visit: Open) -> None:
    opened = visit()
    opened.state.shown = 1
    opened.upload()
    page = opened.page
    page.wait_for_selector("#text section")
    page.click("#cancel")
    page.click("#ask-yes")
    page.wait_for_selector("#choose:visible")
    assert page.locator("#recordings li").count() == 0
    assert opened.state.removed == ["job_0"]


def test_the_history(visit: Open, tmp_path: Path) -> None:
    opened = visit()
    page = opened.transcribed()
    other = tmp_path / "Other talk.wav"
    other.write_bytes(opened.recording.path.read_bytes())
    page.click(".back")
    opened.upload(other)
    page.wait_for_selector("#download:visible")
    opened.open()
    assert [each.inner_text() for each in page.locator("#recordings b").all()] == ["Other talk.wav", "Boat talk.wav"]
    assert "English, 91 % sure" in page.locator("#recordings li").first.inner_text()
    page.click("text=Boat talk.wav")
    page.wait_for_selector("#download:visible")
    assert len(opened.texts()) == 3
    opened.until("document.getElementById('audio').duration > 5")
    page.click("#retitle")
    page.fill("#ask-input", "The boat")
    page.keyboard.press("Enter")
    opened.until("document.getElementById('title').textContent === 'The boat'")
    page.click(".back")
    page.click("[aria-label='Delete The boat']")
    page.click("#ask-yes")
    opened.until("document.querySelectorAll('#recordings li').length === 1")
    page.click("#clear")
    page.click("#ask-yes")
    page.wait_for_selector("#history", state="hidden")
    kept = """() => new Promise((resolve) => {
        const opening = indexedDB.open("mtasr");
        opening.onsuccess = async () => {
            const stores = [...opening.result.objectStoreNames], counts = {};
            for (const name of stores) counts[name] = await new Promise((done) => {
                const request = opening.result.transaction(name).objectStore(name).count();
                request.onsuccess = () => done(request.result);
            });
            resolve(counts);
        };
    })"""
    assert page.evaluate(kept) == {"recordings": 0, "sounds": 0, "texts": 0, "peaks": 0}


def test_a_browser_that_keeps_nothing(visit: Open) -> None:
    opened = visit()
    page = opened.page
    page.add_init_script("Object.defineProperty(window, 'indexedDB', { get() { throw new Error('none'); } })")
    opened.open()
    opened.transcribed()
    assert len(opened.texts()) == 3
    page.click(".back")
    page.wait_for_selector("#not-kept:visible")
    page.click("text=Boat talk.wav")
    page.wait_for_selector("#download:visible")
    assert opened.state.removed == []  # so that the server has what the browser loses


def test_the_page_opens_without_the_server(visit: Open) -> None:
    opened = visit()
    opened.expected = ["ERR_"]
    page = opened.transcribed()
    page.evaluate("navigator.serviceWorker.ready.then(() => {})")
    page.reload()  # what the worker has seen, it keeps
    page.wait_for_selector("#download:visible")
    opened.context.set_offline(True)
    page.reload()
    page.wait_for_selector("#download:visible")
    assert len(opened.texts()) == 3
    page.wait_for_selector("#problem:visible")
    assert "cannot be reached" in page.inner_text("#problem")
    opened.context.set_offline(False)
    page.wait_for_selector("#problem", state="hidden")
